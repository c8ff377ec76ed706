"""A sweep over a notebook: one run a point, kept once it has ended, whatever became of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from factories import make_bars
from sweeps import write_notebook

from microstream_lab.errors import ParameterError
from microstream_lab.research import notebook_trial
from microstream_lab.research.notebook_trial import NotebookTrial
from microstream_lab.research.run_folder import folder_of, read_record
from microstream_lab.research.sweep import sweep
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store

GRID = {"x": [1, 2], "mode": ["fail"]}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(microstream_home=tmp_path / "home", microstream_offline=True)
    write_notebook(settings)
    return settings


def trial_of(settings: Settings, *, retry: bool = False) -> NotebookTrial:
    folder = settings.path("data", "sweeps", "mine", "points")
    return NotebookTrial("mini", settings, folder, 60.0, retry=retry)


@pytest.fixture
def table(settings: Settings) -> pd.DataFrame:
    return sweep(trial_of(settings), GRID)


def test_each_point_is_a_run_with_its_figures_and_a_failed_one_says_why(
    settings: Settings, table: pd.DataFrame
) -> None:
    assert list(table.columns) == ["x", "mode", "square", "run_id", "error"]
    assert table["x"].tolist() == [1, 2]
    assert table["square"].iloc[0] == pytest.approx(1.5)
    assert pd.isna(table["square"].iloc[1])
    assert table["error"].iloc[0] == ""
    assert "ValueError: two is too many" in table["error"].iloc[1]
    rows = Store(settings.store_path).runs().set_index("run_id")
    assert rows.loc[table["run_id"], "status"].tolist() == ["done", "failed"]
    assert set(rows["cause"]) == {"sweep mine"}


def test_what_has_ended_is_not_run_again_unless_the_failed_shall_be(
    settings: Settings, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def counted(notebook: Path, parameters: dict[str, object], **_: object) -> Run:
        ran.append(parameters)
        return Run("again", "mini", 0, "done", metrics={"square": 4.5})

    monkeypatch.setattr(notebook_trial, "run_notebook", counted)
    pd.testing.assert_frame_equal(sweep(trial_of(settings), GRID), table)
    assert ran == []
    again = sweep(trial_of(settings, retry=True), GRID)
    assert [each["x"] for each in ran] == [2]
    assert again["error"].tolist() == ["", ""]


def test_other_parameters_notebook_or_bars_are_other_points(settings: Settings) -> None:
    def kept() -> Path:
        return trial_of(settings).points([{"x": 1, "symbol": "AUSDT"}])[0].kept

    (first,) = {kept(), trial_of(settings).points([{}])[0].kept}
    assert trial_of(settings).points([{"x": 2}])[0].kept != first
    path = settings.path("notebooks", "mini.ipynb")
    path.write_text(path.read_text().replace("# a number", "# one number"))
    assert kept() != first


def test_more_bars_of_its_series_make_another_point(settings: Settings) -> None:
    trial_of(settings)
    path = settings.path("notebooks", "mini.ipynb")
    series = 'symbol = \\"AUSDT\\"  # a series\\nmarket = \\"spot\\"\\ninterval = \\"1m\\"'
    path.write_text(path.read_text().replace('symbol = \\"AUSDT\\"  # a series', series))
    store = Store(settings.store_path)
    keys = []
    for n_bars in (10, 10, 20):
        store.write_bars(make_bars(n_bars, symbol="AUSDT"))
        keys.append(trial_of(settings).points([{}])[0].kept)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"y": [1]}, "found parameter 'y', expected one of: x, mode, symbol, weight"),
        ({"x": [1, 2.5]}, r"parameter x: found 2\.5 \(float\), expected int"),
        ({"mode": "work"}, "expected a list of values"),
    ],
)
def test_grid_that_the_notebook_does_not_take_is_refused_before_any_run(
    settings: Settings, grid: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        sweep(trial_of(settings), grid)
    assert not settings.runs_path.exists()


def test_run_whose_process_was_killed_is_settled_by_the_one_that_takes_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def dies(*_: object, settings: Settings, store: Store, order: object, **__: object) -> Run:
        run = Run(order.run_id, "mini", 0)  # type: ignore[attr-defined]
        folder_of(run.run_id, settings).mkdir(parents=True)
        notebook_trial.write_record(run, folder_of(run.run_id, settings))
        store.write_run(run)
        raise Killed

    point = trial_of(settings).tasks([{"x": 1}])[0].arguments[0]
    with monkeypatch.context() as patched:
        from microstream_lab.research.run_folder import write_record

        patched.setattr(notebook_trial, "write_record", write_record, raising=False)
        patched.setattr(notebook_trial, "run_notebook", dies)
        with pytest.raises(Killed):
            notebook_trial.run_point(point)
    killed = point.started.read_text()
    (row,) = notebook_trial.run_point(point)
    assert row["square"] == pytest.approx(1.5)
    assert row["run_id"] != killed
    rows = Store(settings.store_path).runs().set_index("run_id")
    assert rows.loc[killed, "status"] == "failed"
    assert rows.loc[killed, "error"] == "its process was killed"
    assert read_record(folder_of(killed, settings)).status == "failed"
