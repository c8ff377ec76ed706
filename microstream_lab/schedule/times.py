"""Moments of a cron expression in a time zone, in microseconds UTC.

Invariant: daylight saving is Debian's: what is due in the hour that is skipped runs as soon as it
is over, what is due in the hour that comes twice runs once, and what runs every hour or oftener
keeps running by the hour. See cronsim, which Healthchecks reads its schedules with.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

__all__ = ["check_cron", "moments_after", "next_moment", "zone_of"]

_SECOND = 1_000_000


def moments_after(cron: str, zone: tzinfo, after: int) -> Iterator[int]:
    """The moments (us) strictly after `after`, in order, without end."""
    local = datetime.fromtimestamp(after // _SECOND, zone)
    for moment in CronSim(cron, local):
        yield int(moment.timestamp()) * _SECOND


def next_moment(cron: str, zone: tzinfo, after: int) -> int:
    """The first moment (us) strictly after `after`."""
    return next(moments_after(cron, zone, after))


def check_cron(cron: str) -> None:
    """Refuse what is no cron expression of five fields, or never comes.

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    if len(cron.split()) != 5:
        raise ValueError("expected five fields: minute, hour, day of month, month, day of week")
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        text = str(error).replace("Bad ", "found a bad ")
        raise ValueError(f"{text}; expected such as '30 0 * * *' or '0 6 * * MON-FRI'") from error
    except StopIteration:
        raise ValueError("expected a day that comes") from None


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises
    ------
    ValueError
        If this machine does not know it.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("expected a time zone such as UTC or Europe/Berlin") from error
