"""The command line: what it says, where it says it, and the exit code it leaves."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from factories import make_bars
from nbformat.v4 import new_code_cell, new_notebook
from test_store_drift import report

from microstream_lab.cli import main, workbench
from microstream_lab.market.files import write_klines
from microstream_lab.prepare import Prepared
from microstream_lab.registry import Registry
from microstream_lab.research import runs
from microstream_lab.schedule.requests import pending, request_training
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store
from microstream_lab.training import train_bundle

PARAMETERS = """
symbol = "SIMUSDT"
market = "sim"
interval = "1m"
start: str | None = None
end: str | None = None
data_dir: str | None = None
feature_set = "seed"
n_regimes = 3
contamination = 0.05
seed = 0
cost_bps = 1.0
promote = "auto"
"""
TO_EVALUATE = """
symbol = "SIMUSDT"
market = "sim"
interval = "1m"
start: str | None = None
end: str | None = None
data_dir: str | None = None
versions: list[str] = []
recipes = ["seed"]
baselines = ["ewma"]
refit: str | None = None
events: str | None = None
n_regimes = 3
seed = 0
"""
N_BARS = 300
SERIES = ("BTCUSDT", "1m")


class Outcome:
    """What a command line left: exit code, what it said and what it complained of."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as left:
            main(words)
        return Outcome(left.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home folder, with notebooks that have the parameters of the real ones."""
    notebooks = tmp_path / "home" / "notebooks"
    notebooks.mkdir(parents=True)
    own = {"02_train": PARAMETERS, "03_backtest": PARAMETERS, "05_evaluate": TO_EVALUATE}
    for name, text in own.items():
        cell = new_code_cell(text, metadata={"tags": ["parameters"]})
        nbformat.write(new_notebook(cells=[cell]), notebooks / f"{name}.ipynb")
    return tmp_path / "home"


@pytest.fixture
def stored(home: Path) -> Path:
    """The home folder, with bars of some series in its store."""
    store = store_of(home)
    for symbol, market in (("SIMUSDT", "sim"), ("BTCUSDT", "um"), ("ETHUSDT", "spot")):
        store.write_bars(make_bars(10, symbol=symbol, market=market))
    return home


@pytest.fixture
def klines(tmp_path: Path) -> Path:
    """A folder with an archive file of BTCUSDT, ten minutes missing."""
    bars = make_bars(N_BARS)
    folder = tmp_path / "btc"
    write_klines(bars.drop(bars.index[100:110]), folder)
    return folder


@pytest.fixture
def given(stored: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Parameters that reach the runner, which here runs nothing."""
    seen: list[dict[str, Any]] = []

    def remember(notebook: str, parameters: dict[str, Any], **options: Any) -> Run:
        seen.append({"notebook": notebook, **parameters})
        report = "data/runs/a-run/report.html"
        return Run(
            "a-run", notebook, 0, "done", ended_at=2_000_000, metrics={"x": 1.25}, report=report
        )

    monkeypatch.setattr(runs, "run_notebook", remember)
    return seen


def store_of(home: Path) -> Store:
    return Store(home / "data" / "microstream.duckdb")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def commands() -> list[list[str]]:
    """Every command there is, found by asking for help."""
    groups = {"models": "list show promote rollback diff", "runs": "list show open diff prune"}
    groups |= {"store": "coverage export sql", "schedule": "run", "notebooks": "new check"}
    names = ("lab", "ingest", "record", "train", "backtest", "evaluate", "exchange", "monitor")
    names += ("doctor", "schedule", "sweep", "worker")
    plain = [[name] for name in names]
    return plain + [[group, name] for group, names in groups.items() for name in names.split()]


def test_help_lists_the_commands_there_are_and_no_others(run: Any) -> None:
    shown = run()
    assert shown.code == 0
    listed = shown.out.split("Commands:")[1].split("\n")
    names = {line.split()[0] for line in listed if line.strip()}
    assert names == {words[0] for words in commands()}
    assert run("--help").out == shown.out


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_of_a_command_gives_an_example_of_that_command(run: Any, words: list[str]) -> None:
    shown = run(*words, "--help")
    assert shown.code == 0
    example = " ".join(shown.out.split("Example")[1].split())
    assert f"microstream {' '.join(words)}" in example


def test_help_answers_without_loading_what_is_slow() -> None:
    code = (
        "import sys\nfrom microstream_lab.cli import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: pass\n"
        "slow = {'pandas', 'numpy', 'duckdb', 'papermill', 'sklearn', 'plotly', 'httpx'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    assert python(code).stderr == "[]\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["trian"], "error: No such command 'trian'. Did you mean 'train'?"),
        (["train", "--simbol", "X"], "No such option: --simbol"),
        (["train", "--regimes", "few"], "'--regimes'"),
        (["train", "--start", "2022-02-30"], "expected a date such as 2022-05-01"),
        (["train", "--start", "2022-02-02", "--end", "2022-02-02"], "expected a moment after"),
        (["models"], "Missing command."),
        (["ingest"], "expected a SYMBOL or --from FILES"),
        (["store", "coverage", "--market", "futures"], "found 'futures', expected one of spot um"),
        (["train", "--start", "01/02/2022"], "expected a date such as 2022-05-01"),
    ],
)
def test_command_line_that_is_not_understood_ends_with_2_in_one_line(
    run: Any, words: list[str], complaint: str
) -> None:
    outcome = run(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert complaint in outcome.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["models", "show", "BTCUSDT"], "found no current bundle"),
        (["models", "rollback", "btcusdt"], "spot BTCUSDT 1m: found no current bundle"),
        (["ingest", "--from", "nowhere"], "no files"),
        (["ingest", "BTCUSDT", "--market", "sim"], "expected spot or um"),
        (["runs", "list"], "no store at"),
        (["backtest", "-p", "cost=2"], "did you mean cost_bps?"),
        (["backtest", "-p", "cost_bps=two"], "parameter cost_bps: found 'two', expected float"),
        (["train", "--feature-set", "seed", "-p", "n_regimes"], "expected name=value"),
        (["train"], "found no bars of sim SIMUSDT 1m, expected a series in it; there is no store"),
        (["train", "--feature-set", "sed"], "feature set: found 'sed'"),
        (["train", "--regimes", "1"], "n_regimes: found 1, expected 2 to 12"),
        (["backtest", "--contamination", "0.7"], "contamination: found 0.7"),
        (["evaluate", "--baseline", "emwa"], "baseline: found 'emwa', expected one of ewma har"),
        (["evaluate", "--recipe", "sed"], "feature set: found 'sed'"),
    ],
)
def test_what_the_package_refuses_ends_with_1_in_one_line(
    run: Any, home: Path, words: list[str], complaint: str
) -> None:
    outcome = run(*words)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert complaint in outcome.err


def test_bad_setting_is_refused_in_one_line(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMM_N_COMPONENTS", "many")
    outcome = run("models", "list")
    assert outcome.code == 1
    assert outcome.err.startswith("error: HMM_N_COMPONENTS: found 'many'")


def test_unexpected_error_is_one_line_and_a_traceback_only_when_asked_for() -> None:
    code = (
        "from microstream_lab.cli import main, common, models\n"
        "def broken(): raise KeyError('x')\n"
        "models.load_settings = broken\nmain()"
    )
    plain = python(f"import sys; sys.argv[1:] = ['models', 'list']\n{code}")
    assert plain.returncode == 1
    assert plain.stderr == "error: unexpected KeyError: 'x' (--debug shows where)\n"
    debug = python(f"import sys; sys.argv[1:] = ['models', 'list', '--debug']\n{code}")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert debug.stderr.endswith("error: unexpected KeyError: 'x'\n")


def test_ingest_of_files_tells_coverage_with_missing_ranges_and_again_adds_nothing(
    run: Any, home: Path, klines: Path
) -> None:
    outcome = run("ingest", "--from", str(klines), "--market", "um")
    assert outcome.code == 0, outcome.err
    assert "290 rows: 290 new" in outcome.out
    assert "BTCUSDT 1m (USD-M futures): 290 of 300 bars" in outcome.out
    assert "missing in BTCUSDT 1m: 2024-01-01 01:40 up to 2024-01-01 01:50, 10 bars" in outcome.out
    assert "290 rows: 0 new" in run("ingest", "--from", str(klines), "--market", "um").out
    assert len(store_of(home).bars(*SERIES, market="um")) == N_BARS - 10


def test_path_typed_is_looked_for_where_the_user_stands_and_then_at_home(
    run: Any, home: Path, klines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(klines.parent)
    assert run("ingest", "--from", klines.name).code == 0
    assert run("ingest", "--from", f"{klines.name}/*.zip").code == 0
    (home / "data").mkdir(exist_ok=True)
    klines.rename(home / "data" / "btc")
    assert run("ingest", "--from", "data/btc").code == 0


def test_store_answers_coverage_sql_and_export(run: Any, home: Path, tmp_path: Path) -> None:
    store_of(home).write_bars(make_bars(N_BARS))
    assert "BTCUSDT 1m (spot): 300 of 300 bars (100 %)" in run("store", "coverage", "btcusdt").out
    assert "no such bars" in run("store", "coverage", "ETHUSDT").out
    query = "SELECT symbol, count(*) AS n FROM bars GROUP BY ALL"
    assert run("store", "sql", query).out == "symbol   n\nBTCUSDT  300\n"
    answer = run("store", "sql", query, "--csv").out
    assert list(csv.DictReader(io.StringIO(answer))) == [{"symbol": "BTCUSDT", "n": "300"}]
    assert run("store", "sql", "DELETE FROM bars").code == 1
    assert run("store", "export", str(tmp_path / "out")).code == 0
    assert list((tmp_path / "out").rglob("*.parquet"))
    assert run("store", "export", str(tmp_path / "out"), "--table", "runs").code == 2


def test_models_are_listed_shown_promoted_and_rolled_back(run: Any, home: Path) -> None:
    assert "no bundles in" in run("models", "list").out
    registry = Registry(home / "models")
    bundle = train_bundle(make_bars(600), n_regimes=2, n_starts=1)
    for _ in range(2):
        registry.save(bundle)
    assert run("models", "promote", "BTCUSDT", "v0001").code == 0
    assert run("models", "promote", "btcusdt", "v0002").code == 0
    listed = run("models", "list", "--symbol", "btcusdt").out.splitlines()
    assert [line.startswith("*") for line in listed] == [False, False, True]
    assert '"n_bars": 600' in run("models", "show", "BTCUSDT").out
    assert run("models", "show", "BTCUSDT", "v0002").out == run("models", "show", "BTCUSDT").out
    assert run("models", "rollback", "BTCUSDT").out == "spot BTCUSDT 1m: v0001 is current again\n"
    assert registry.current(*SERIES) == "v0001"
    refused = run("models", "promote", "BTCUSDT", "v0009")
    assert (refused.code, registry.current(*SERIES)) == (1, "v0001")


def test_the_market_is_understood_where_one_alone_has_bundles(run: Any, home: Path) -> None:
    registry = Registry(home / "models")
    for market in ("um", "spot"):
        registry.save(train_bundle(make_bars(600, market=market), n_regimes=2, n_starts=1))
        found = run("models", "promote", "BTCUSDT", "v0001").out
        assert found.startswith("um" if market == "um" else "spot")


def test_models_list_goes_on_past_one_that_cannot_be_read(run: Any, home: Path) -> None:
    registry = Registry(home / "models")
    bundle = train_bundle(make_bars(600), n_regimes=2, n_starts=1)
    registry.save(bundle)
    registry.save(bundle, {"decision": "hold", "reasons": ["too little to tell"]})
    (home / "models/spot/BTCUSDT/1m/v0001/bundle.json").write_text("{")
    outcome = run("models", "list")
    assert outcome.code == 0
    assert [line.split()[3:5] for line in outcome.out.splitlines()[1:]] == [
        ["v0001", "unreadable"],
        ["v0002", "hold"],
    ]
    assert "v0001/bundle.json" in outcome.err
    promoted = run("models", "promote", "BTCUSDT", "v0002")
    assert (promoted.code, promoted.err) == (
        0,
        "in training the gate said hold: too little to tell\n",
    )


def test_models_diff_tells_settings_range_and_how_alike_the_labels_are(
    run: Any, home: Path
) -> None:
    registry, bars = Registry(home / "models"), make_bars(900)
    registry.save(train_bundle(bars[:600], "seed", n_starts=1))
    registry.save(train_bundle(bars, "seed", n_starts=1, contamination=0.1))
    registry.save(train_bundle(bars, "seed", n_regimes=2, n_starts=1))
    words = ("models", "diff", "BTCUSDT", "v0001", "v0002")
    assert "no bars of spot BTCUSDT 1m in the store to compare by" in run(*words).out
    store_of(home).write_bars(bars)
    outcome = run(*words)
    assert outcome.code == 0, outcome.err
    lines = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines()}
    assert lines["options.contamination"] == ["0.05", "0.1"]
    assert lines["training.n_bars"] == ["600", "900"]
    assert "options.seed" not in lines
    bundles = [registry.load(*SERIES, version) for version in ("v0001", "v0002")]
    told = [bundle.signals(bars)["regime"] for bundle in bundles]
    both = (told[0] >= 0) & (told[1] >= 0)
    alike = (told[0] == told[1])[both].mean()
    assert f"labels: {alike:.1%} of {both.sum()} bars alike" in outcome.out
    assert outcome.out.count("of its bars in common") == 3
    other = run("models", "diff", "BTCUSDT", "v0002", "v0003")
    assert "regimes: 3 and 2, not to be matched by name" in other.out
    same = run("models", "diff", "BTCUSDT", "v0002", "v0002")
    assert "all that is told" in same.out
    assert "labels: 100.0%" in same.out
    assert run("models", "diff", "BTCUSDT", "v0001", "v0009").code == 1


def test_trainings_asked_for_are_run_once_each_and_withdrawn(
    run: Any, stored: Path, given: list[dict[str, Any]]
) -> None:
    assert run("train", "--requested").out == "no training is asked for\n"
    settings = Settings.load()
    for symbol, market in (("BTCUSDT", "um"), ("ETHUSDT", "spot")):
        request_training(settings, report(symbol=symbol, market=market))
    outcome = run("train", "--requested", "--seed", "3")
    assert outcome.code == 0, outcome.err
    assert {(each["market"], each["symbol"], each["seed"]) for each in given} == {
        ("um", "BTCUSDT", 3),
        ("spot", "ETHUSDT", 3),
    }
    assert "um BTCUSDT 1m: drift, unlike any day of the training: range 0.50" in outcome.out
    assert pending(settings) == []


def test_a_requested_training_that_fails_is_withdrawn_and_the_next_one_stays(
    run: Any, stored: Path, given: list[dict[str, Any]]
) -> None:
    settings = Settings.load()
    request_training(settings, report(symbol="NOBARSUSDT"))
    request_training(settings, report(symbol="ETHUSDT"))
    assert run("train", "--requested").code == 1
    assert [request.name for request in pending(settings)] == ["spot.ETHUSDT.1m"]


def test_a_symbol_is_of_the_one_market_that_has_its_bars_unless_the_settings_say(
    run: Any, stored: Path, given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "SIMUSDT"):
        assert run("train", "--symbol", symbol).code == 0
    assert [each["market"] for each in given] == ["um", "spot", "sim"]
    monkeypatch.setenv("MARKET", "spot")
    assert "no bars of spot BTCUSDT 1m" in run("train", "--symbol", "BTCUSDT").err


def test_train_hands_the_way_to_promote_to_the_notebook_and_refuses_another(
    run: Any, stored: Path, given: list[dict[str, Any]]
) -> None:
    assert run("train", "--promote", "never").code == 0
    assert given[-1]["promote"] == "never"
    refused = run("train", "--promote", "yes")
    assert refused.code == 2
    assert "found 'yes', expected one of auto always never" in refused.err


def test_options_become_parameters_and_the_rest_is_left_to_the_notebook(
    run: Any, given: list[dict[str, Any]]
) -> None:
    words = "--symbol btcusdt --market um --interval 1m --start 2022-01-01 --end 2022-05-01"
    outcome = run("train", *words.split(), "--regimes", "4", "-p", "cost_bps=2")
    assert outcome.code == 0, outcome.err
    assert given == [
        {
            "notebook": "02_train",
            "symbol": "BTCUSDT",
            "market": "um",
            "interval": "1m",
            "start": "2022-01-01",
            "end": "2022-05-01",
            "n_regimes": 4,
            "cost_bps": 2.0,
        }
    ]
    assert outcome.out.splitlines()[:2] == ["a-run: done in 2 s", "  x  1.25"]
    assert outcome.out.endswith("data/runs/a-run/report.html\n")


def test_settings_of_the_user_stand_between_options_and_notebook(
    run: Any, given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train")
    monkeypatch.setenv("SYMBOL", "ETHUSDT")
    monkeypatch.setenv("HMM_N_COMPONENTS", "4")
    run("train")
    run("train", "--symbol", "SIMUSDT", "--n-regimes", "2")
    assert given == [
        {"notebook": "02_train"},
        {"notebook": "02_train", "symbol": "ETHUSDT", "market": "spot", "n_regimes": 4},
        {"notebook": "02_train", "symbol": "SIMUSDT", "market": "sim", "n_regimes": 2},
    ]


@pytest.mark.parametrize("option", ["--from", "--data-dir"])
def test_backtest_straight_from_a_folder_reads_the_series_off_the_file_names(
    run: Any, given: list[dict[str, Any]], klines: Path, option: str
) -> None:
    assert run("backtest", option, str(klines), "--market", "um").code == 0
    assert given == [
        {
            "notebook": "03_backtest",
            "symbol": "BTCUSDT",
            "interval": "1m",
            "market": "um",
            "data_dir": str(klines),
        }
    ]


def test_folder_of_several_series_needs_to_be_told_which(
    run: Any, given: list[dict[str, Any]], klines: Path
) -> None:
    write_klines(make_bars(10, symbol="ETHUSDT"), klines)
    outcome = run("backtest", "--from", str(klines))
    assert outcome.code == 2
    assert "found BTCUSDT 1m, ETHUSDT 1m; say which: --symbol" in outcome.err
    assert run("backtest", "--from", str(klines), "--symbol", "ETHUSDT").code == 0
    assert given[0]["symbol"] == "ETHUSDT"


def test_runs_are_listed_newest_first_and_shown_with_parameters_and_figures(
    run: Any, home: Path
) -> None:
    store = store_of(home)
    second = 1_000_000
    done = Run("a-1", "02_train", 0, "done", {"seed": 3}, 7 * second, {"loglik": -1.5}, None, "r")
    failed = Run("b-2", "02_train", 9 * second, "failed", {}, 10 * second, {}, "In [3]: no", "r")
    store.write_run(done)
    store.write_run(failed)
    store.write_run(Run("c-3", "02_train", 20 * second))
    listed = [line.split() for line in run("runs", "list").out.splitlines()]
    assert [line[0] for line in listed] == ["run", "c-3", "b-2", "a-1"]
    assert listed[3][2:6] == ["-", "done", "7", "s"]
    assert "In [3]: no" in run("runs", "show", "b").out
    shown = run("runs", "show", "a-1").out
    for text in ("a-1: done, took 7 s", "  seed  3", "  loglik  -1.5", str(home / "r")):
        assert text in shown
    bare = run("runs", "show").out
    assert bare.startswith("c-3: running, took -")
    assert "report: none" in bare
    assert "nan" not in shown + bare
    assert "expected one" in run("runs", "show", "zzz").err


def test_lab_prepares_and_then_becomes_jupyterlab_on_the_notebooks(
    run: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("microstream_lab.prepare.prepare", lambda *a, **o: Prepared(5, "v0001"))
    monkeypatch.setattr(workbench.os, "execv", lambda _path, command: became.append(command))
    assert "ready: 5 bars of SIMUSDT 1m, simulated" in run("lab", "--prepare-only").out
    assert became == []
    assert run("lab", "--no-browser", "--port", "8890", "--debug").code == 0
    (command,) = became
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert command[-4:] == ["--port", "8890", "--debug", "--no-browser"]
    assert f"--ServerApp.root_dir={home}" in command
    assert "--LabApp.default_url=/lab/tree/notebooks" in command


def test_option_given_to_jupyterlab_wins_over_our_own() -> None:
    command = workbench.jupyter_command(Settings.load(), ["--ServerApp.root_dir=/elsewhere"])
    assert [word for word in command if "root_dir" in word] == ["--ServerApp.root_dir=/elsewhere"]


def test_doctor_shows_a_table_and_ends_with_1_if_something_is_broken(run: Any, home: Path) -> None:
    healthy = run("doctor")
    assert healthy.code == 0, healthy.out
    assert "offline by setting" in healthy.out
    (home / "data").mkdir()
    (home / "data" / "microstream.duckdb").write_text("no database" * 1000)
    broken = run("doctor")
    assert (broken.code, broken.err) == (1, "error: 1 broken\n")
    assert "BROKEN  store" in broken.out


def test_a_series_that_is_not_there_is_refused_with_those_that_are(
    run: Any, given: list[dict[str, Any]]
) -> None:
    outcome = run("train", "--symbol", "BTCUSDT", "--market", "spot")
    assert (outcome.code, given) == (1, [])
    assert "found no bars of spot BTCUSDT 1m" in outcome.err
    assert "um BTCUSDT 1m" in outcome.err


def test_a_version_that_is_not_there_is_refused(run: Any, given: list[dict[str, Any]]) -> None:
    outcome = run("evaluate", "--bundle", "v0007")
    assert (outcome.code, given) == (1, [])
    assert "v0007" in outcome.err


def test_evaluate_hands_its_lists_to_the_notebook_and_prints_the_tables(
    run: Any, given: list[dict[str, Any]], stored: Path, tmp_path: Path
) -> None:
    folder = stored / "data" / "runs" / "a-run"
    folder.mkdir(parents=True)
    (folder / "evaluation.csv").write_text(
        "estimate,figure,value,low,high\nmine,eta_squared,0.51234,0.49,0.53\nmine,share_0,0.5,,\n"
    )
    (folder / "stability.csv").write_text("estimate,refits agree\nmine,0.98765\n")
    events = tmp_path / "events.csv"
    events.write_text("name\n")
    words = ["--baseline", "ewma", "--baseline", "har", "--refit", "30D", "--events", str(events)]
    outcome = run("evaluate", *words)
    assert outcome.code == 0, outcome.err
    assert given == [
        {
            "notebook": "05_evaluate",
            "baselines": ["ewma", "har"],
            "refit": "30D",
            "events": str(events),
        }
    ]
    tables = outcome.out.split("report.html\n")[1].splitlines()
    assert tables[1:4] == [
        "The coming hour's volatility (AUC: ranking of its worst 5 %)",
        "estimate  variance explained (eta²)",
        "mine      0.512 (0.49 to 0.53)",
    ]
    assert tables[-2:] == ["estimate  refits agree", "mine      0.9877"]


def test_train_runs_the_notebook_and_leaves_a_row_and_a_report(run: Any, stored: Path) -> None:
    home = stored
    outcome = run("train", "--seed", "7")
    assert outcome.code == 0, outcome.err
    (row,) = store_of(home).runs().itertuples()
    assert (row.status, row.parameters["seed"]) == ("done", 7)
    assert (home / row.report).exists()
    assert outcome.out.endswith(f"report: {home / row.report}\n")
