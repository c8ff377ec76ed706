"""Runs of a sweep side by side: order, settings, luck; failed ones aside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from microstream_lab.errors import RunError
from microstream_lab.research.comparison import compare, read_table
from microstream_lab.research.comparison_plots import by_value

VARIED = ["symbol", "k"]
TABLE = pd.DataFrame(
    {
        "symbol": ["A", "A", "B", "B"],
        "k": [2, 3, 2, 3],
        "bars": [10, 10, 20, 20],
        "sharpe": [1.0, 3.0, 2.0, np.nan],
        "run_id": ["a", "b", "c", "d"],
        "error": ["", "", "", "In [3]: no"],
    }
)


def test_runs_are_ordered_with_the_best_first_and_without_failed_ones() -> None:
    assert compare(TABLE, VARIED).ranked()["sharpe"].tolist() == [3.0, 2.0, 1.0]
    lower = compare(TABLE, VARIED, lower_is_better=True)
    assert lower.ranked()["sharpe"].tolist() == [1.0, 2.0, 3.0]
    assert compare(TABLE, VARIED).failed.to_dict("records") == [
        {"symbol": "B", "k": 3, "error": "In [3]: no"}
    ]


def test_run_without_the_figure_counts_as_failed() -> None:
    quiet = TABLE.assign(error="")
    assert compare(quiet, VARIED).failed["error"].tolist() == ["no sharpe"]


def test_each_value_of_each_setting_has_its_worst_median_and_best() -> None:
    spread = compare(TABLE, VARIED).by_setting()
    assert spread.loc[("symbol", "A")].tolist() == [2, 1.0, 2.0, 3.0]
    assert spread.loc[("k", "3")].tolist() == [1, 3.0, 3.0, 3.0]
    lower = compare(TABLE, VARIED, lower_is_better=True).by_setting()
    assert lower.loc[("symbol", "A"), ["worst", "best"]].tolist() == [3.0, 1.0]


def test_symbols_stand_side_by_side() -> None:
    side = compare(TABLE, VARIED).across("symbol")
    assert side.columns.tolist() == ["A", "B"]
    assert side.loc["2"].tolist() == [1.0, 2.0]
    assert np.isnan(side.loc["3", "B"])


def test_the_luckiest_of_equals_is_as_far_out_as_many_draws_say() -> None:
    draws = np.random.default_rng(0).normal(5, 2, (20_000, 40))
    table = pd.DataFrame({"k": range(40), "sharpe": draws[0], "error": ""})
    standard = (compare(table, ["k"]).luckiest() - draws[0].mean()) / draws[0].std(ddof=1)
    assert standard == pytest.approx((draws.max(axis=1).mean() - 5) / 2, rel=0.03)


def test_verdict_names_the_best_settings_and_says_whether_they_beat_luck() -> None:
    assert (
        compare(TABLE, VARIED)
        .verdict()
        .startswith("best of 3 by Sharpe ratio a year: symbol A, k 3 (3); ")
    )
    one_ahead = pd.DataFrame({"k": range(9), "sharpe": [0.0] * 8 + [9.0], "error": ""})
    assert "; more than the luckiest" in compare(one_ahead, ["k"]).verdict()
    evenly = pd.DataFrame({"k": range(9), "sharpe": np.arange(9.0), "error": ""})
    assert "; no more than the luckiest" in compare(evenly, ["k"]).verdict()


def test_unknown_figure_is_refused_with_those_there_are() -> None:
    with pytest.raises(RunError, match="found no figure sharp; there are: bars, sharpe"):
        compare(TABLE, VARIED, "sharp")


def test_table_read_from_its_file_is_the_table(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "table.csv", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), TABLE)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RunError, match="no column 'error'"):
        read_table(tmp_path / "other.csv")


def test_figure_shows_each_run_above_its_values() -> None:
    traces = by_value(compare(TABLE, VARIED)).data
    assert [list(trace.x) for trace in traces[:2]] == [
        ["symbol A", "symbol A", "symbol B"],
        ["symbol A", "symbol B"],
    ]
    assert list(traces[1].y) == [2.0, 2.0]
