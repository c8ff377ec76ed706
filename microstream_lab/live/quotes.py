"""The spread of a session's symbol, asked for now and then.

Invariant: it is only looked at. Whatever goes wrong with it makes it unknown, and nothing else: the
trades and their bars neither wait for it nor fail with it.
"""

from __future__ import annotations

import asyncio
import logging
from math import nan
from typing import Final

from microstream_lab.errors import MicrostreamError
from microstream_lab.market.rest import RestClient

__all__ = ["QuoteWatch"]

log = logging.getLogger(__name__)

_EVERY_S: Final = 2.0
"""The stream of quotes is busier than that of trades; a look at it does, at 60 weight a minute."""
_PATIENCE_S: Final = 5.0


class QuoteWatch:
    """Looks at the best bid and ask of a symbol.

    Attributes
    ----------
    spread : float
        The last known one, in the price's unit; NaN where none is known.
    """

    def __init__(self) -> None:
        self.spread = nan

    async def watch(self, client: RestClient, symbol: str) -> None:
        """Look every other second until cancelled."""
        while True:
            self.spread = await self._look(client, symbol)
            await asyncio.sleep(_EVERY_S)

    async def _look(self, client: RestClient, symbol: str) -> float:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                bid, ask = await client.quote(symbol)
        except (MicrostreamError, TimeoutError) as error:
            log.debug("no quote of %s: %r", symbol, error)
            return nan
        return ask - bid if bid > 0 and ask > 0 else nan
