"""The newest bars and the forming one, which the browser inks over the figure by itself.

A redraw of the figure takes the browser a tenth of a second, a few strokes on a canvas above it
take a millisecond. So whatever is newer than the figure is sent as numbers and inked at once, and
the figure catches up when there is time.

Invariant: pure; plain data that fits into JSON, with None where nothing is known.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from microstream_lab import theme
from microstream_lab.live.state import Picture

__all__ = ["ink_of"]

Json: TypeAlias = dict[str, Any]

_MOST: Final = 64
_PRICES: Final = ("open", "high", "low", "close")


def ink_of(picture: Picture, feature: str, since: int, step_us: int) -> Json:
    """What is to be inked.

    Parameters
    ----------
    picture : Picture
        What there is.
    feature : str
        The feature shown.
    since : int
        Open time (us) of the first bar to tell, at most 64 before the newest; the browser begins
        behind the last one that its figure shows.
    step_us : int
        Length of a bar.

    Returns
    -------
    dict
        ``t`` open times (ms), ``bars`` their prices, ``regimes``, ``scores``, ``flagged``,
        ``probs`` cumulated filtered probabilities and ``feature``, one of each a bar; ``forming``
        time and prices; ``step`` (ms) and ``colors`` of the regimes.
    """
    values, start = picture.columns, max(0, len(picture.times) - _MOST)
    start = max(start, int(np.searchsorted(picture.times, since)))
    probs = [values[name][start:] for name in values if name.startswith("p_")]
    forming, n_regimes = picture.forming, picture.model.n_regimes if picture.model else 0
    return {
        "t": (picture.times[start:] / 1_000).tolist(),
        "bars": np.transpose([values[name][start:] for name in _PRICES]).tolist(),
        "regimes": [int(regime) for regime in values["regime"][start:]],
        "scores": _known(values["anomaly_score"][start:]),
        "flagged": (values["is_anomaly"][start:] == 1).tolist(),
        "probs": [_known(row) for row in np.cumsum(probs, axis=0).T] if probs else [],
        "feature": _known(values[feature][start:]) if feature in values else [],
        "forming": None
        if forming is None
        else [forming.open_time / 1_000, *(getattr(forming, name) for name in _PRICES)],
        "step": step_us / 1_000,
        "colors": [color for _, color in theme.regime_styles(n_regimes)] if n_regimes else [],
    }


def _known(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
