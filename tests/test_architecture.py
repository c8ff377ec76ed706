"""Imports point one way, and the pure core stays pure: both read off the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "microstream_lab"
NAME = PACKAGE.name

CORE = "core"
LAYERS = {
    "vocabulary": {"columns", "schema", "errors", "settings"},
    CORE: {"bars", "bundle", "compiled", "engine", "features", "folding", "models", "outcomes"}
    | {"drift", "recipe", "stepper", "summing", "threads", "training"},
    "market": {"market"},
    "edges": {"bus", "ingest", "registry", "store"},
    "uses": {"doctor", "live", "prepare", "research", "schedule", "theme"},
    "command line": {"__main__", "cli"},
}
"""From the innermost layer to the outermost; a layer imports itself and those before it."""

BANNED_IN_CORE = {"asyncio", "duckdb", "pathlib", "plotly", "random", "time", "websockets"}
ONLY_IMPORTERS = {"confluent_kafka": {"bus"}, "duckdb": {"store"}, "websockets": {"market"}}


def rank(room: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS.values()) if room in rooms)


def room_of(module: str) -> str:
    """``microstream_lab.market.wire`` is in the room ``market``."""
    return module.split(".")[1] if "." in module else ""


def module_name(path: Path, package: Path = PACKAGE) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Every imported name in full, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")[: None if is_package and node.level == 1 else -node.level]
                base = ".".join([*up, base] if base else up)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def read_modules(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Imported names by module; the front door, which only re-exports, is left out."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = module_name(path, package)
        if name != package.name:
            is_package = path.name == "__init__.py"
            found[name] = set(imports(path.read_text("utf-8"), name, is_package))
    return found


MODULES = read_modules()


def own_imports(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """The package's own modules each module imports, itself left out."""
    graph = {}
    for module, names in modules.items():
        own = {n if n in modules else n.rpartition(".")[0] for n in names if n.startswith(NAME)}
        graph[module] = {name for name in own if name in modules and name != module}
    return graph


def upward_imports(graph: dict[str, set[str]]) -> list[str]:
    return sorted(
        f"{module} imports {target}"
        for module, targets in graph.items()
        for target in targets
        if rank(room_of(target)) > rank(room_of(module))
    )


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def top_level(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_every_module_has_its_place_in_a_layer() -> None:
    homes = set().union(*LAYERS.values())
    homeless = {module for module in MODULES if room_of(module) not in homes}
    assert not homeless, "say in LAYERS of tests/test_architecture.py where these belong"


def test_no_module_imports_from_an_outer_layer() -> None:
    assert upward_imports(own_imports(MODULES)) == []


def test_no_import_cycle_exists() -> None:
    assert cycle_of(own_imports(MODULES)) == []


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in LAYERS[CORE]])
def test_core_module_touches_no_clock_file_socket_or_setting(module: str) -> None:
    assert not top_level(MODULES[module]) & BANNED_IN_CORE
    assert f"{NAME}.settings" not in own_imports(MODULES)[module]


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_library_is_imported_only_where_it_belongs(library: str) -> None:
    rooms = {room_of(module) for module, names in MODULES.items() if library in top_level(names)}
    assert rooms <= ONLY_IMPORTERS[library]


def test_inside_the_package_nobody_enters_by_the_front_door() -> None:
    graph = own_imports(MODULES)
    by_the_door = {
        f"{module} imports {name}"
        for module, names in MODULES.items()
        for name in names
        if name.startswith(f"{NAME}.")
        and name != f"{NAME}.__version__"
        and name.count(".") == 1
        and name not in graph
    }
    assert not by_the_door


def test_every_kind_of_import_is_seen() -> None:
    source = "import a.b\nfrom . import x\nfrom ..bars import fold\ndef f():\n    from c import d\n"
    seen = set(imports(source, f"{NAME}.market.wire", is_package=False))
    assert seen == {"a.b", f"{NAME}.market.x", f"{NAME}.bars.fold", "c.d"}
    package = set(imports("from .wire import y", f"{NAME}.market", is_package=True))
    assert package == {f"{NAME}.market.wire.y"}


def test_an_upward_import_and_a_cycle_are_found() -> None:
    graph = {f"{NAME}.bars": {f"{NAME}.store"}, f"{NAME}.store": {f"{NAME}.bars"}}
    assert upward_imports(graph) == [f"{NAME}.bars imports {NAME}.store"]
    assert len(cycle_of(graph)) == 3
