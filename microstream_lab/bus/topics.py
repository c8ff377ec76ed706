"""The topics there are, and how they are made.

Invariant: a topic that exists is never changed; where it is not what is needed that is said.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from microstream_lab.bus.connection import require_broker
from microstream_lab.errors import BusError
from microstream_lab.settings import Settings

__all__ = ["ensure_topics", "missing_topic", "require_topics"]

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 15.0
_DAYS_MS: Final = 86_400_000
_KEPT: Final = {"retention.ms": str(90 * _DAYS_MS)}
"""Bars are what engines are rebuilt from, so they stay for as long as features remember."""


def ensure_topics(settings: Settings) -> None:
    """Make those topics that are not there: bars and signals with the same partitions.

    Raises
    ------
    BusError
        If the broker cannot be used or does not let us.
    """
    from confluent_kafka.cimpl import NewTopic

    admin = require_broker(settings)
    there = admin.list_topics(timeout=_TIMEOUT_S).topics
    wanted = [
        (settings.kafka_raw_bars_topic, settings.kafka_partitions, _KEPT),
        (settings.kafka_regime_signals_topic, settings.kafka_partitions, _KEPT),
        (settings.kafka_dead_letters_topic, 1, {}),
    ]
    new = [
        NewTopic(name, num_partitions=n, replication_factor=-1, config=config)
        for name, n, config in wanted
        if name not in there
    ]
    for name, made in (admin.create_topics(new, request_timeout=_TIMEOUT_S) if new else {}).items():
        _await(name, made)


def _await(name: str, made: Any) -> None:
    from confluent_kafka import KafkaError, KafkaException

    try:
        made.result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return  # somebody was faster
        raise BusError(f"topic {name}: not made: {error.args[0].str()}") from error
    log.info("topic %s made", name)


def require_topics(settings: Settings, *names: str) -> dict[str, int]:
    """Partitions of topics, by name.

    Raises
    ------
    BusError
        If the broker cannot be used or one is missing.
    """
    there = require_broker(settings).list_topics(timeout=_TIMEOUT_S).topics
    for name in names:
        if name not in there:
            raise missing_topic(name, settings)
    return {name: len(there[name].partitions) for name in names}


def missing_topic(name: str, settings: Settings) -> BusError:
    """The error that a topic is not there."""
    return BusError(
        f"topic {name}: found none at {settings.kafka_bootstrap_servers}, expected it; "
        "microstream record --bus kafka and microstream worker make it"
    )
