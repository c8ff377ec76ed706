"""``microstream worker``: signals of the bars on the bus, by as many processes as there are."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import load_settings, on_terminal, open_store

if TYPE_CHECKING:
    from microstream_lab.live.worker import Worker

__all__ = ["worker"]

_STATUS_S = 60.0
_STATUS_S_ON_TERMINAL = 1.0


def worker(
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A name that stays over restarts: what its killed predecessor left is put right "
            "at once. By default a new one each time.",
        ),
    ] = "",
    group: Annotated[
        str, typer.Option(metavar="NAME", help="Workers of one group share the symbols.")
    ] = "microstream-workers",
    store: Annotated[
        bool, typer.Option("--store", help="Keep the store up to date with the bus meanwhile.")
    ] = False,
) -> None:
    """Make signals of the bars on Kafka until Ctrl-C; start as many as there are cores.

    Example: microstream worker --store
    """
    from microstream_lab.bus.connection import require_library
    from microstream_lab.bus.transform import TransformOptions
    from microstream_lab.live.sink import StoreSink
    from microstream_lab.live.worker import Worker

    require_library()
    settings = load_settings()
    sink = StoreSink(settings, open_store(settings)) if store else None
    made = Worker(settings, TransformOptions(group=group, name=name), sink)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: made.stop())
    ended = threading.Event()
    telling = threading.Thread(target=_tell, args=(made, ended), daemon=True)
    telling.start()
    try:
        made.run()
    finally:
        ended.set()
        telling.join()
        typer.echo(f"{_clear()}{made.status()}")


def _tell(made: Worker, ended: threading.Event) -> None:
    """One line that is kept up to date; where nobody watches, one every minute."""
    while not ended.wait(_STATUS_S_ON_TERMINAL if on_terminal() else _STATUS_S):
        typer.echo(f"{_clear()}{made.status()}", nl=not on_terminal())


def _clear() -> str:
    return "\r\x1b[K" if on_terminal() else ""
