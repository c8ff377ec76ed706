"""A sweep is the same table however many processes make it, and says what went wrong where."""

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.errors import ParameterError
from microstream_lab.research import backtest_trial as module
from microstream_lab.research.backtest import backtest
from microstream_lab.research.sharpe import deflated_sharpe, sharpe_ratio
from microstream_lab.research.sweep import sweep
from microstream_lab.research.walkforward import walk_forward

FIXED = {"train": "2D", "test": "1D", "n_starts": 1, "exposure": (1.0, 0.0), "n_regimes": 2}
GRID = {"seed": [0, 1], "decide_every": [30, 60], "cost_bps": [0.0, 5.0]}


@pytest.fixture(scope="module")
def bars():
    return make_bars(6 * 1440, seed=8)


@pytest.fixture(scope="module")
def table(bars):
    return sweep(bars, GRID, FIXED)


def test_rows_are_the_points_of_the_grid_in_order(table):
    points = table[list(GRID)].to_records(index=False).tolist()
    assert points[:3] == [(0, 30, 0.0), (0, 30, 5.0), (0, 60, 0.0)]
    assert len(points) == len(set(points)) == 8
    assert (table["error"] == "").all()


def test_a_row_is_its_own_walk_forward_and_backtest(bars, table):
    walk = walk_forward(bars, "2D", "1D", "1h", n_starts=1, n_regimes=2, seed=1)
    result = backtest(walk.signals, bars.loc[walk.signals.index], (1.0, 0.0), 5.0, decide_every=60)
    row = table.iloc[7]
    assert row["sharpe"] == pytest.approx(result.summary().at["sharpe", "value"])
    assert row["turnover"] == pytest.approx(result.turnover)
    daily = result.daily_returns
    assert row["daily_sharpe"] == pytest.approx(sharpe_ratio(daily))
    assert row["deflated_sharpe"] == pytest.approx(deflated_sharpe(daily, table["daily_sharpe"]))


def test_two_processes_make_the_same_table(bars, table):
    pd.testing.assert_frame_equal(sweep(bars, GRID, FIXED, n_jobs=2), table)


def test_a_backend_chosen_by_the_caller_makes_the_same_table(bars, table):
    from joblib import parallel_config

    with parallel_config(backend="threading", n_jobs=2):
        pd.testing.assert_frame_equal(sweep(bars, GRID, FIXED), table)


def test_each_training_is_done_once_whatever_is_made_of_it(bars, monkeypatch):
    trained = []

    def counted(bars, **options):
        trained.append(options)
        return walk_forward(bars, **options)

    monkeypatch.setattr(module, "walk_forward", counted)
    sweep(bars, {"cost_bps": [0.0, 1.0, 2.0]}, FIXED)
    assert len(trained) == 1


def test_a_point_that_cannot_be_says_so_and_the_others_go_on(bars):
    found = sweep(bars, {"n_regimes": [2, 3], "decide_every": [60]}, FIXED)
    assert found["error"].iloc[0] == ""
    assert "exposure" in found["error"].iloc[1]
    assert np.isnan(found["sharpe"].iloc[1])
    none = sweep(bars, {"seed": [0]}, FIXED | {"train": "90D"})
    assert "expected at least" in none["error"].iloc[0]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"n_regime": [2]}, "did you mean n_regimes"),
        ({"seed": []}, "expected a list of values"),
        ({"feature_set": "seed"}, "expected a list of values"),
    ],
)
def test_a_grid_nobody_can_walk_is_refused_before_anything_is_fitted(bars, grid, message):
    with pytest.raises(ParameterError, match=message):
        sweep(bars, grid, FIXED)


def test_progress_is_shown_when_asked_for(bars, capsys):
    sweep(bars, {"cost_bps": [0.0]}, FIXED, progress=True)
    assert "sweep: 100%" in capsys.readouterr().err
