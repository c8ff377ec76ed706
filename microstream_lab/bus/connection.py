"""How the broker is reached, and what is wrong when it is not.

Invariant: nothing is dialled that the settings forbid; a broker that cannot be used is told in one
line, with what to do about it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from microstream_lab.errors import BusError
from microstream_lab.market.offline import require_allowed
from microstream_lab.settings import Settings

__all__ = [
    "PROMPT_FETCHES",
    "PROMPT_MS",
    "Complaints",
    "client_options",
    "require_broker",
    "require_library",
]

log = logging.getLogger(__name__)

PROMPT_MS: Final = 5
"""A broker answers a reader of committed messages no sooner, should a commit be all that is new."""
PROMPT_FETCHES: Final = {"fetch_wait_max_ms": PROMPT_MS, "fetch_min_bytes": 8_000}
"""A reader asks every few milliseconds, not for each message: every answer keeps a broker busy."""
_ANSWER_S: Final = 5.0
_LOOK_S: Final = 0.25


def require_library() -> None:
    """Refuse to go on without the client library.

    Raises
    ------
    BusError
        If the extra ``kafka`` is not installed.
    """
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        raise BusError(
            "Kafka: found no confluent_kafka, expected the extra kafka: "
            "pip install 'microstream-lab[kafka]'"
        ) from error


def client_options(settings: Settings, **options: Any) -> dict[str, Any]:
    """Options of librdkafka for a client; ``KAFKA_OPTIONS`` has the last word.

    Raises
    ------
    OfflineError
        If a server is beyond this machine and MICROSTREAM_OFFLINE is set.
    """
    for server in settings.kafka_bootstrap_servers.split(","):
        require_allowed(f"kafka://{server.strip()}", settings)
    found: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "client.id": "microstream",
        # As Java's clients choose, so that one symbol has one partition whoever writes.
        "partitioner": "murmur2_random",
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        found |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password.get_secret_value(),
        }
    named = {
        name if name.endswith("_cb") else name.replace("_", "."): value
        for name, value in options.items()
    }
    return {"logger": _WHISPER} | found | named | dict(settings.kafka_options)


class _Whisper:
    """A broker that is away for a while is no error: its clients come back by themselves."""

    def log(self, _level: int, pattern: str, *words: object) -> None:
        log.info(pattern, *words)


_WHISPER: Final = _Whisper()


class Complaints:
    """What a client complains about while it connects, each thing once.

    Pass it as ``logger`` and its :meth:`take` as ``error_cb``.
    """

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}
        self.names: set[str] = set()

    def log(self, _level: int, _pattern: str, *words: object) -> None:
        """A line of librdkafka's log."""
        self.texts[str(words[-1]).split(" (after ")[0]] = None

    def take(self, error: Any) -> None:
        """An error of librdkafka."""
        self.names.add(error.name())
        self.texts[error.str().split(" (after ")[0]] = None

    @property
    def is_decisive(self) -> bool:
        """Whether waiting any longer is pointless."""
        refused = self.names & {"_AUTHENTICATION", "_SSL"}
        return bool(refused or self._has("SSL handshake failed"))

    def _has(self, words: str) -> str:
        return next((text for text in self.texts if words in text), "")

    def verdict(self, settings: Settings) -> BusError:
        """What keeps us from the broker, in one line with what to do."""
        where = f"Kafka at {settings.kafka_bootstrap_servers}"
        protocol = settings.kafka_security_protocol
        for words, found, what_to_do in _VERDICTS:
            if self._has(words):
                detail = found.format(protocol=protocol, user=settings.kafka_sasl_username)
                return BusError(f"{where}: {detail}; {what_to_do}")
        return BusError(
            f"{where}: found no answer within {_ANSWER_S:g} s, expected a broker; "
            "look whether KAFKA_BOOTSTRAP_SERVERS names one"
        )


_PROTOCOL: Final = "set KAFKA_SECURITY_PROTOCOL to what that listener speaks"
_VERDICTS: Final = (
    (
        "current SASL state",
        "found a listener without user names, expected one of {protocol}",
        _PROTOCOL,
    ),
    (
        "Unsupported SASL mechanism",
        "found that it refuses the SASL mechanism",
        "set KAFKA_SASL_MECHANISM to one of its own",
    ),
    (
        "SASL authentication error",
        "found that it refuses the user {user!r} with this password",
        "check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
    ),
    ("SSL handshake failed", "found a listener that does not speak {protocol}", _PROTOCOL),
    ("Failed to resolve", "found no such host", "check KAFKA_BOOTSTRAP_SERVERS"),
    (
        "Connection refused",
        "found nobody listening, expected a broker",
        "start it, or name another in KAFKA_BOOTSTRAP_SERVERS",
    ),
    (
        "connection closed by peer",
        "found a listener that does not speak {protocol}: it hangs up",
        _PROTOCOL,
    ),
)
"""Words of librdkafka, what they mean, and what to do; the surest signs first."""


def require_broker(settings: Settings) -> Any:
    """An admin client of a broker that has answered.

    Raises
    ------
    BusError
        If there is none, or it refuses us.
    """
    require_library()
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    complaints = Complaints()
    options = client_options(settings, error_cb=complaints.take, logger=complaints)
    admin = _made(lambda: AdminClient(options))
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until and not complaints.is_decisive:
        try:
            admin.list_topics(timeout=_LOOK_S)
        except KafkaException:
            admin.poll(0)
        else:
            return admin
    raise complaints.verdict(settings)


def _made(make: Callable[[], Any]) -> Any:
    """A client, or one line about the option it does not know."""
    from confluent_kafka import KafkaException

    try:
        return make()
    except (KafkaException, TypeError, ValueError) as error:
        raise BusError(f"Kafka: found options it refuses ({error}); check KAFKA_OPTIONS") from error
