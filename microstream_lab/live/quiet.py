"""When nothing trades: the exchange's own word that a bar is over.

Invariant: a bar is proven to be over by what the exchange says of it, its number of trades, or by
an answer that knows a later bar; no clock of ours ever proves anything, it only says when to ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import pandas as pd

from microstream_lab.live.assembler import Assembler
from microstream_lab.live.records import Batch
from microstream_lab.schema import Bar

__all__ = ["QuietWatch"]

_KLINES: Final = 8
_LONGEST_S: Final = 60.0


class QuietWatch:
    """Who is silent, and what the exchange has said about it.

    Parameters
    ----------
    symbols : iterable of str
        Whom to watch.
    first_s : float
        After so many seconds of silence to ask; then after twice as many, and so on.
    """

    def __init__(self, symbols: Iterable[str], first_s: float) -> None:
        self._first_s = first_s
        self._klines: dict[str, deque[Bar]] = {s: deque(maxlen=_KLINES) for s in symbols}
        self._seen: dict[str, tuple[int, float, float]] = {}

    def hear(self, kline: Bar) -> None:
        """Take a closed bar of the exchange."""
        self._klines[kline.symbol].append(kline)

    def prove(self, assembler: Assembler) -> Batch:
        """Close the bars that have as many trades as the exchange's, which are over."""
        batch = Batch()
        for symbol, klines in self._klines.items():
            while klines:
                kline, forming = klines[0], assembler.open_time(symbol)
                if kline.open_time == forming:
                    batch.extend(assembler.prove(symbol, forming, kline.trades))
                if kline.open_time >= assembler.open_time(symbol):
                    break
                klines.popleft()
        return batch

    def due(self, assembler: Assembler, now_s: float) -> list[str]:
        """Symbols that have been silent for so long at `now_s` that the exchange is to be asked."""
        return [symbol for symbol in self._klines if self._is_due(symbol, assembler, now_s)]

    def _is_due(self, symbol: str, assembler: Assembler, now_s: float) -> bool:
        last = assembler.last_trade(symbol)
        if last is None:
            self._seen.pop(symbol, None)
            return False
        agg_id, since_s, wait_s = self._seen.get(symbol, (-1, 0.0, 0.0))
        if last.agg_id != agg_id:
            self._seen[symbol] = (last.agg_id, now_s, self._first_s)
            return False
        if now_s - since_s < wait_s:
            return False
        self._seen[symbol] = (agg_id, now_s, min(2 * wait_s, _LONGEST_S))
        return True

    @staticmethod
    def final(bars: pd.DataFrame) -> Iterator[tuple[int, int]]:
        """Open time (us) and number of trades of those bars that a later one proves to be over."""
        times = pd.DatetimeIndex(bars.index).as_unit("us").asi8.tolist()
        yield from zip(times[:-1], bars["trades"].tolist()[:-1], strict=True)
