"""Compiled functions: nothing on import, and no cache needed to work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_what_was_kept_is_not_used_once_a_function_it_calls_has_changed(tmp_path: Path) -> None:
    head = "from microstream_lab.compiled import compiled\n"
    inner, outer = tmp_path / "inner.py", tmp_path / "outer.py"
    outer.write_text(f"{head}from inner import g\n@compiled\ndef f(x):\n    return g(x)\n")
    told = []
    for factor in (2, 3, 3):
        inner.write_text(f"{head}@compiled\ndef g(x):\n    return {factor} * x\n")
        script = "from outer import f; print(f(7), sum(f.stats.cache_hits.values()))"
        paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths}
        found = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True
        )
        told.append(found.stdout.decode().split())
    assert told == [["14", "0"], ["21", "0"], ["21", "1"]]
