"""What README and docs show is so: commands are understood, Python runs, links lead somewhere."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import re
import shlex
import shutil
import subprocess
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from schedules import write_notebook

from microstream_lab.cli import app, main
from microstream_lab.features import FEATURES
from microstream_lab.market.files import write_klines
from microstream_lab.market.simulate import simulate_market
from microstream_lab.registry import Registry
from microstream_lab.research import runs
from microstream_lab.research.run_folder import folder_of
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store
from microstream_lab.training import train_bundle

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

ONLY_PARSED = {
    "microstream lab": "becomes JupyterLab",
    "microstream monitor": "serves until it is stopped",
    "microstream record": "records until it is stopped",
    "microstream exchange": "serves until it is stopped",
    "microstream schedule": "works until it is stopped",
    "microstream schedule run": "starts kernels, as tests/test_schedule_processes.py does",
    "microstream sweep": "starts kernels, as tests/test_sweep_cli.py does",
    "microstream ingest SYMBOL": "needs Binance's archive",
    "microstream worker": "needs a broker",
    "microstream store publish": "needs a broker",
    "microstream store serve": "serves until it is stopped",
}
"""Commands of ours that are understood by the command line, and not carried out; why."""
NOT_OURS = {
    ".": "the shell's",
    "pip": "installs",
    "conda": "installs",
    "docker": "is not everywhere",
    "dask": "has tests of its own in tests/test_cluster.py",
    ".venv/bin/python": "runs tests",
    "curl": "asks a service that runs",
}
"""First words of other programs' commands; why they are left alone."""


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Page and text of each fenced block that is marked so."""
    for page, text in TEXTS.items():
        for found in BLOCK.finditer(text):
            if found[1].strip() == language:
                yield page, found[2]


def commands() -> list[tuple[str, str]]:
    """Page and line of each command, without what is said about it."""
    found = []
    for page, text in blocks("sh"):
        joined = re.sub(r"\\\n\s*", " ", text)
        found += [(page, line) for line in joined.splitlines() if line.split("#")[0].strip()]
    return found


def words_of(command: str) -> list[str]:
    """Without settings before the command, an ``&`` after it, and what is written into a file."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    ends = [place for place, word in enumerate(words) if word in {"&", ">", "|", "&&"}]
    return words[: ends[0]] if ends else words


def only_parsed(words: list[str]) -> str:
    """Why a command of ours is not carried out; empty if it is."""
    plain = [word for word in words[1:] if not word.startswith("-")]
    if words[1] == "ingest" and "--from" not in words:
        return ONLY_PARSED["microstream ingest SYMBOL"]
    if words[1] in ("schedule", "sweep") and "--dry-run" in words:
        return ""
    for length in (2, 1):
        why = ONLY_PARSED.get(" ".join(["microstream", *plain[:length]]))
        if why:
            return why
    return ""


def parse(words: list[str]) -> None:
    """Have the command line read the words, and start nothing."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("microstream", list(words))
    rest = [*context._protected_args, *context.args]
    while hasattr(group, "resolve_command") and rest:
        name, group, rest = group.resolve_command(context, rest)
        context = group.make_context(name, rest, parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as it may be after a few weeks: bars, bundles, runs, a schedule, a grid."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(microstream_home=home, microstream_offline=True)
    store, registry = Store(settings.store_path), Registry(settings.models_path)
    store.write_bars(simulate_market("2024-05-01", 22 * 1440, seed=1).bars)
    bars = simulate_market("2024-05-01", 2 * 1440, seed=2).bars
    for symbol, market in (("BTCUSDT", "um"), ("ETHUSDT", "um"), ("BTCUSDT", "spot")):
        named = bars.assign(symbol=symbol, market=market).astype(
            {"symbol": "category", "market": "category"}
        )
        store.write_bars(named)
        if (symbol, market) == ("BTCUSDT", "um"):
            write_klines(named, home / "data" / "btc")
            write_klines(named, home / "data" / "klines_1m")
            bundle = train_bundle(named.iloc[:1440], "seed", n_starts=1)
    for _ in range(2):
        registry.promote("BTCUSDT", "1m", registry.save(bundle), "um")
    for run_id in ("20240501T003000Z-02_train-a", "20240502T003000Z-02_train-b"):
        folder_of(run_id, settings).mkdir(parents=True)
        report = f"data/runs/{run_id}/report.html"
        settings.path(report).touch()
        store.write_run(Run(run_id, "02_train", 1, "done", ended_at=2, report=report))
    (schedule,) = (t for p, t in blocks("toml") if p == "docs/scheduling.md")
    (grid,) = (t for p, t in blocks("toml") if p == "docs/sweeps.md")
    settings.path("schedule.toml").write_text(schedule)
    settings.path("grid.toml").write_text(grid)
    return home


@pytest.fixture
def home(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where notebooks run without a kernel."""
    home = tmp_path / "copy"
    shutil.copytree(prepared, home)
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    write_notebook(Settings(microstream_home=home), name="10_spreads")

    def remember(notebook: str, parameters: dict[str, Any], **options: Any) -> Run:
        return Run("a-run", notebook, 0, "done", ended_at=1, report="data/runs/a-run/report.html")

    monkeypatch.setattr(runs, "run_notebook", remember)
    monkeypatch.setattr(webbrowser, "open", lambda uri: True)
    monkeypatch.setenv("MICROSTREAM_HOME", str(home))
    monkeypatch.chdir(home)
    return home


@pytest.mark.parametrize(("page", "command"), commands())
def test_command_is_what_the_program_understands(
    page: str, command: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of(command)
    if words[0] == "make":
        make = shutil.which("make")
        assert make is not None
        done = subprocess.run([make, "-n", *words[1:]], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    if words[0] != "microstream":
        assert words[0] in NOT_OURS, f"{page}: {command}"
        return
    if only_parsed(words):
        parse(words[1:])
        return
    home = request.getfixturevalue("home")
    if words[1:3] == ["notebooks", "new"]:
        (home / "notebooks" / f"{words[3]}.ipynb").unlink()
    with pytest.raises(SystemExit) as left:
        main(words[1:])
    breaks = words[1:3] == ["notebooks", "check"]  # which a bare notebook does
    assert left.value.code == int(breaks), capsys.readouterr().err


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for words in (["trian"], ["models", "shw"], ["train", "--symbl", "BTCUSDT"]):
        with pytest.raises(typer.TyperException):
            parse(words)
    assert not only_parsed(["microstream", "models", "list"])


PYTHON = sorted({page for page, _ in blocks("python")})


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON)
def test_python_of_a_page_runs_from_top_to_bottom(
    page: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    registered = dict(FEATURES)
    if page == "docs/regimes.md":  # its page says what to train on in words
        names["bars"] = simulate_market("2024-05-01", 1500, seed=1).bars
        names["train_bundle"] = train_bundle
    if page == "docs/scheduling.md":  # it has a scheduler start kernels
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)
    with contextlib.chdir(home):
        for _, text in (each for each in blocks("python") if each[0] == page):
            code = compile(text, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if asyncio.iscoroutine(result):
                asyncio.run(result)
    for name in FEATURES.keys() - registered.keys():  # the reader's own
        del FEATURES[name]


@pytest.mark.parametrize(("page", "text"), list(blocks("python no-run")))
def test_python_that_is_not_run_is_python(page: str, text: str) -> None:
    compile(text, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def anchors(text: str) -> set[str]:
    """Where a link into a page can lead, as GitHub names headings."""
    headings = re.findall(r"^#+ +(.+)$", BLOCK.sub("", text), flags=re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    folder, broken = (ROOT / page).parent, []
    for link in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", TEXTS[page])):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = folder / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_page_is_on_the_map() -> None:
    linked = set(re.findall(r"\(([\w.]+\.md)\)", TEXTS["docs/index.md"]))
    assert linked == {page.name for page in PAGES if page.parent.name == "docs"} - {"index.md"}


def test_every_setting_in_the_readme_exists() -> None:
    table = TEXTS["README.md"].split("## Settings")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, flags=re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(names) > 10
    assert {name.lower() for name in names} <= set(Settings.model_fields)
