"""Made-up bars, trades and rows in any number, made fast; no figure is about what is in them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from microstream_lab.schema import BAR_COLUMNS, interval_us

START = 1_577_836_800_000_000
FIVE_YEARS = 2_628_000
"""Minutes in five years."""


def states(n: int, seed: int = 0, stay: int = 50) -> np.ndarray:
    """Three regimes that last `stay` steps on average, shape ``(n,)``."""
    rng = np.random.default_rng([seed, 1])
    lengths = rng.geometric(1 / stay, 2 * n // stay + 100)
    return np.repeat(rng.integers(0, 3, len(lengths)), lengths)[:n]


def rows(n: int, n_features: int = 3, seed: int = 0) -> np.ndarray:
    """Standardised features of three regimes."""
    rng = np.random.default_rng([seed, 2])
    level, spread = rng.normal(0, 1.5, (3, n_features)), np.array([0.4, 0.8, 1.6])
    regime = states(n, seed)
    return level[regime] + spread[regime, None] * rng.normal(size=(n, n_features))


def bars(n: int, seed: int = 0, interval: str = "1m", symbol: str = "BTCUSDT") -> pd.DataFrame:
    """A bars frame without holes."""
    rng = np.random.default_rng([seed, 3])
    regime = states(n, seed)
    sigma = np.array([3e-4, 9e-4, 3e-3])[regime]
    close = 30_000 * np.exp(np.cumsum(rng.normal(0, sigma) * 0.3))
    opens = np.concatenate([[30_000.0], close[:-1]])
    volume = rng.lognormal(np.log([5.0, 9.0, 25.0])[regime], 0.4)
    times = START + np.arange(n) * interval_us(interval)
    frame = pd.DataFrame(
        {
            "open": opens,
            "high": np.maximum(opens, close) * (1 + np.abs(rng.normal(0, sigma))),
            "low": np.minimum(opens, close) * (1 - np.abs(rng.normal(0, sigma))),
            "close": close,
            "volume": volume,
            "quote_volume": volume * close,
            "trades": rng.poisson(volume * 10) + 1,
            "taker_buy_base": volume * rng.beta(5, 5, n),
        },
        index=pd.DatetimeIndex(times.view("M8[us]"), tz="UTC", name="open_time"),
    )
    frame["taker_buy_quote"] = frame["taker_buy_base"] * close
    constants = {"quality": "complete", "market": "sim", "symbol": symbol, "interval": interval}
    for name, value in constants.items():
        frame[name] = pd.Categorical.from_codes(np.zeros(n, np.int8), pd.Index([value]))
    return frame[list(BAR_COLUMNS)]


def trades(n: int, seed: int = 0) -> pd.DataFrame:
    """Trades of a busy market, a hundred a second, ids contiguous."""
    rng = np.random.default_rng([seed, 4])
    last_ids = rng.integers(1, 4, n).cumsum() + 1_000_000
    first_ids = np.concatenate([[1_000_001], last_ids[:-1] + 1])
    return pd.DataFrame(
        {
            "agg_id": np.arange(n) + 500_000,
            "price": (3_000_000 + rng.integers(-2, 3, n).cumsum()) / 100,
            "quantity": rng.integers(1, 100_000, n) / 1e5,
            "first_id": first_ids,
            "last_id": last_ids,
            "trade_time": START + rng.integers(0, 20_000, n).cumsum(),
            "buyer_is_maker": rng.random(n) < 0.5,
            "market": pd.Categorical.from_codes(np.zeros(n, np.int8), pd.Index(["sim"])),
            "symbol": pd.Categorical.from_codes(np.zeros(n, np.int8), pd.Index(["BTCUSDT"])),
        }
    )
