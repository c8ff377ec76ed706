"""Notebook runs: kept whole, told apart when they fail, never started with a wrong parameter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from microstream_lab.errors import NotebookFailedError, ParameterError, RunError
from microstream_lab.research import runs
from microstream_lab.research.runs import Run, run_notebook
from microstream_lab.settings import Settings
from microstream_lab.store import Store

NOON = 1_714_564_800_000_000  # 2024-05-01 12:00 UTC
PARAMETERS = 'mode = "work"  # what to do\nn_regimes = 3  # how many\n'
WORK = """
import os
if mode == "fail":
    raise ValueError("found one line\\nand another")
if mode == "die":
    os._exit(1)
if mode == "hang":
    __import__("time").sleep(600)
"""
METRICS = """
from microstream_lab.research.metrics import record_metrics
record_metrics({"n_regimes": n_regimes, "lost": float("nan")})
record_metrics({"home": os.environ["MICROSTREAM_HOME"], "folder": os.getcwd()})
"""


class Table:
    """A run table that remembers everything written to it."""

    def __init__(self) -> None:
        self.rows: list[Run] = []

    def write_run(self, run: Run) -> None:
        self.rows.append(run)


def write_notebook(folder: Path, *cells: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "02_train.ipynb"
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    code = [new_code_cell(source) for source in cells]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A title"), parameters, *code]), path)
    return path


def clock() -> Any:
    """A clock that goes on by one second a look."""
    return iter(range(NOON, NOON + 10**9, 10**6)).__next__


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path / "home {with} braces", microstream_offline=True)


def failing_run(settings: Settings, mode: str, timeout_s: float = 60) -> tuple[str, Run, Path]:
    """The error of a run that must fail, its row and its folder."""
    table, path = Table(), write_notebook(settings.path("notebooks"), WORK, METRICS)
    with pytest.raises(NotebookFailedError) as raised:
        run_notebook(
            path, {"mode": mode}, settings=settings, store=table, timeout_s=timeout_s, clock=clock()
        )
    assert [row.status for row in table.rows] == ["running", "failed"]
    return str(raised.value), table.rows[-1], settings.runs_path / table.rows[-1].run_id


def test_finished_run_leaves_notebook_report_record_and_row(settings: Settings) -> None:
    path = write_notebook(settings.path("notebooks"), WORK, METRICS)
    source, table = path.read_text(), Table()
    run = run_notebook(
        path, {"n_regimes": 2}, settings=settings, store=table, timeout_s=60, clock=clock()
    )
    folder = settings.runs_path / run.run_id
    assert run.run_id.startswith("20240501T120000Z-02_train-")
    assert [row.status for row in table.rows] == ["running", "done"]
    assert table.rows[-1] == run
    assert (run.started_at, run.ended_at) == (NOON, NOON + 10**6)
    assert run.parameters == {"mode": "work", "n_regimes": 2}
    assert list(run.metrics.items()) == [
        ("n_regimes", 2),
        ("lost", None),
        ("home", str(settings.microstream_home)),
        ("folder", str(path.parent)),
    ]
    assert sorted(each.name for each in folder.iterdir()) == [
        *("02_train.ipynb", "report.html", "run.json"),
    ]
    assert settings.path(run.report or "") == folder / "report.html"
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "done"
    assert record["started_at"] == "2024-05-01T12:00:00+00:00"
    assert "<h1>A title</h1>" in (folder / "report.html").read_text()
    assert path.read_text() == source


def test_failing_cell_ends_in_one_line_with_cell_and_exception(settings: Settings) -> None:
    message, row, folder = failing_run(settings, "fail")
    assert message == (
        "02_train: In [3] (import os): ValueError: found one line and another; "
        f"see {folder / 'report.html'}"
    )
    assert row.error == "In [3] (import os): ValueError: found one line and another"
    assert (folder / "02_train.failed.ipynb").exists()
    assert not (folder / "02_train.ipynb").exists()
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert "found one line" in (folder / "report.html").read_text()


def test_dead_kernel_is_a_failed_run(settings: Settings) -> None:
    message, row, folder = failing_run(settings, "die")
    assert row.error == "In [3] (import os): the kernel died"
    assert row.error in message
    assert (folder / "02_train.failed.ipynb").exists()


def test_hanging_run_is_ended_at_its_time_limit(settings: Settings) -> None:
    _, row, folder = failing_run(settings, "hang", timeout_s=5)
    assert row.error is not None
    assert row.error.endswith("ran into the limit of 5 s")
    assert (folder / "report.html").exists()


def test_run_told_to_stop_is_kept_as_failed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    kill = f"import os, time; os.kill(os.getppid(), {int(signal.SIGTERM)}); time.sleep(600)"
    write_notebook(home / "notebooks", kill)
    command = "from microstream_lab.cli import main; main(['train'])"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "MICROSTREAM_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
    (run,) = Store(home / "data" / "microstream.duckdb").runs().itertuples()
    assert (run.status, run.error) == ("failed", "interrupted")
    assert (home / "data" / "runs" / run.run_id / "02_train.failed.ipynb").exists()


def test_wrong_parameter_is_refused_before_anything_is_started(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*args: object, **options: object) -> None:
        pytest.fail("a kernel was about to start")

    monkeypatch.setattr(runs, "execute", started)
    path = write_notebook(settings.path("notebooks"), WORK)
    table = Table()
    for wrong in ({"n_regime": 2}, {"n_regimes": "2"}):
        with pytest.raises(ParameterError, match="n_regimes"):
            run_notebook(path, wrong, settings=settings, store=table)
    assert table.rows == []
    assert not settings.runs_path.exists()


def test_kernel_that_is_not_installed_is_a_failed_run(settings: Settings) -> None:
    path = write_notebook(settings.path("notebooks"), WORK)
    with pytest.raises(NotebookFailedError, match="no kernel named 'cobol' is installed"):
        run_notebook(path, settings=settings, kernel_name="cobol")
    (folder,) = settings.runs_path.glob("*/")
    assert (folder / "02_train.failed.ipynb").exists()


def test_kernel_that_dies_before_it_answers_is_started_anew(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, tried = tmp_path / "kernels" / "shaky", tmp_path / "tried"
    script = f"""if 1:
        import sys, pathlib
        if not pathlib.Path({str(tried)!r}).exists():
            pathlib.Path({str(tried)!r}).touch()
            sys.exit("Address already in use")
        from ipykernel.kernelapp import launch_new_instance
        launch_new_instance()"""
    spec.mkdir(parents=True)
    argv = [sys.executable, "-c", script, "-f", "{connection_file}"]
    described = {"argv": argv, "display_name": "Shaky", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(described))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    path = write_notebook(settings.path("notebooks"), WORK)
    assert run_notebook(path, settings=settings, kernel_name="shaky").status == "done"
    assert tried.exists()


def test_runs_of_one_moment_do_not_share_a_folder_and_sort_by_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def executed(path: Path, output: Path, *args: object, **options: object) -> None:
        nbformat.write(nbformat.read(path, 4), output)

    monkeypatch.setattr(runs, "execute", executed)
    path = write_notebook(settings.path("notebooks"), WORK)
    moments = [NOON, NOON, NOON + 10**6, NOON + 86_400 * 10**6]
    made = [run_notebook(path, settings=settings, clock=lambda m=m: m).run_id for m in moments]
    assert len(set(made)) == len(made)
    assert sorted(made)[2:] == made[2:]


def test_notebook_is_found_by_name_and_a_missing_one_names_those_there_are(
    settings: Settings,
) -> None:
    path = write_notebook(settings.path("notebooks"), WORK)
    for known in ("02_train", "02_train.ipynb", path):
        assert runs.find_notebook(known, settings) == path.resolve()
    with pytest.raises(RunError, match=r"notebook 02_tran: not found; in .*notebooks: .*02_train,"):
        runs.find_notebook("02_tran", settings)


def test_file_that_is_no_notebook_is_refused(settings: Settings) -> None:
    path = write_notebook(settings.path("notebooks"), WORK)
    path.write_text("not json")
    with pytest.raises(RunError, match="no readable notebook"):
        run_notebook(path, settings=settings)


def test_typed_parameters_are_read_as_the_notebooks_types(settings: Settings) -> None:
    path = write_notebook(settings.path("notebooks"), WORK)
    assert runs.typed_parameters(path, ["n_regimes=4", "mode = a=b"], settings) == {
        "n_regimes": 4,
        "mode": "a=b",
    }
    for wrong in ("n_regimes", "n_regime=4", "n_regimes=four"):
        with pytest.raises(ParameterError, match="n_regimes"):
            runs.typed_parameters(path, [wrong], settings)


def test_run_stopped_while_it_is_written_down_is_kept_as_failed(settings: Settings) -> None:
    class Interrupted(Table):
        def write_run(self, run: Run) -> None:
            super().write_run(run)
            if run.status == "running":
                raise KeyboardInterrupt

    notebook, table = write_notebook(settings.path("notebooks")), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_notebook(notebook, settings=settings, store=table)
    assert [run.status for run in table.rows] == ["running", "failed"]
    assert table.rows[-1].error == "interrupted"
    assert settings.path(table.rows[-1].report or "").exists()


def test_tables_that_a_notebook_records_lie_beside_its_report(settings: Settings) -> None:
    record = (
        "import pandas as pd\nfrom microstream_lab.research.metrics import record_table\n"
        "record_table('stability', pd.DataFrame({'x': [1 / 3]}, index=pd.Index(['a'], name='who')))"
    )
    notebook = write_notebook(settings.path("notebooks"), record)
    run = run_notebook(notebook, settings=settings)
    folder = settings.path(run.report or "").parent
    assert (folder / "stability.csv").read_text() == "who,x\na,0.333333\n"
    assert "0.333333" not in (folder / "report.html").read_text()


def test_a_table_without_a_name_for_a_file_is_refused() -> None:
    from pandas import DataFrame

    from microstream_lab.research.metrics import record_table

    with pytest.raises(RunError, match=r"found the name '\.\./x'"):
        record_table("../x", DataFrame())
