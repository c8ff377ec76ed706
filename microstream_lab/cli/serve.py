"""``microstream store serve``: one process holds the store's file, everybody else attaches."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import load_settings

if TYPE_CHECKING:
    from microstream_lab.settings import Settings

__all__ = ["Port", "serve", "served"]

_LOOPBACK = "127.0.0.1"

Port = Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes a free one.")]


def serve(
    port: Port = 0,
    host: Annotated[str, typer.Option(help="Which of this machine's addresses.")] = _LOOPBACK,
    beyond_loopback: Annotated[
        bool,
        typer.Option(
            "--beyond-loopback",
            help="Listen where other machines can reach it; read docs/store.md first.",
        ),
    ] = False,
) -> None:
    """Serve the store until Ctrl-C; programs that use its path attach instead of opening the file.

    Example: microstream store serve --port 9494
    """
    ended = Event()
    before = [signal.signal(n, lambda *_: ended.set()) for n in (signal.SIGINT, signal.SIGTERM)]
    try:
        with served(load_settings(), host, port, beyond_loopback):
            ended.wait()
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def served(
    settings: Settings, host: str = _LOOPBACK, port: int = 0, beyond_loopback: bool = False
) -> Iterator[None]:
    """Serve the user's store for the length of a block, and tell where."""
    from microstream_lab.store import endpoint_file, serving

    path = settings.store_path
    with serving(path, host, port, beyond_loopback=beyond_loopback) as endpoint:
        typer.echo(f"serving {path} at {endpoint.address}; token in {endpoint_file(path)}")
        yield
    typer.echo(f"{path} is served no longer")
