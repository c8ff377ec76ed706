"""Compiled functions: nothing on import, and no cache needed to work."""

from __future__ import annotations

import subprocess
import sys

import numba
import pytest

from microstream_lab import compiled as module
from microstream_lab.compiled import compiled

_KERNELS = """
from microstream_lab.bars import folding
from microstream_lab.features import recursions
from microstream_lab.models import kernels
found = [vars(room)[name] for room in (folding, recursions, kernels) for name in room.__all__]
raise SystemExit(any(kernel.signatures for kernel in found) or len(found) < 10)
"""


def test_importing_every_kernel_compiles_none() -> None:
    assert subprocess.run([sys.executable, "-c", _KERNELS], check=False).returncode == 0


def test_where_no_folder_can_be_written_kernels_work_without_a_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def njit(cache: bool = False, **options: bool):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(module, "njit", njit)

    @compiled
    def twice(x: int) -> int:
        return 2 * x

    assert twice(21) == 42
