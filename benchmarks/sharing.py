"""Programs that share one store, each a process: a recorder, notebooks, a monitor, a training run.

Nothing here is a part of the package played by another: the recorder and the training are commands,
the market is a local exchange in its own process, and what should be stored is what that exchange
says it traded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from load import START, SYMBOLS, exchange_process
from made_up import bars as made_up_bars

from microstream_lab import Registry, train_bundle
from microstream_lab.schema import BAR_VALUES
from microstream_lab.settings import Settings
from microstream_lab.store import Store, endpoint_file

HERE = Path(__file__).resolve().parent
HISTORY, LIVE = "BTCUSDT", SYMBOLS[0]
NOTEBOOK = [str(HERE / "sharing_notebook.py"), LIVE, HISTORY, str(START)]
MONITOR = """
import json, sys
from microstream_lab.live.session import LiveSession
session = LiveSession(sys.argv[1], "1s", "store", market="sim")
with session:
    print("ready", flush=True)
    sys.stdin.readline()
    status = session.status()
print(json.dumps({"bars": status.bars, "error": status.error}))
"""
SETTLED_S = 30.0


@dataclass
class Seen:
    """What came of a while of sharing.

    ``waits_ms`` are the queries' durations by kind, ``lost`` says in words which bars are not the
    exchange's, ``errors`` what any program complained of.
    """

    waits_ms: dict[str, list[float]] = field(default_factory=dict)
    n_bars: int = 0
    n_signals: int = 0
    lost: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def p(self, share: float, kind: str | None = None) -> float:
        """A quantile of the durations (ms), of all kinds together or of one."""
        waits = [self.waits_ms[kind]] if kind else list(self.waits_ms.values())
        return float(np.quantile(np.concatenate(waits), share))

    @property
    def n_queries(self) -> int:
        """How many queries were answered."""
        return sum(map(len, self.waits_ms.values()))


def settings_of(home: Path) -> Settings:
    """Settings of a home folder, and of no other."""
    return Settings(microstream_home=home, microstream_offline=True)


def furnish(home: Path, n_bars: int) -> None:
    """A store with history to train on, and with a past and a bundle for what is recorded."""
    settings = settings_of(home)
    store, registry = Store(settings.store_path), Registry(settings.models_path)
    store.write_bars(made_up_bars(n_bars, symbol=HISTORY))
    past = made_up_bars(4_000, 1, "1s", LIVE)
    past.index = past.index + (pd.Timestamp(START, unit="us", tz="UTC") - past.index[-1])
    past.index = past.index.floor("s").rename("open_time")
    store.write_bars(past.iloc[:-1])
    version = registry.save(train_bundle(past, "seed"))
    registry.promote(LIVE, "1s", version, "sim")


class Program:
    """A process of the user's; it ends when its input does, or by a signal."""

    def __init__(self, home: Path, command: Sequence[str], **environment: str) -> None:
        own = {"MICROSTREAM_HOME": str(home), "MICROSTREAM_OFFLINE": "1"}
        self._command = " ".join(command[-3:])
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **own, **environment},
        )

    def line(self) -> str:
        """The next line it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self, seen: Seen, number: int | None = None, limit_s: float = 120.0) -> str:
        """Have it end, and note what it complained of; the rest of what it printed."""
        if number is not None:
            self._process.send_signal(number)
        try:
            output, errors = self._process.communicate("enough\n", timeout=limit_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, errors = self._process.communicate()
            seen.errors.append(f"{self._command}: did not end within {limit_s:g} s")
        if self._process.returncode or "Error" in errors:
            seen.errors.append(f"{self._command}: {errors.strip()[-400:]}")
        return output


def query(home: Path, seconds: float, n_notebooks: int = 2) -> Seen:
    """Notebooks alone with a store."""
    seen = Seen()
    notebooks = [Program(home, NOTEBOOK) for _ in range(n_notebooks)]
    for notebook in notebooks:
        notebook.line()
    time.sleep(seconds)
    _take(notebooks, seen)
    return seen


def share(
    home: Path,
    seconds: float,
    *,
    serve: bool = False,
    asked: Path | None = None,
    trains: bool = True,
    n_notebooks: int = 2,
    rate: float = 60.0,
) -> Seen:
    """Everybody at once, for so many seconds.

    Parameters
    ----------
    home : Path
        Whose store the recorder, the monitor and the training share.
    serve : bool
        Whether the recorder serves it.
    asked : Path, optional
        The home whose store the notebooks ask; the same by default.
    trains : bool
        Whether a training runs, from a tenth of the time on.
    rate : float
        Trades a second.
    """
    seen = Seen()
    with exchange_process([(seconds, rate)], interval="1s") as pipe:
        recorder = start_recorder(home, *_told(pipe, 120.0), serve=serve)
        if serve:
            _await_endpoint(home)
        monitor = Program(home, ["-c", MONITOR, LIVE])
        notebooks = [Program(asked or home, NOTEBOOK) for _ in range(n_notebooks)]
        for program in (monitor, *notebooks):
            program.line()
        time.sleep(seconds / 10)
        training = _train(home) if trains else None
        truth: dict[str, pd.DataFrame] = _told(pipe, seconds + 120.0)
        _await_bars(home, truth)
        if training is not None:
            training.end(seen, limit_s=600.0)
        _take(notebooks, seen)
        told = json.loads(monitor.end(seen).splitlines()[-1])
        seen.errors += [f"monitor: {told['error']}"] if told["error"] else []
        recorder.end(seen, signal.SIGTERM)
    _compare(home, truth, seen)
    return seen


def start_recorder(home: Path, ws_url: str, rest_url: str, *, serve: bool) -> Program:
    """``microstream record``."""
    words = ["record", *SYMBOLS, "--interval", "1s", "--market", "sim", "--no-klines"]
    addresses = {"BINANCE_WS_URL": ws_url, "BINANCE_REST_URL": rest_url}
    command = ["-m", "microstream_lab", *words, *(["--serve"] if serve else [])]
    return Program(home, command, **addresses)


@contextlib.contextmanager
def served(home: Path) -> Iterator[None]:
    """A store that ``microstream store serve`` serves and nobody else uses."""
    server = Program(home, ["-m", "microstream_lab", "store", "serve"])
    server.line()
    yield
    server.end(Seen(), signal.SIGTERM)


def _told(pipe: Connection, limit_s: float) -> Any:
    if not pipe.poll(limit_s):
        raise TimeoutError(f"the exchange has told nothing for {limit_s:g} s")
    return pipe.recv()


def _train(home: Path) -> Program:
    words = ["train", "--symbol", HISTORY, "--market", "sim", "--interval", "1m"]
    return Program(home, ["-m", "microstream_lab", *words])


def _await_endpoint(home: Path, limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not endpoint_file(settings_of(home).store_path).exists() and time.monotonic() < until:
        time.sleep(0.05)


def _await_bars(home: Path, truth: Mapping[str, pd.DataFrame]) -> None:
    """Give the recorder time to store what has just been traded."""
    store, until = Store(settings_of(home).store_path), time.monotonic() + SETTLED_S
    lasts = {symbol: bars.index[-1] for symbol, bars in truth.items()}
    while time.monotonic() < until:
        if all(len(store.bars(s, "1s", last, None, "sim")) for s, last in lasts.items()):
            return
        time.sleep(0.2)


def _take(notebooks: Sequence[Program], seen: Seen) -> None:
    for notebook in notebooks:
        output = notebook.end(seen).splitlines()
        told = json.loads(output[-1]) if output else {"waits_ms": {}, "errors": ["told nothing"]}
        seen.errors += [f"notebook: {error}" for error in told["errors"]]
        for kind, waits in told["waits_ms"].items():
            seen.waits_ms.setdefault(kind, []).extend(waits)


def _compare(home: Path, truth: Mapping[str, pd.DataFrame], seen: Seen) -> None:
    """Hold what is stored against what was traded."""
    store = Store(settings_of(home).store_path)
    for symbol, theirs in truth.items():
        ours = store.bars(symbol, "1s", theirs.index[0], None, "sim")
        seen.n_bars += len(theirs)
        if n := len(theirs.index.difference(ours.index)):
            seen.lost.append(f"{symbol}: {n} bars missing")
        both = theirs.index.intersection(ours.index)
        for name in BAR_VALUES:
            far = (ours.loc[both, name] - theirs.loc[both, name]).abs()
            if n := int((far > 1.001e-8 + 2e-16 * theirs.loc[both, name].abs()).sum()):
                seen.lost.append(f"{symbol}: {name} differs in {n} bars")
    first = truth[LIVE].index[0]
    seen.n_signals = len(store.signals(LIVE, "1s", first, None, "sim"))
