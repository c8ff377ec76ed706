"""What the benchmarks say of their figures; the figures themselves are nobody's promise here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import report
from turns import Figure, ratio, take_turns, told


def figure(measured: float, **options: object) -> Figure:
    return Figure("path", "reference", 5.0, measured, "1 s", "9 s", "How.", **options)


@pytest.mark.parametrize(
    ("measured", "at_most", "is_met"),
    [(5.0, False, True), (4.9, False, False), (5.0, True, True), (5.1, True, False)],
)
def test_a_goal_is_met_from_its_own_side(measured: float, at_most: bool, is_met: bool) -> None:
    verdict = figure(measured, at_most=at_most).verdict
    assert verdict.endswith("met") is is_met
    assert ("MISSED" in verdict) is not is_met


def test_a_ratio_is_the_median_of_the_turns_own_ratios() -> None:
    assert ratio([9.0, 100.0, 6.0], [3.0, 10.0, 3.0]) == 3.0


def test_ways_take_turns_and_change_their_order() -> None:
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in "ab"}
    ticks = iter(range(100))
    taken = take_turns(ways, 3, clock=lambda: next(ticks))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert taken == {"a": [1, 1, 1], "b": [1, 1, 1]}


def test_times_are_told_in_a_fitting_unit() -> None:
    assert told([2e-3, 1e-3, 9.0]) == "2 ms"
    assert told([0.5], 1_000_000, " a row") == "500 ns a row"


@pytest.mark.parametrize("at_most", [False, True])
def test_only_what_got_much_worse_is_pointed_out(at_most: bool) -> None:
    before, worse = figure(10.0, at_most=at_most), 20.0 if at_most else 5.0
    assert report.compare([figure(9.9, at_most=at_most)], [before]) == []
    assert len(report.compare([figure(worse, at_most=at_most)], [before])) == 1
    assert report.compare([figure(worse, at_most=at_most)], []) == []


def test_the_page_tells_misses_and_reasons() -> None:
    page = report.page([figure(2.0), figure(float("nan"), skipped="not installed")])
    assert "| path | reference | >= 5x | 2.00x (missed) | 1 s | 9 s |" in page
    assert "not installed" in page
    assert "- **path**. How." in page


def test_figures_are_kept_from_one_run_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "KEPT", tmp_path / "bench" / "last.json")
    assert report.kept() == {}
    report.keep({"em": [figure(3.0)]})
    assert report.kept() == {"em": [figure(3.0)]}


def test_a_benchmark_that_breaks_off_is_named_and_the_others_still_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "notes.md").write_text("Notes.")
    (tmp_path / "bench_a.py").write_text("raise SystemExit(3)")
    (tmp_path / "bench_b.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(report.__file__).parent)!r})\n"
        "from turns import Figure, publish; publish(Figure('told', 'reference', 5.0, 9.0))"
    )
    places = {"HERE": tmp_path, "NOTES": tmp_path / "notes.md", "KEPT": tmp_path / "last.json"}
    for name, place in {**places, "PAGE": tmp_path / "page.md", "FAILED": []}.items():
        monkeypatch.setattr(report, name, place)
    with pytest.raises(SystemExit, match="broke off: bench_a"):
        report.main([])
    assert "| told | reference | >= 5x | 9.00x |" in (tmp_path / "page.md").read_text()
