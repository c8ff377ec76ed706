"""Bars and signals from the bus into a store.

Invariant: how far was read is committed only after it is stored, and storing again what is there
changes nothing: so all of it is in the store, and none of it twice.
"""

from __future__ import annotations

import logging
import platform
import threading
from hashlib import sha256
from typing import Any, Final

from microstream_lab.bus.reader import commit_read, committed_consumer, record_of
from microstream_lab.bus.topics import ensure_topics
from microstream_lab.errors import MicrostreamError
from microstream_lab.schema import Bar, Signal
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["StoreSink"]

log = logging.getLogger(__name__)

_MOST: Final = 10_000
_GATHER_S: Final = 1.0
_LEAVE_S: Final = 10.0


class StoreSink:
    """Keeps a store up to date with the bus, from a thread of its own.

    Parameters
    ----------
    settings : Settings
        Where the broker is.
    store : Store
        Where to. Several sinks of one store on one machine share the work.

    Attributes
    ----------
    n_stored : int
        Messages stored since the start.
    problem : str
        What keeps it from storing at the moment; empty if nothing does.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        place = f"{platform.node()}:{settings.store_path}"
        self._group = f"microstream-store-{sha256(place.encode()).hexdigest()[:12]}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store sink", daemon=True)
        self.n_stored, self.problem = 0, ""

    def start(self) -> None:
        """Begin after the last message that was stored."""
        self._thread.start()

    def stop(self) -> None:
        """End with what was read stored."""
        self._ended.set()
        self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        consumer = None
        while not self._ended.is_set():
            try:
                consumer = consumer or self._subscribed()
                self._store_next(consumer)
                self.problem = ""
            except MicrostreamError as error:
                if str(error) != self.problem:
                    log.warning("not stored yet: %s", error)
                self.problem = str(error)
                if consumer is not None:
                    consumer.close()  # so that what was not stored is read again
                    consumer = None
                self._ended.wait(_GATHER_S)
        if consumer is not None:
            consumer.close()

    def _subscribed(self) -> Any:
        ensure_topics(self._settings)
        consumer = committed_consumer(self._settings, self._group)
        settings = self._settings
        consumer.subscribe([settings.kafka_raw_bars_topic, settings.kafka_regime_signals_topic])
        return consumer

    def _store_next(self, consumer: Any) -> None:
        messages = consumer.consume(_MOST, _GATHER_S)
        found = (record_of(message, self._settings) for message in messages)
        records = [record for record in found if record is not None]  # dead letters tell the rest
        self._store.write_bars([each for each in records if isinstance(each, Bar)])
        self._store.write_signals([each for each in records if isinstance(each, Signal)])
        self.n_stored += len(records)
        if messages:
            commit_read(consumer)
