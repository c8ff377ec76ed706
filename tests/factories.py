"""Small hand-made markets for tests; no part of the package makes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.schema import BAR_COLUMNS, TIME_DTYPE, as_micros, interval_us

SIGMAS = np.array([3e-4, 9e-4, 3e-3])


def make_states(n: int, seed: int = 0, stay: float = 0.99, k: int = 3) -> npt.NDArray[np.int64]:
    """A persistent chain over k regimes."""
    rng = np.random.default_rng([seed, 1])
    states = np.zeros(n, dtype=np.int64)
    for t in range(1, n):
        moves = rng.random() > stay
        states[t] = (states[t - 1] + rng.integers(1, k)) % k if moves else states[t - 1]
    return states


def make_bars(
    n: int = 600,
    seed: int = 0,
    interval: str = "1m",
    start: str = "2024-01-01",
    market: str = "spot",
    symbol: str = "BTCUSDT",
) -> pd.DataFrame:
    """A bars frame whose volatility and volume follow `make_states`."""
    rng = np.random.default_rng([seed, 2])
    states = make_states(n, seed)
    sigma = SIGMAS[states]
    close = np.round(30_000 * np.exp(np.cumsum(rng.normal(0, sigma))), 2)
    opens = np.concatenate([[30_000.0], close[:-1]])
    wick = np.abs(rng.normal(0, sigma, (2, n)))
    volume = np.round(rng.lognormal(np.log([5.0, 9.0, 25.0])[states], 0.4), 5)
    index = pd.to_datetime(
        as_micros(start) + np.arange(n) * interval_us(interval),
        unit="us",
        utc=True,
    ).astype(TIME_DTYPE)
    bars = pd.DataFrame(
        {
            "open": opens,
            "high": np.round(np.maximum(opens, close) * (1 + wick[0]), 2),
            "low": np.round(np.minimum(opens, close) * (1 - wick[1]), 2),
            "close": close,
            "volume": volume,
            "quote_volume": np.round(volume * (opens + close) / 2, 8),
            "trades": rng.poisson(volume * 10) + 1,
            "taker_buy_base": np.round(volume * rng.beta(5, 5, n), 5),
        },
        index=pd.DatetimeIndex(index, name="open_time"),
    )
    bars["taker_buy_quote"] = np.round(bars["taker_buy_base"] * bars["close"], 8)
    for name, value in zip(
        ("quality", "market", "symbol", "interval"),
        ("complete", market, symbol, interval),
        strict=True,
    ):
        bars[name] = pd.Categorical([value] * n)
    return bars[list(BAR_COLUMNS)]
