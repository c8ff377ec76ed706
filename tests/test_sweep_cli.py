"""``microstream sweep`` as a user meets it: checked, broken off, gone on with, compared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock
from sweeps import PATIENCE_S, until, write_notebook

from microstream_lab.cli import main
from microstream_lab.research import grid_run
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store

GRID = """
notebook = "mini"
compare = "square"
[grid]
x = [1, 2]
[fixed]
mode = "{mode}"
"""
CLI = "import sys; from microstream_lab.cli import main; main(sys.argv[1:])"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(microstream_home=tmp_path / "home", microstream_offline=True)
    write_notebook(settings)
    write_grid(settings)
    return settings


def write_grid(settings: Settings, mode: str = "work", text: str = GRID) -> None:
    settings.path("grid.toml").write_text(text.format(mode=mode))


def sweep(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLI, "sweep", "grid.toml", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background of a shell hands a deaf ear on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.fixture
def swept(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Any:
    def swept(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["sweep", str(settings.path("grid.toml")), *words])
        return int(left.value.code or 0), *capsys.readouterr()

    return swept


def reports(settings: Settings) -> list[Path]:
    return sorted(settings.runs_path.glob("*-06_sweep-*/report.html"))


def test_dry_run_checks_the_whole_grid_and_starts_nothing(settings: Settings, swept: Any) -> None:
    assert swept("--dry-run") == (0, "mini: 2 runs\n", "")
    write_grid(settings, text=GRID.replace("[1, 2]", "[1, 'two']"))
    code, out, err = swept()
    assert (code, out) == (1, "")
    assert "mini.ipynb" in err or "parameter x: found 'two'" in err
    assert err.count("\n") == 1
    assert not settings.runs_path.exists()


@pytest.mark.slow
def test_sweep_broken_off_goes_on_where_it_was_and_ends_in_one_comparison(
    settings: Settings, swept: Any
) -> None:
    hold = settings.path("hold-2")
    hold.touch()
    process = sweep()
    until(lambda: settings.path("reached-2").exists() or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "1 of 2 runs are kept; the same command goes on from there" in err
    for path in settings.microstream_home.glob("reached-*"):
        path.unlink()
    hold.unlink()

    code, out, err = swept()
    assert (code, err) == (0, "")
    assert "mini: 2 runs, 1 of them ended already" in out
    assert not settings.path("reached-1").exists()
    assert out.splitlines()[1:4] == ["x  square", "2  4.5", "1  1.5"]
    (report,) = reports(settings)
    assert str(report) in out
    assert "luckiest of equals" in report.read_text()
    table = pd.read_csv(report.parent / "sweep.csv", index_col=0)
    pd.testing.assert_frame_equal(table, pd.read_csv(settings.path("data/sweeps/grid/table.csv")))
    assert table["square"].tolist() == [1.5, 4.5]
    rows = Store(settings.store_path).runs()
    assert sorted(rows["status"]) == ["done", "done", "done", "failed"]
    assert rows.loc[rows["status"] == "failed", "error"].tolist() == ["interrupted"]


def test_failed_runs_are_told_kept_and_left_out_and_the_command_fails(
    settings: Settings, swept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def remember(notebook: str, parameters: dict[str, Any], **_: Any) -> Run:
        compared.append({"notebook": notebook, **parameters})
        return Run(
            "c", notebook, 0, "done", metrics={"failed": 1}, report="data/runs/c/report.html"
        )

    monkeypatch.setattr(grid_run, "run_notebook", remember)
    write_grid(settings, mode="fail")
    code, out, err = swept()
    assert code == 1
    told, last = err.splitlines()
    assert told.startswith("failed: x 2: mini: In [3] (import os, pathlib, time): ValueError: two")
    assert last == "error: 1 of 2 runs failed; --retry-failed runs them again"
    assert out.splitlines()[1:3] == ["x  square", "1  1.5"]
    assert len(list(settings.runs_path.glob("*-mini-*/mini.failed.ipynb"))) == 1
    table = "data/sweeps/grid/table.csv"
    assert compared == [
        {"notebook": "06_sweep", "table": table, "varied": ["x"], "figure": "square"}
        | {"lower_is_better": False}
    ]
    assert pd.read_csv(settings.path(table))["error"].notna().tolist() == [False, True]


def test_two_sweeps_over_one_grid_are_refused(settings: Settings, swept: Any) -> None:
    folder = settings.path("data", "sweeps", "grid")
    folder.mkdir(parents=True)
    with FileLock(folder / "sweep.lock"):
        code, _, err = swept()
    assert code == 1
    assert "another sweep is at work on this grid" in err
