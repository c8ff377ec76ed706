"""What goes wrong with a broker is told in one line, with what to do: all on a real one."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from broker import PASSWORDS, Broker, free_ports
from bus import TopicReader, bus_settings

from microstream_lab.bus import connection
from microstream_lab.bus.connection import require_broker
from microstream_lab.bus.topics import ensure_topics, require_topics
from microstream_lab.errors import BusError, OfflineError
from microstream_lab.settings import Settings

pytestmark = pytest.mark.kafka
SASL = {
    "kafka_security_protocol": "SASL_PLAINTEXT",
    "kafka_sasl_username": "worker",
    "kafka_sasl_password": PASSWORDS["worker"],
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine a second is a long time for a broker to answer."""
    monkeypatch.setattr(connection, "_ANSWER_S", 1.5)


def told_of(settings: Settings) -> str:
    with pytest.raises(BusError) as caught:
        require_broker(settings)
    text = str(caught.value)
    assert "\n" not in text
    assert settings.kafka_bootstrap_servers in text
    return text


def test_a_broker_that_is_absent_is_told_with_what_to_do(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    text = told_of(Settings(microstream_home=tmp_path, kafka_bootstrap_servers=address))
    assert "nobody listening" in text
    assert "start it" in text


def test_a_server_that_never_answers_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert "no answer" in told_of(
            Settings(microstream_home=tmp_path, kafka_bootstrap_servers=address)
        )


def test_a_topic_that_is_missing_is_told_with_who_makes_it(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path)
    with pytest.raises(BusError, match=rf"topic {settings.kafka_regime_signals_topic}: found none"):
        TopicReader(settings, settings.kafka_regime_signals_topic)
    ensure_topics(settings)
    TopicReader(settings, settings.kafka_regime_signals_topic).close()


def test_topics_are_made_with_the_partitions_asked_for_and_never_changed(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path, kafka_partitions=5)
    names = (settings.kafka_raw_bars_topic, settings.kafka_regime_signals_topic)
    ensure_topics(settings)
    ensure_topics(settings.model_copy(update={"kafka_partitions": 9}))
    assert require_topics(settings, *names) == dict.fromkeys(names, 5)


def users(own_broker: Broker, home: Path, **changes: Any) -> Settings:
    address = {"kafka_bootstrap_servers": own_broker.users_address}
    return bus_settings(own_broker, home, **(address | SASL | changes))


def test_right_credentials_are_let_in(own_broker: Broker, tmp_path: Path) -> None:
    settings = users(own_broker, tmp_path)
    ensure_topics(settings)
    assert PASSWORDS["worker"] not in repr(settings)


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"username": "nobody"}])
def test_wrong_credentials_are_told_with_the_settings_to_check(
    own_broker: Broker, tmp_path: Path, changes: dict[str, str]
) -> None:
    named = {f"kafka_sasl_{name}": value for name, value in changes.items()}
    text = told_of(users(own_broker, tmp_path, **named))
    assert "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD" in text
    assert "wrong" not in text


def test_a_mechanism_the_broker_refuses_is_told(own_broker: Broker, tmp_path: Path) -> None:
    settings = users(own_broker, tmp_path, kafka_sasl_mechanism="SCRAM-SHA-256")
    assert "KAFKA_SASL_MECHANISM" in told_of(settings)


@pytest.mark.parametrize(
    ("listener", "protocol"),
    [
        ("users_address", "PLAINTEXT"),
        ("users_address", "SSL"),
        ("address", "SASL_PLAINTEXT"),
        ("address", "SSL"),
        ("address", "SASL_SSL"),
    ],
)
def test_a_wrong_protocol_is_told_with_the_setting_to_change(
    own_broker: Broker, tmp_path: Path, listener: str, protocol: str
) -> None:
    address = getattr(own_broker, listener)
    changes = {"kafka_bootstrap_servers": address, "kafka_security_protocol": protocol}
    assert "KAFKA_SECURITY_PROTOCOL" in told_of(users(own_broker, tmp_path, **changes))


def test_an_unknown_option_is_told(own_broker: Broker, tmp_path: Path) -> None:
    settings = bus_settings(own_broker, tmp_path, kafka_options={"no.such.option": 1})
    with pytest.raises(BusError, match=r"no\.such\.option.*KAFKA_OPTIONS"):
        require_broker(settings)


def test_offline_a_broker_elsewhere_is_never_dialled(tmp_path: Path) -> None:
    names = {"kafka_bootstrap_servers": "kafka.example:9092", "microstream_offline": True}
    with pytest.raises(OfflineError, match=r"kafka\.example"):
        require_broker(Settings(microstream_home=tmp_path, **names))
