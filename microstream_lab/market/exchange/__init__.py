"""A local Binance: streams, REST and archive on loopback, from a simulated or recorded market.

Invariant: what goes over the wire is as the exchange documents it, unless a fault was asked for;
what is true can be asked of the exchange itself.
"""

from __future__ import annotations

from microstream_lab.market.exchange.connection import Rules
from microstream_lab.market.exchange.faults import (
    DIAL_FAULTS,
    REST_FAULTS,
    STREAM_FAULTS,
    Fault,
    Faults,
)
from microstream_lab.market.exchange.floor import Manners
from microstream_lab.market.exchange.local import LocalExchange
from microstream_lab.market.exchange.sources import EndlessMarket, Recording, Source, as_source

__all__ = [
    "DIAL_FAULTS",
    "REST_FAULTS",
    "STREAM_FAULTS",
    "EndlessMarket",
    "Fault",
    "Faults",
    "LocalExchange",
    "Manners",
    "Recording",
    "Rules",
    "Source",
    "as_source",
]
