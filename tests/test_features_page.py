"""The page on features says of every one what the registry says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from microstream_lab.features import FEATURE_SETS, FEATURES

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "features.md").read_text("utf-8")


def rows() -> dict[str, list[str]]:
    """Cells of the table by feature, a family once for each of its horizons."""
    found = {}
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            _, named, *cells, _ = (cell.strip() for cell in re.split(r"(?<!\\)\|", line))
            stem, *horizons = named.replace("`", "").split()
            found |= {f"{stem}{horizon}": cells for horizon in horizons or [""]}
    return found


ROWS = rows()


def test_the_table_lists_the_features_of_the_package() -> None:
    own = {n for n, kind in FEATURES.items() if kind.__module__.startswith("microstream_lab.")}
    assert set(ROWS) == own


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_the_feature_says(name: str) -> None:
    feature = FEATURES[name]
    formula, unit, direction, scale, memory, paper = ROWS[name]
    assert (unit, direction, memory) == (feature.unit, feature.direction, feature.memory)
    assert scale == ("log" if feature.skewed else "")
    said = " ".join((feature.__doc__ or "").split())
    assert f"``{formula.strip('`')}``".replace("\\|", "|") in said
    assert all(word in said for word in paper.split())


def test_the_page_names_every_set_and_its_members() -> None:
    for name, members in FEATURE_SETS.items():
        line = re.search(
            rf"^- `{name}`(?:, the default)?: (.*?)\.$", PAGE, re.MULTILINE | re.DOTALL
        )
        assert line
        said = set(re.findall(r"`(\w+)`", line.group(1)))
        families = {stem for stem in said if stem.endswith("_")}
        assert said == {_family(member, families) for member in members}


def _family(name: str, families: set[str]) -> str:
    return next((stem for stem in families if name.startswith(stem)), name)
