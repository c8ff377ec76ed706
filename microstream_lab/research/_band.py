"""The one path-dependent rule of the backtest, compiled: small changes are not traded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from microstream_lab.compiled import compiled

__all__ = ["hold_within_band"]


@compiled
def hold_within_band(targets: npt.NDArray[np.float64], band: float) -> npt.NDArray[np.float64]:
    """Follow `targets`, but only when they leave ``held +- band`` or ask to be flat."""
    held = np.empty_like(targets)
    last = 0.0
    for t in range(len(targets)):
        if targets[t] == 0.0 or abs(targets[t] - last) > band:
            last = targets[t]
        held[t] = last
    return held
