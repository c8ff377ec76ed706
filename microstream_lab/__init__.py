"""Liquidity regimes of crypto markets in real time: a Jupyter-centric research workbench.

The public names load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microstream_lab.bars import BarBuilder, bars_from_trades
    from microstream_lab.bundle import ModelBundle
    from microstream_lab.engine import Engine
    from microstream_lab.features import FeatureState, features_from_bars
    from microstream_lab.live.monitor import RegimeMonitor
    from microstream_lab.live.session import LiveSession
    from microstream_lab.market.exchange import LocalExchange
    from microstream_lab.market.files import read_agg_trades, read_klines
    from microstream_lab.market.simulate import SimulatedMarket, simulate_market
    from microstream_lab.registry import Registry
    from microstream_lab.research.backtest import backtest
    from microstream_lab.research.evaluate import evaluate
    from microstream_lab.research.walkforward import walk_forward
    from microstream_lab.schema import AggTrade, Bar, Gap, Signal, iter_bars
    from microstream_lab.settings import Settings
    from microstream_lab.store import Store
    from microstream_lab.training import train_bundle

__version__ = "0.1.0"

_HOMES = {
    "AggTrade": "schema",
    "Bar": "schema",
    "BarBuilder": "bars",
    "Engine": "engine",
    "FeatureState": "features",
    "Gap": "schema",
    "LiveSession": "live.session",
    "LocalExchange": "market.exchange",
    "ModelBundle": "bundle",
    "RegimeMonitor": "live.monitor",
    "Registry": "registry",
    "Settings": "settings",
    "Signal": "schema",
    "SimulatedMarket": "market.simulate",
    "Store": "store",
    "backtest": "research.backtest",
    "bars_from_trades": "bars",
    "evaluate": "research.evaluate",
    "features_from_bars": "features",
    "iter_bars": "schema",
    "read_agg_trades": "market.files",
    "read_klines": "market.files",
    "simulate_market": "market.simulate",
    "train_bundle": "training",
    "walk_forward": "research.walkforward",
}

__all__ = [
    "AggTrade",
    "Bar",
    "BarBuilder",
    "Engine",
    "FeatureState",
    "Gap",
    "LiveSession",
    "LocalExchange",
    "ModelBundle",
    "RegimeMonitor",
    "Registry",
    "Settings",
    "Signal",
    "SimulatedMarket",
    "Store",
    "backtest",
    "bars_from_trades",
    "evaluate",
    "features_from_bars",
    "iter_bars",
    "read_agg_trades",
    "read_klines",
    "simulate_market",
    "train_bundle",
    "walk_forward",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
