"""A real Kafka broker on this machine, for tests and benchmarks: started, restarted, killed.

The jars are those that `make kafka-jars` resolves from tests/kafka/pom.xml. All listeners are on
loopback, on ports that were free.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
JARS = ROOT / "build" / "kafka"
CLUSTER = "bWljcm9zdHJlYW0tbGFiMQ"
PASSWORDS = {"worker": "correct horse"}
_READY_S = 90.0
_JVM = (
    *("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
_USERS = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=OPEN://127.0.0.1:{open},CUT://127.0.0.1:{cut},USERS://127.0.0.1:{users},\
CONTROLLER://127.0.0.1:{controller}
advertised.listeners=OPEN://127.0.0.1:{open},CUT://127.0.0.1:{proxy},USERS://127.0.0.1:{users}
controller.listener.names=CONTROLLER
inter.broker.listener.name=OPEN
listener.security.protocol.map=OPEN:PLAINTEXT,CUT:PLAINTEXT,USERS:SASL_PLAINTEXT,\
CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.users.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required {jaas};
log.dirs={folder}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""


def missing() -> str:
    """What keeps a broker from being started here; empty if nothing does."""
    if find_spec("confluent_kafka") is None:
        return "no confluent_kafka: install the extra kafka"
    if shutil.which("java") is None:
        return "no java on the PATH: install a JRE of 17 or later"
    if not any(JARS.glob("kafka_*.jar")):
        return f"no jars in {JARS.relative_to(ROOT)}: make kafka-jars resolves them"
    return ""


def free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Broker:
    """A broker and controller in one process, with its data below `folder`.

    ``address`` asks for nothing, ``users_address`` for a name and password (SASL PLAIN);
    ``cut_address`` is that of a proxy which can be cut, and whoever comes that way stays on it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("open", "cut", "users", "controller", "proxy")
        self.ports = dict(zip(names, free_ports(5), strict=True))
        self.address = f"127.0.0.1:{self.ports['open']}"
        self.users_address = f"127.0.0.1:{self.ports['users']}"
        self.cut_address = f"127.0.0.1:{self.ports['proxy']}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = _PROPERTIES.format(**self.ports, jaas=_USERS, folder=self.folder / "data")
        self._properties.write_text(text, "utf-8")
        tool = ("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(self._properties))
        subprocess.run([*self._java, *tool], check=True, capture_output=True, timeout=_READY_S)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _java(self) -> tuple[str, ...]:
        return (*_JVM, "-cp", f"{JARS}/*")

    @property
    def said(self) -> str:
        """What it wrote last."""
        return (self.folder / "broker.log").read_text("utf-8", "replace")[-2_000:]

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "broker.log").open("ab") as log:
            command = [*self._java, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait()

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop it in order, or kill it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, how: int = signal.SIGTERM) -> None:
        """Stop it and start it on what it had stored."""
        self.stop(how)
        self.start()

    def _wait(self) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        assert self._process is not None
        until = time.monotonic() + _READY_S
        admin = AdminClient({"bootstrap.servers": self.address}, logger=_SILENT)
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self._process.returncode}: {self.said}")
            try:
                if admin.list_topics(timeout=1.0).brokers:
                    return
            except KafkaException:
                continue
        raise RuntimeError(f"the broker did not answer within {_READY_S:g} s: {self.said}")


class _Silent:
    def log(self, *_: object) -> None:
        """Refused connections are what is to be expected while it starts."""


_SILENT = _Silent()


@contextmanager
def any_broker(folder: Path) -> Iterator[Broker | None]:
    """A broker of our own, or None where KAFKA_BOOTSTRAP_SERVERS names one."""
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield None
        return
    with Broker(folder) as broker:
        yield broker
