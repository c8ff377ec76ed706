"""Drift in the store: written once a bar and bundle, read back as it was."""

from __future__ import annotations

import pandas as pd
import pytest
from factories import make_bars
from msgspec.structs import replace

from microstream_lab.models.drift_report import DriftReport
from microstream_lab.store import Store, tables

MINUTE = 60_000_000
START = 1_700_000_040_000_000


def report(place: int = 0, **values: object) -> DriftReport:
    made = DriftReport(
        *("spot", "BTCUSDT", "1m", START + place * MINUTE, "a-bundle", 1440, 1440),
        features={"range": 0.5, "log_return": 0.125},
        regimes=0.25,
        shortfall=-0.5,
        alarms=("range",),
    )
    return replace(made, **values)


def test_reports_come_back_as_they_were(store: Store) -> None:
    counts = store.write_drift([report(), report(1, alarms=())])
    assert (counts.rows, counts.new) == (2, 2)
    found = store.drift("BTCUSDT", "1m")
    assert found.index.as_unit("us").asi8.tolist() == [START, START + MINUTE]
    first = found.iloc[0]
    assert first["features"] == {"range": 0.5, "log_return": 0.125}
    assert (first["regimes"], first["shortfall"], first["n_bars"]) == (0.25, -0.5, 1440)
    assert [list(alarms) for alarms in found["alarms"]] == [["range"], []]


def test_the_first_report_of_a_bar_and_bundle_stays_and_others_stand_beside(store: Store) -> None:
    store.write_drift([report()])
    again = store.write_drift([report(regimes=9.0), report(bundle_id="b")])
    assert (again.new, again.unchanged) == (1, 1)
    assert store.drift("BTCUSDT", "1m")["bundle_id"].tolist() == ["a-bundle", "b"]
    assert store.drift("BTCUSDT", "1m", bundle_id="a-bundle")["regimes"].tolist() == [0.25]


def test_series_and_spans_are_kept_apart(store: Store) -> None:
    store.write_drift([report(k) for k in range(4)] + [report(market="um")])
    assert len(store.drift("BTCUSDT", "1m", START + MINUTE, START + 3 * MINUTE)) == 2
    assert len(store.drift("BTCUSDT", "1m", market="um")) == 1
    assert store.drift("ETHUSDT", "1m").empty
    assert store.write_drift([]).rows == 0


def test_a_store_of_the_version_before_gains_the_table_and_keeps_its_rows(
    absent: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {version: step for version, step in tables.MIGRATIONS.items() if version < 3}
    with monkeypatch.context() as patch:
        patch.setattr(tables, "MIGRATIONS", older)
        absent.write_bars(make_bars(5))
        assert absent.status().schema_version == 2
    absent.write_drift([report()])
    assert len(absent.bars("BTCUSDT", "1m")) == 5
    assert isinstance(absent.drift("BTCUSDT", "1m"), pd.DataFrame)
    assert absent.status().schema_version == tables.newest_version()
