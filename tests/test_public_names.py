"""The front door: which names it offers, where they live and how little it costs to open."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import microstream_lab

PACKAGE = Path(microstream_lab.__file__).parent
HEAVY = ("duckdb", "hmmlearn", "numba", "pandas", "papermill", "plotly", "sklearn")
SOURCES = sorted(PACKAGE.rglob("*.py"))

PUBLIC_NAMES = {
    *("AggTrade", "Bar", "Gap", "Signal", "iter_bars"),
    *("read_agg_trades", "read_klines"),
    *("BarBuilder", "bars_from_trades"),
    *("FeatureState", "features_from_bars"),
    *("Engine", "ModelBundle", "train_bundle"),
    *("Registry", "Settings", "Store"),
    *("LiveSession", "RegimeMonitor"),
    *("LocalExchange", "SimulatedMarket", "simulate_market"),
    *("backtest", "evaluate", "walk_forward"),
}
"""What users may rely on; a name leaves this list only with a new major version."""


def front_door() -> ast.Module:
    return ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))


def names_for_type_checkers() -> dict[str, str]:
    """Name to home, as written under ``if TYPE_CHECKING``."""
    block = next(node for node in front_door().body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: (node.module or "").removeprefix("microstream_lab.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def declared_all(path: Path) -> list[str] | None:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def test_front_door_offers_exactly_the_public_names() -> None:
    assert set(microstream_lab.__all__) == PUBLIC_NAMES


def test_type_checkers_and_the_lazy_loader_see_the_same_names() -> None:
    assert names_for_type_checkers() == microstream_lab._HOMES
    assert sorted(microstream_lab._HOMES) == sorted(microstream_lab.__all__)


@pytest.mark.parametrize("name", sorted(PUBLIC_NAMES))
def test_public_name_loads_from_its_home_and_is_documented(name: str) -> None:
    loaded = getattr(microstream_lab, name)
    home = import_module(f"microstream_lab.{microstream_lab._HOMES[name]}")
    assert loaded is getattr(home, name)
    assert name in home.__all__
    assert loaded.__doc__


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = microstream_lab.no_such_name


def test_completion_shows_names_that_are_not_loaded_yet() -> None:
    assert set(microstream_lab.__all__) <= set(dir(microstream_lab))


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = f"import sys, microstream_lab; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_says_what_it_is_for_and_what_it_offers(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), "no module docstring"
    if not path.stem.startswith("__"):
        assert declared_all(path) is not None, "no __all__"
