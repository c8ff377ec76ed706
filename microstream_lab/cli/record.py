"""``microstream record``: bars of any number of symbols, recorded day and night."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import (
    Interval,
    Market,
    load_settings,
    open_store,
    status_pause_s,
    tell_status,
)
from microstream_lab.cli.serve import Port, served

if TYPE_CHECKING:
    from microstream_lab.live.postman import Postman
    from microstream_lab.live.recorder import Recorder
    from microstream_lab.settings import Settings
    from microstream_lab.store import Store

__all__ = ["record"]


def _known_bus(name: str | None) -> str | None:
    """Refuse a bus that there is not."""
    if name not in (None, "kafka"):
        raise typer.BadParameter(f"found {name!r}, expected kafka")
    return name


def record(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Such as BTCUSDT ETHUSDT; by default SYMBOL's.")
    ] = None,
    interval: Interval = None,
    market: Market = None,
    trades: Annotated[
        bool, typer.Option("--trades", help="Keep the trades, too, as Parquet files.")
    ] = False,
    klines: Annotated[bool, typer.Option(help="Compare every bar with the exchange's own.")] = True,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the store to notebooks and runs meanwhile.")
    ] = False,
    port: Port = 0,
    bus: Annotated[
        str | None,
        typer.Option(
            metavar="kafka",
            callback=_known_bus,
            help="Publish every bar that is stored; bars wait in the store while Kafka is away.",
        ),
    ] = None,
) -> None:
    """Record bars into the store until Ctrl-C; a restart goes on where the last one ended.

    Examples: microstream record BTCUSDT ETHUSDT --interval 1m --trades;
    microstream record BTCUSDT --serve
    """
    from microstream_lab.live.pipeline import PipelineOptions
    from microstream_lab.live.recorder import Recorder
    from microstream_lab.schema import interval_us

    if port and not serve:
        raise typer.BadParameter("found --port, expected --serve with it")
    settings = load_settings()
    interval = interval or settings.interval
    interval_us(interval)
    series = ([s.upper() for s in dict.fromkeys(symbols or [settings.symbol])], interval)
    store, market = open_store(settings), market or settings.market
    recorder = Recorder(
        *series,
        market,
        store,
        settings.path("data", "trades") if trades else None,
        settings,
        PipelineOptions(klines=klines),
        postman=_postman(bus, store, settings, *series, market),
    )
    with served(settings, port=port) if serve else contextlib.nullcontext():
        asyncio.run(_run(recorder))


def _postman(
    bus: str | None,
    store: Store,
    settings: Settings,
    symbols: list[str],
    interval: str,
    market: str,
) -> Postman | None:
    """Who publishes the bars, if somebody is to."""
    if bus is None:
        return None
    from microstream_lab.bus.connection import require_library
    from microstream_lab.live.postman import Postman

    require_library()
    return Postman(store, settings, symbols, interval, market)


async def _run(recorder: Recorder) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, recorder.stop)
    telling = asyncio.create_task(_tell(recorder))
    try:
        await recorder.run()
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        if recorder.pipeline is not None:
            tell_status(recorder.status(), is_last=True)


async def _tell(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(status_pause_s())
        if recorder.pipeline is not None:
            tell_status(recorder.status())
