"""The one error tree: every error says what was found, what was expected and where.

Invariant: whatever this package raises on purpose is a :class:`MicrostreamError`, and raising it
leaves stored data as it was. Those that reject an argument are ``ValueError`` as well, so that
scikit-learn and callers who know nothing of this package can handle them.
"""

from __future__ import annotations

__all__ = [
    "BundleBusyError",
    "BundleCorruptError",
    "BundleError",
    "BundleMismatchError",
    "BundleNotFoundError",
    "BusError",
    "ChecksumError",
    "DataError",
    "DecodeError",
    "ExchangeError",
    "FitError",
    "GeoBlockedError",
    "JobLockedError",
    "LateTradeError",
    "LookAheadError",
    "MicrostreamError",
    "NotebookFailedError",
    "OfflineError",
    "ParameterError",
    "PromotionError",
    "RateLimitedError",
    "RunError",
    "SettingsError",
    "StoreError",
    "StoreLockedError",
    "StoreVersionError",
]


class MicrostreamError(Exception):
    """Base of every error this package raises on purpose."""


class SettingsError(MicrostreamError, ValueError):
    """A setting, symbol, interval or market that cannot be used."""


class DataError(MicrostreamError, ValueError):
    """Input data that is not what it should be.

    Parameters
    ----------
    where : str
        File, frame or stream the data came from.
    found, expected : str
        What stood there, and what should have.
    line : int, optional
        Line of the file, counted from 1.
    """

    def __init__(self, where: str, found: str, expected: str, line: int | None = None) -> None:
        self.where, self.found, self.expected, self.line = where, found, expected, line
        super().__init__(where, found, expected, line)

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}, line {self.line}"
        return f"{place}: found {self.found}, expected {self.expected}"


class ChecksumError(DataError):
    """A file whose sha256 is not the published one."""


class LateTradeError(DataError):
    """A trade whose bar has been closed already; the bar is to be made anew from its trades.

    Parameters
    ----------
    symbol : str
        Whose trade.
    agg_id, trade_time : int
        Which trade, and its time (us).
    open_time : int
        Opening time (us) of the bar that is forming; the trade belongs to an earlier one.
    """

    def __init__(self, symbol: str, agg_id: int, trade_time: int, open_time: int) -> None:
        self.symbol, self.agg_id = symbol, agg_id
        self.trade_time, self.open_time = trade_time, open_time
        found = f"trade_time {trade_time} of agg_id {agg_id}"
        super().__init__(f"trades of {symbol}", found, f"a time from {open_time} on")
        self.args = (symbol, agg_id, trade_time, open_time)


class DecodeError(MicrostreamError, ValueError):
    """A message of the exchange that cannot be understood."""


class ExchangeError(MicrostreamError):
    """The exchange did not answer as documented."""


class RateLimitedError(ExchangeError):
    """The exchange asked us to back off (HTTP 429 or 418).

    Parameters
    ----------
    message : str
        What was asked of which host.
    retry_after_s : float
        Seconds the exchange wants to be left alone.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class GeoBlockedError(ExchangeError):
    """The exchange does not serve this place (HTTP 451 or 403)."""


class OfflineError(ExchangeError):
    """MICROSTREAM_OFFLINE forbids to dial beyond this machine."""


class StoreError(MicrostreamError):
    """The store cannot do what was asked."""


class StoreLockedError(StoreError):
    """Somebody held the store for longer than we were willing to wait.

    Parameters
    ----------
    path : str
        The store.
    holder : str
        Who holds it: process id and command.
    waited_s : float
        How long we waited.
    """

    def __init__(self, path: str, holder: str, waited_s: float) -> None:
        self.path, self.holder, self.waited_s = path, holder, waited_s
        super().__init__(path, holder, waited_s)

    def __str__(self) -> str:
        return (
            f"{self.path}: held by {self.holder}; waited {self.waited_s:g} s. "
            "Close that connection or program, or try again"
        )


class StoreVersionError(StoreError):
    """The store was written by a newer version of this package."""


class BundleError(MicrostreamError):
    """A model bundle cannot be used."""


class BundleNotFoundError(BundleError):
    """No bundle for this market, symbol, interval or version."""


class BundleCorruptError(BundleError):
    """A bundle whose files are not those that were saved."""


class BundleMismatchError(BundleError, ValueError):
    """A bundle that was made for other features or another interval."""


class BundleBusyError(BundleError):
    """Another program holds what has to be changed."""


class PromotionError(BundleError):
    """A bundle that may not become the current one now."""


class BusError(MicrostreamError):
    """The message broker cannot be used; the text says why and what to do."""


class FitError(MicrostreamError, ValueError):
    """A model could not be fitted; an earlier one, if any, is untouched."""


class LookAheadError(MicrostreamError, ValueError):
    """Something that knows the future was offered where only the past may be used."""


class RunError(MicrostreamError):
    """A notebook run could not be carried out."""


class JobLockedError(RunError):
    """Another scheduler looks after a job.

    Parameters
    ----------
    job : str
        Which one.
    holder : str
        Who looks after it: process id and command.
    """

    def __init__(self, job: str, holder: str) -> None:
        self.job, self.holder = job, holder
        super().__init__(job, holder)

    def __str__(self) -> str:
        return f"job {self.job}: held by {self.holder}; stop that one first"


class ParameterError(RunError, ValueError):
    """An unknown or ill-typed notebook parameter."""


class NotebookFailedError(RunError):
    """A notebook stopped at a failing cell, ran out of time or lost its kernel."""
