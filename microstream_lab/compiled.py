"""Compiled functions: numba's ``njit`` without the interpreter lock, kept on disk where it can be.

Invariant: nothing is compiled on import, and a place without any writable folder for the cache only
costs the compilation, at the first call of every process. ``NUMBA_CACHE_DIR`` names a folder for
the cache where neither the installed package nor the user's own cache folder can be written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["compiled"]

logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator that compiles a function on its first call."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError as error:  # numba's word for: no folder that it may write to
        logger.info("%s is compiled anew in every process: %s", function.__name__, error)
        return njit(nogil=True)(function)
