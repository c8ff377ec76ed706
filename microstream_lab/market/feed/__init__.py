"""The stream protocol without a socket: what a message says, and what their order proves."""

from microstream_lab.market.feed.feed import Feed, Frame, TradeKind

__all__ = ["Feed", "Frame", "TradeKind"]
