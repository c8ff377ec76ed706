"""Nights of scheduled trainings on real minutes, whatever goes wrong: the morning is never worse.

``make month`` goes through a whole month with the notebook 02_train; the tests through a few nights
with a notebook that only trains.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from month import SERIES, Month, Plan

from microstream_lab.market.files import read_klines
from microstream_lab.research.run_folder import read_record
from microstream_lab.research.verdict import GateRules

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits another process by prlimit"),
]

FULL = bool(os.environ.get("MICROSTREAM_MONTH"))
NIGHTS = 31 if FULL else 3
SKIPPED, N_DAYS, SHARE = (0, 30, 0.2) if FULL else (3, 12, 0.3)
LONG_PLAN = Plan(
    poisoned={5: 2},
    missing={12: 3},
    mishaps={
        2: ("crash",),
        9: ("hang",),
        17: ("full",),
        20: ("kill",),
        24: ("crash", "full", "kill"),
    },
)
SHORT_PLAN = Plan(
    poisoned={1: 1},
    missing={2: 1},
    mishaps={0: ("full",), 1: ("crash",), 2: ("hang", "kill")},
)
PLAN = LONG_PLAN if FULL else SHORT_PLAN
MAKESHIFT = "v0001"
ENDS = {
    "crash": "the kernel died",
    "hang": "ran into the limit of",
    "full": "File too large",
    "kill": "its process is gone",
}


@pytest.fixture(scope="module")
def month(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Month:
    files = [real_data / "klines_1m" / f"BTCUSDT-1m-2022-{n:02d}.zip" for n in (3, 4, 5)]
    truth = pd.concat([read_klines(file, market="um") for file in files[: 3 if FULL else 1]])
    truth = truth.iloc[SKIPPED * 1440 : (SKIPPED + N_DAYS + NIGHTS) * 1440]
    home = tmp_path_factory.mktemp("month")
    gone_through = Month(home, truth, N_DAYS, SHARE, PLAN, "02_train" if FULL else None)
    gone_through.work(NIGHTS)
    if FULL:
        print(told(gone_through))  # noqa: T201 - whoever runs it wants the figures
    return gone_through


def told(month: Month) -> str:
    """What happened, a line a run, and how much of the disk it took."""
    lines = []
    for row in month.rows():
        figures = row["metrics"]
        what = f"{figures.get('version', '')} {figures.get('decision', '')}".strip()
        why = row["error"] if isinstance(row["error"], str) else figures.get("reasons", "")
        due = f"{row['scheduled_for']:%Y-%m-%d}"
        lines.append(f"{due} attempt {row['attempt']}: {row['status']} {what} {why[:150]}".rstrip())
    sizes = ", ".join(f"{size / 1e6:.0f}" for size in month.bytes)
    return "\n".join(["", *lines, f"MB on disk by night: {sizes}"])


def test_every_run_is_accounted_for(month: Month) -> None:
    rows = month.rows()
    planned = [mishap for night in sorted(PLAN.mishaps) for mishap in PLAN.mishaps[night]]
    assert month.befell == planned
    failed = [row for row in rows if row["status"] != "done"]
    assert [row["status"] for row in failed] == ["failed"] * len(planned)
    for row, mishap in zip(failed, planned, strict=True):
        assert ENDS[mishap] in row["error"]
    done = [row["scheduled_for"].date() for row in rows if row["status"] == "done"]
    nights = pd.date_range(month.truth.index[N_DAYS * 1440], periods=NIGHTS)
    assert done == [night.date() for night in nights]
    folders = {path.name for path in month.settings.runs_path.glob("*/")}
    assert folders <= {row["run_id"] for row in rows}
    on_disk = map(read_record, month.settings.runs_path.glob("*/"))
    assert {run.status for run in on_disk if run} <= {"done", "failed"}
    versions = {info.version for info in month.registry.list()}
    assert versions - {MAKESHIFT} <= {row["metrics"].get("version") for row in rows}


def poisoned_nights(day: int, mended_after: int) -> range:
    """Nights whose trainings had the shuffled day before them."""
    return range(day, day + mended_after)


def test_nothing_that_saw_the_poison_is_promoted(month: Month) -> None:
    done = [row["metrics"] for row in month.rows() if row["status"] == "done"]
    for day, after in PLAN.poisoned.items():
        for night in poisoned_nights(day, after):
            assert done[night]["decision"] == "reject"
            assert "are in no order" in done[night]["reasons"]
            assert month.current[night] == month.current[night - 1]
    for day, after in PLAN.missing.items():
        for night in poisoned_nights(day, after):
            assert done[night]["decision"] in ("hold", "reject")
            assert month.current[night] == month.current[night - 1]


def test_what_becomes_current_is_no_worse_on_the_window_than_the_rule_allows(
    month: Month,
) -> None:
    """Figures of both anew, from the bars as they really were."""
    rules, changes = GateRules(), 0
    done = [row for row in month.rows() if row["status"] == "done"]
    for night, (before, after) in enumerate(pairwise([MAKESHIFT, *month.current])):
        figures = done[night]["metrics"]
        if after == before:
            assert not figures["promoted"]
            continue
        assert (after, figures["decision"]) == (figures["version"], "promote")
        there = {info.version for info in month.registry.list()}
        if not {before, after} <= there:
            continue  # their bundles have made room
        begin = night * 1440
        bars = month.truth.iloc[begin : begin + N_DAYS * 1440]
        new, old = (error_of(month, str(version), bars) for version in (after, before))
        assert new - old <= rules.stress_error
        changes += 1
    assert changes


def error_of(month: Month, version: str, bars: pd.DataFrame) -> float:
    """Root mean square error of the expected log volatility of the coming hour in the window."""
    bundle = month.registry.load(*SERIES[:2], version, SERIES[2])
    moves = np.log(bars["close"]).diff().to_numpy()
    squares = np.lib.stride_tricks.sliding_window_view(moves[1:] ** 2, 60).mean(axis=1)
    n_window = int(len(bars) * SHARE)
    expected = bundle.signals(bars)["expected_stress"].to_numpy()[: len(squares)]
    errors = expected[-n_window + 60 :] - 0.5 * np.log(squares[-n_window + 60 :])
    return float(np.sqrt(np.nanmean(errors**2)))


def test_the_disk_fills_up_no_further_than_what_is_kept(month: Month) -> None:
    kept = month.schedule.keep.runs
    promoted = month.registry.promoted(*SERIES)
    assert len(promoted) <= 10
    n_folders = len(list(month.settings.runs_path.glob("*/")))
    assert n_folders <= kept + len(promoted) + 1
    assert len(month.registry.list()) <= n_folders + 1  # no run has made the first champion
    if FULL:
        assert max(month.bytes[20:]) < 1.3 * max(month.bytes[10:20])
