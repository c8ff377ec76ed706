"""Compiled functions: numba's ``njit`` without the interpreter lock, kept on disk where it can be.

Invariant: nothing is compiled on import; what was kept is taken only while the sources it was made
of are as they were; and a place without any writable folder for the cache only costs the
compilation, at the first call of every process. ``NUMBA_CACHE_DIR`` names a folder for the cache
where neither the installed package nor the user's own cache folder can be written.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from enum import EnumMeta
from functools import cache
from hashlib import sha256
from linecache import getlines
from typing import Any

from numba import njit, typeof
from numba.core.dispatcher import Dispatcher

__all__ = ["compiled", "entry"]

logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator that compiles a function on its first call."""
    try:
        kernel = njit(cache=True, nogil=True)(function)
    except RuntimeError as error:  # numba's word for: no folder that it may write to
        logger.info("%s is compiled anew in every process: %s", function.__name__, error)
        return njit(nogil=True)(function)
    if isinstance(kernel, Dispatcher):
        # numba looks at the function's own file, and would go on calling what others once were.
        kept: Any = vars(kernel)["_cache"]._cache_file
        kept._source_stamp = _stamp(_sources(function.__globals__, set()))
    return kernel


def entry(function: Any, *arguments: Any) -> Any:
    """A compiled function for arguments like these, entered without a look at their types.

    That look is half of what a short call costs. The function is called once to be compiled or
    loaded, so the arguments should be ones to spoil.
    """
    function(*arguments)
    types = tuple(typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    return function.get_overload(types)


def _sources(module: dict[str, Any], found: set[str]) -> set[str]:
    """The file of a module, and those of all compiled functions and enumerations it knows."""
    if (file := str(module.get("__file__"))) not in found:
        found.add(file)
        for value in tuple(module.values()):
            if isinstance(value, Dispatcher):
                _sources(value.py_func.__globals__, found)
            elif isinstance(value, EnumMeta):
                found.add(inspect.getfile(value))
    return found


def _stamp(files: set[str]) -> str:
    return " ".join(sorted(map(_digest, files)))


@cache
def _digest(file: str) -> str:
    return sha256("".join(getlines(file)).encode()).hexdigest()
