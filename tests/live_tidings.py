"""Bars and signals for tests of what watches them; nothing is computed."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from microstream_lab.live.tidings import Model, Scored
from microstream_lab.schema import Bar, Signal

MINUTE = 60_000_000
START = 1_700_000_040_000_000


def make_bar(place: int, close: float = 100.0, **values: Any) -> Bar:
    """The bar of minute `place`, one up from its open."""
    bar = Bar(
        *("BTCUSDT", "1m", START + place * MINUTE),
        *(close - 1, close + 1, close - 2, close, 5.0, 500.0, 10, 2.0, 200.0),
    )
    return replace(bar, **values)


def make_signal(bar: Bar, regime: int = 0, n_regimes: int = 3, **values: Any) -> Signal:
    """A signal that is nine parts in ten sure of `regime`."""
    rest = 0.1 / (n_regimes - 1)
    signal = Signal(
        symbol=bar.symbol,
        interval=bar.interval,
        open_time=bar.open_time,
        bundle_id="made-up",
        features={"log_return": 0.001, "range": 0.002},
        anomaly_score=0.4,
        is_anomaly=False,
        regime=regime,
        filtered_probs=tuple(0.9 if k == regime else rest for k in range(n_regimes)),
        expected_stress=-6.0,
    )
    return replace(signal, **values)


def make_scored(place: int, regime: int = 0, n_regimes: int = 3, **values: Any) -> Scored:
    """A bar with its signal."""
    bar = make_bar(place)
    return Scored(bar, make_signal(bar, regime, n_regimes, **values))


def make_model(n_regimes: int = 3, version: str = "v0001", since: int = 0) -> Model:
    """A bundle in words."""
    return Model("made-up", version, n_regimes, ("log_return", "range"), 0.6, since)
