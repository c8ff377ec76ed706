"""``microstream worker``: signals of the bars on the bus, by as many processes as there are."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import load_settings, open_store, status_pause_s, tell_status

if TYPE_CHECKING:
    from microstream_lab.live.worker import Worker

__all__ = ["worker"]


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
        tell_status(made.status(), is_last=True)


def _tell(made: Worker, ended: threading.Event) -> None:
    while not ended.wait(status_pause_s()):
        tell_status(made.status())
