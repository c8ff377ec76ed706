"""A web server on loopback that serves archive files and REST answers, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd

from microstream_lab.market.files import write_klines
from microstream_lab.market.files.rendering import eight_decimals
from microstream_lab.market.names import parse_name
from microstream_lab.schema import QUALITIES, Bar, as_micros, interval_us, iter_bars

Route = Callable[[dict[str, str]], Any]


@dataclass
class Answer:
    """What to answer instead of the file: a status, a cut after some bytes, or a stall there."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    stall: int | None = None


class FakeClock:
    """A clock that only sleeping moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def as_read(bars: pd.DataFrame) -> pd.DataFrame:
    """Factory bars with the categories that frames read from files have."""
    return bars.assign(quality=bars["quality"].cat.set_categories(QUALITIES))


class ArchiveServer:
    """Serves ``files`` by path and ``routes`` by path; ``faults`` of a path come first, in turn."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.routes: dict[str, Route] = {}
        self.faults: dict[str, deque[Answer]] = defaultdict(deque)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.with_ranges = True
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> ArchiveServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, path: str, content: bytes, checksum: str | None = None) -> None:
        """Serve a file and its checksum below ``/data``."""
        digest = checksum or hashlib.sha256(content).hexdigest()
        self.files[f"/data/{path}"] = content
        self.files[f"/data/{path}.CHECKSUM"] = f"{digest}  {Path(path).name}\n".encode()

    def publish_bars(self, bars: pd.DataFrame, folder: Path, monthly: bool) -> list[str]:
        """Serve a bars frame as the archive would; returns the paths."""
        paths = []
        for file in write_klines(bars, folder, monthly=monthly):
            name = parse_name(file)
            assert name is not None
            paths.append(name.archive_path(str(bars["market"].iloc[0])))
            self.publish(paths[-1], file.read_bytes())
        return paths

    def asked(self, suffix: str) -> list[dict[str, str]]:
        """Headers of the requests whose path ends so."""
        return [headers for path, headers in self.requests if path.endswith(suffix)]

    def _handler(owner) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                owner.requests.append((url.path, dict(self.headers)))
                fault = owner.faults[url.path].popleft() if owner.faults[url.path] else None
                if fault and fault.status != 200:
                    self._send(fault.status, fault.headers, fault.body or b"")
                elif url.path in owner.routes:
                    self._route(owner.routes[url.path](dict(parse_qsl(url.query))))
                elif url.path in owner.files:
                    self._file(owner.files[url.path], fault or Answer())
                else:
                    self._send(404, {}, b"no such key")

            def _route(self, answer: Any) -> None:
                if not isinstance(answer, Answer):
                    answer = Answer(body=json.dumps(answer).encode())
                self._send(answer.status, answer.headers, answer.body or b"")

            def _file(self, content: bytes, fault: Answer) -> None:
                etag = f'"{hashlib.md5(content).hexdigest()}"'
                start, status, headers = 0, 200, {"ETag": etag, **fault.headers}
                wanted = self.headers.get("Range", "")
                if owner.with_ranges and wanted and self.headers.get("If-Range") == etag:
                    start, status = int(wanted[6:-1]), 206
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                body = content[start:] if fault.body is None else fault.body
                self._send(status, headers, body, fault)

            def _send(
                self, status: int, headers: dict[str, str], body: bytes, fault: Answer | None = None
            ) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if fault and fault.stall is not None:
                    self.wfile.write(body[: fault.stall])
                    self.wfile.flush()
                    owner.released.wait(10)
                    return
                self.wfile.write(body if fault is None else body[: fault.cut])

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


def kline_row(bar: Bar) -> list[Any]:
    """A bar as REST writes it."""
    open_ms = bar.open_time // 1_000
    prices = [eight_decimals(v) for v in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    sums = [eight_decimals(v) for v in (bar.taker_buy_base, bar.taker_buy_quote)]
    close_ms = open_ms + interval_us(bar.interval) // 1_000 - 1
    quote = eight_decimals(bar.quote_volume)
    return [open_ms, *prices, close_ms, quote, bar.trades, *sums, "0"]


def serve_klines(
    server: ArchiveServer, bars: pd.DataFrame, now: str, prefix: str = "/api/v3"
) -> None:
    """Answer for klines and time as the exchange would at `now`."""
    rows = [kline_row(bar) for bar in iter_bars(bars)]

    def klines(query: dict[str, str]) -> Any:
        first, last = int(query["startTime"]), int(query.get("endTime", 2**62))
        return [row for row in rows if first <= row[0] <= last][: int(query["limit"])]

    server.routes[f"{prefix}/klines"] = klines
    server.routes[f"{prefix}/time"] = lambda query: {"serverTime": as_micros(now) // 1_000}


def trades_frame(n: int, seed: int = 0, start: str = "2024-01-01T23:59:50") -> pd.DataFrame:
    """Four trades a second, ids without a hole."""
    rng = np.random.default_rng(seed)
    times = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.arange(n) * 250, unit="ms")
    first = np.arange(n) * 3 + 7
    return pd.DataFrame(
        {
            "agg_id": np.arange(n) + 1_000,
            "price": np.round(rng.uniform(1, 90_000, n), 8),
            "quantity": np.round(rng.uniform(1e-8, 50, n), 8),
            "first_id": first,
            "last_id": first + 2,
            "trade_time": times.as_unit("us"),
            "buyer_is_maker": rng.random(n) < 0.5,
            "market": pd.Categorical(["spot"] * n),
            "symbol": pd.Categorical(["BTCUSDT"] * n),
        }
    )
