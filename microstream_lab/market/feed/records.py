"""What the feed tells beside trades and gaps, what it counts, and what it holds for possible."""

from __future__ import annotations

from typing import Final

import msgspec

from microstream_lab.market.feed.messages import Kline, Quote, Refusal, Reply, Shutdown
from microstream_lab.schema import AggTrade, Gap

__all__ = ["Counters", "Cut", "Event", "Fill", "Malformed", "Mismatch", "Reset", "Rules", "Stale"]

_S: Final = 1_000_000


class Rules(msgspec.Struct, frozen=True):
    """What the feed holds for possible.

    Parameters
    ----------
    hold_us, hold_limit : int
        Trades that come ahead of a missing one wait this long (us), and no more than so many, for
        it to come out of order. A hole where the connection was known to be cut waits for nothing.
    lull_us : int
        A trade so much (us) later than the one before gets a second look.
    silence_us, slack_us : int
        The next trade's time may be at most so much (us) later or earlier than the latest one's.
    jump_limit : int
        Ids may jump ahead by so many.
    confirmations : int
        So many trades in a row that agree with each other make anything else believed: a longer
        jump, or numbering that begins anew. Fewer are dropped as false.
    gap_limit, late_limit : int
        Late trades are kept for the last so many gaps, and at most so many of them at a time.
    """

    hold_us: int = 200_000
    hold_limit: int = 1_000
    lull_us: int = 3_600 * _S
    silence_us: int = 7 * 86_400 * _S
    slack_us: int = 60 * _S
    jump_limit: int = 10_000_000
    confirmations: int = 8
    gap_limit: int = 64
    late_limit: int = 10_000


class Counters(msgspec.Struct):
    """What the feed has seen so far.

    ``received`` messages, of them ``malformed`` ones and ``ignored`` ones (symbols and streams
    nobody asked for); trades that were ``duplicates``, ``reordered`` (came out of order within the
    hold), ``late`` (came after their gap was told) and ``doubtful`` (not believed, dropped);
    ``gaps`` told, the ids ``missing`` in them and those ``filled`` by late trades; ``mismatches``
    of single trade ids, ``resets`` of the numbering and silences told as ``stale``.
    """

    received: int = 0
    malformed: int = 0
    ignored: int = 0
    duplicates: int = 0
    reordered: int = 0
    late: int = 0
    doubtful: int = 0
    gaps: int = 0
    missing: int = 0
    filled: int = 0
    mismatches: int = 0
    resets: int = 0
    stale: int = 0


class Fill(msgspec.Struct, frozen=True):
    """Trades found for a gap, in order of id; all of them if ``gap.repaired_at`` is set.

    Otherwise the gap stays open, and its ``cause`` ends with why.
    """

    gap: Gap
    trades: list[AggTrade]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing any more."""
        return self.gap.repaired_at is not None


class Reset(msgspec.Struct, frozen=True, gc=False):
    """The exchange numbers anew: after `last_id` comes `next_id`, which is not above it."""

    symbol: str
    last_id: int
    next_id: int
    detected_at: int


class Mismatch(msgspec.Struct, frozen=True, gc=False):
    """Aggregate ids follow each other, but the single trades inside do not.

    `agg_id` begins with the single trade `found_id` where `expected_id` was next.
    """

    symbol: str
    agg_id: int
    expected_id: int
    found_id: int
    detected_at: int


class Cut(msgspec.Struct, frozen=True):
    """Stands among the frames where some of `symbols` may be missing, and says why."""

    symbols: tuple[str, ...]
    cause: str


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """A message that was dropped; `reason` says what was found."""

    reason: str
    received_at: int


class Stale(msgspec.Struct, frozen=True, gc=False):
    """No trade of `symbol` since about `since` (us), longer than its usual rate explains."""

    symbol: str
    since: int
    detected_at: int


Event = (
    AggTrade
    | Gap
    | Fill
    | Reset
    | Mismatch
    | Kline
    | Quote
    | Shutdown
    | Stale
    | Reply
    | Refusal
    | Malformed
)
