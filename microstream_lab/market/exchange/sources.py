"""Where the exchange's trades come from: a simulated market without end, or what was recorded.

Invariant: a source gives the trades of each of its symbols once, in order of id, in blocks that
fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from microstream_lab.errors import SettingsError
from microstream_lab.market.exchange.recorded import read_recording
from microstream_lab.market.exchange.tape import DUE, Ints, as_tape
from microstream_lab.market.simulate import Scenario, SimulatedMarket, simulate_days
from microstream_lab.schema import as_micros

__all__ = ["Block", "EndlessMarket", "Recording", "Source", "as_source"]

_MINUTE = 60_000_000
_READABLE = (str, Path, pd.DataFrame, SimulatedMarket)


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of one symbol's market.

    Parameters
    ----------
    tape : ndarray of shape (8, n_trades)
        See :mod:`microstream_lab.market.exchange.tape`.
    quotes : ndarray of shape (6, n_quotes), optional
        Time, update id, bid, size, ask, size; made up from the trades where none were recorded.
    """

    tape: Ints
    quotes: Ints | None = None


@runtime_checkable
class Source(Protocol):
    """What an exchange can play.

    ``endless`` sources are forgotten as they go by; ``start`` is the time (us) of the first trade
    or earlier, ``end`` the time the market closes for good (None: never).
    """

    symbols: tuple[str, ...]
    market: str
    endless: bool
    start: int
    end: int | None

    def blocks(self, symbol: str) -> Iterator[Block]:
        """The blocks of one symbol from its beginning."""


class EndlessMarket:
    """The seeded simulator, day after day without end.

    Parameters
    ----------
    symbols : sequence of str
        Each is a market of its own with a seed of its own.
    start : time
        Opening of the first day, on a minute.
    interval : str
        Interval on which the regimes move, such as ``"1m"``.
    n_regimes, seed
        As for :func:`~microstream_lab.market.simulate.simulate_market`; symbol k has `seed` + k.
    scenario : Scenario, optional
        All but the symbol.
    """

    market = "sim"
    endless = True
    end: int | None = None

    def __init__(
        self,
        symbols: Sequence[str] = ("SIMUSDT",),
        start: object = "2024-01-01",
        interval: str = "1m",
        n_regimes: int = 3,
        seed: int = 0,
        scenario: Scenario | None = None,
    ) -> None:
        self.symbols = _checked(symbols)
        self.start = as_micros(start)
        self._interval, self._n_regimes, self._seed = interval, n_regimes, seed
        self._scenario = scenario or Scenario()
        for symbol in self.symbols:
            self._days(symbol)  # what cannot be simulated is refused here

    def _days(self, symbol: str) -> Iterator[SimulatedMarket]:
        seed = self._seed + self.symbols.index(symbol)
        scenario = replace(self._scenario, symbol=symbol)
        return simulate_days(self.start, self._interval, self._n_regimes, seed, scenario)

    def blocks(self, symbol: str) -> Iterator[Block]:
        """A block for every day."""
        return (Block(as_tape(day.trades, f"simulated {symbol}")) for day in self._days(symbol))


class Recording:
    """Trades that are all there from the beginning.

    Parameters
    ----------
    blocks : mapping of symbol to Block
        At least one, each with at least one trade.
    market : str
        Of the frames handed out.
    end : time, optional
        When the market closes; by default the end of the minute of the last trade.
    """

    endless = False

    def __init__(self, blocks: Mapping[str, Block], market: str, end: object = None) -> None:
        self.symbols = _checked(tuple(blocks))
        self.market = market
        self._blocks = dict(blocks)
        empty = [symbol for symbol, block in blocks.items() if not block.tape.shape[1]]
        if empty:
            raise SettingsError(f"source: found no trades of {empty[0]}, expected some")
        self.start = min(int(block.tape[DUE, 0]) for block in blocks.values())
        last = max(int(block.tape[DUE, -1]) for block in blocks.values())
        self.end: int | None = (last // _MINUTE + 1) * _MINUTE
        if end is not None:
            self.end = max(as_micros(end), last + 1)

    def blocks(self, symbol: str) -> Iterator[Block]:
        """One block."""
        yield self._blocks[symbol]


def _checked(symbols: Sequence[str]) -> tuple[str, ...]:
    if not symbols or len(set(symbols)) < len(symbols):
        raise SettingsError(f"symbols: found {symbols!r}, expected at least one, each once")
    for symbol in symbols:
        if not (symbol.isascii() and symbol.isalnum() and symbol == symbol.upper()):
            raise SettingsError(f"symbol: found {symbol!r}, expected one such as BTCUSDT")
    return tuple(symbols)


def as_source(given: object) -> Source:
    """The source that `given` stands for.

    Parameters
    ----------
    given : Source, SimulatedMarket, DataFrame, path, str or a list of those
        A trades frame may hold several symbols; a path is an aggTrade file of the archive, a CSV
        of single trades, or a raw WebSocket capture.

    Raises
    ------
    SettingsError
        If it is none of them.
    DataError
        If a file or frame is not what it should be.
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, SimulatedMarket):
        times = pd.DatetimeIndex(given.bars.index)
        step = times[1] - times[0] if len(times) > 1 else pd.Timedelta(minutes=1)
        return Recording(_of_frame(given.trades, "simulated market"), "sim", times[-1] + step)
    parts = list(given) if isinstance(given, (list, tuple)) else [given]
    if parts and all(isinstance(part, _READABLE) for part in parts):
        return _joined(parts)
    expected = "a simulated market, trades, files of trades or a source"
    raise SettingsError(f"source: found {type(given).__name__}, expected {expected}")


def _joined(parts: Sequence[object]) -> Recording:
    blocks: dict[str, Block] = {}
    markets = []
    for part in parts:
        if isinstance(part, SimulatedMarket):
            part = part.trades
        frame, quotes = (part, {}) if isinstance(part, pd.DataFrame) else read_recording(str(part))
        where = "trades" if isinstance(part, pd.DataFrame) else str(part)
        parts_by_symbol = _of_frame(frame, where)
        markets.append(str(frame["market"].iloc[0]))
        for symbol, block in parts_by_symbol.items():
            blocks[symbol] = _appended(blocks.get(symbol), block, quotes.get(symbol), where)
    return Recording(blocks, markets[0])


def _appended(before: Block | None, block: Block, quotes: Ints | None, where: str) -> Block:
    """A block continued by the next file of the same symbol."""
    if before is None:
        return Block(block.tape, quotes)
    tape = np.concatenate([before.tape, block.tape], axis=1)
    if tape[0, before.tape.shape[1]] <= before.tape[0, -1]:
        raise SettingsError(f"source: found {where} out of order, expected files by time")
    tape[DUE] = np.maximum.accumulate(tape[DUE])
    if before.quotes is None or quotes is None:
        return Block(tape)
    return Block(tape, np.concatenate([before.quotes, quotes], axis=1))


def _of_frame(trades: pd.DataFrame, where: str) -> dict[str, Block]:
    if trades.empty:
        raise SettingsError(f"source: found no trades in {where}, expected some")
    groups = trades.groupby("symbol", observed=True, sort=False)
    return {str(symbol): Block(as_tape(frame, where)) for symbol, frame in groups}
