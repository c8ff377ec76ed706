"""One year after another: whole years alone, and gains that are differences of the figures."""

import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.errors import DataError
from microstream_lab.research.lineup import lineup
from microstream_lab.research.years import FIGURES, GAINS, contestants, over_years

YEAR = 365 * 24


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """Two years by the hour and a piece of a third."""
    return make_bars(2 * YEAR + 500, seed=1, interval="1h", start="2022-01-01")


@pytest.fixture(scope="module")
def tables(bars: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return over_years(bars, lineup(("ewma",), ((0.5, 0.4, 0.1),)), (None, "90D"))


def test_each_whole_year_is_judged_fitted_once_and_refitted(
    tables: dict[str, pd.DataFrame],
) -> None:
    plain, steady = lineup(("ewma",), ((0.5, 0.4, 0.1),))
    fits = [("once", 2022), ("once", 2023), ("every 90D", 2022), ("every 90D", 2023)]
    assert list(tables[FIGURES].index) == [(*fit, name) for fit in fits for name in (plain, steady)]
    assert list(tables[GAINS].index) == [(*fit, steady) for fit in fits]


def test_a_gain_is_what_the_first_has_more_than_the_rival(tables: dict[str, pd.DataFrame]) -> None:
    figures, gains = tables[FIGURES], tables[GAINS]
    for figure in ("eta_squared", "auc_stress", "switches_per_hour"):
        of = figures[figure].unstack("estimate").loc[["once", "every 90D"]]
        plain, steady = of.columns
        told = gains[figure].droplevel("over")
        pd.testing.assert_series_equal(
            (of[plain] - of[steady])[told.index], told, check_names=False
        )
    assert (gains["low"] <= gains["eta_squared"]).all()
    assert (gains["eta_squared"] <= gains["high"]).all()
    assert (figures["auc_stress low"] <= figures["auc_stress"]).all()


def test_a_year_knows_nothing_of_the_others(
    bars: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> None:
    alone = over_years(bars[bars.index >= "2023"], lineup(("ewma",), ((0.5, 0.4, 0.1),)), (None,))
    for title, table in alone.items():
        pd.testing.assert_frame_equal(table, tables[title].loc[["once"]].loc[table.index])


def test_less_than_a_year_is_refused_by_its_span(bars: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="found bars from 2023-02-01 to 2024-01-21, expected all"):
        over_years(bars[bars.index >= "2023-02-01"])


def test_the_default_meets_ewma_and_har_at_its_own_shares() -> None:
    assert list(contestants()) == [
        "bundle default",
        "EWMA 45/45/10 steady",
        "HAR 45/45/10 steady",
    ]
