"""Tables for reading: narrow, by topic, with full names and intervals."""

import numpy as np
import pandas as pd

from microstream_lab.research.figures import by_topic, readable, with_interval


def table():
    rows = {
        ("a", "eta_squared"): [0.51234, 0.49, 0.531],
        ("a", "auc_stress"): [0.90449, 0.89, np.nan],
        ("a", "share_0"): [0.5, 0.4, 0.6],
        ("a", "model_minutes_0"): [12.34, np.nan, np.nan],
        ("b", "eta_squared"): [np.nan] * 3,
    }
    index = pd.MultiIndex.from_tuples(rows, names=["estimate", "figure"])
    return pd.DataFrame(list(rows.values()), index, ["value", "low", "high"])


def test_a_topic_is_a_table_with_a_row_for_every_estimate_that_has_such_figures():
    tables = by_topic(table())
    assert list(tables) == [
        "The coming hour's volatility (AUC: ranking of its worst 5 %)",
        "Share of time by regime",
        "Mean stay the model expects, minutes",
    ]
    first = tables["The coming hour's volatility (AUC: ranking of its worst 5 %)"]
    assert first.index.tolist() == ["a", "b"]
    assert first.loc["a"].tolist() == ["0.512 (0.49 to 0.53)", "0.9045"]
    assert first.loc["b"].tolist() == ["-", "-"]
    assert by_topic(table(), intervals=False)["Share of time by regime"].loc["a"].tolist() == [
        "0.500"
    ]


def test_a_figure_is_called_by_its_full_name_and_an_unknown_one_by_its_words():
    assert readable("eta_squared") == "variance explained (eta²)"
    assert readable("share_2") == "regime 2"
    assert readable("some_thing") == "some thing"


def test_an_interval_is_shown_where_there_is_one():
    assert with_interval(1.0, np.nan, 2.0) == "1.000"
    assert with_interval(np.nan, 0.0, 1.0) == "-"
