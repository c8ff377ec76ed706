"""compose.yaml and Dockerfile, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from microstream_lab.cli import app
from microstream_lab.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
# Of the compose specification, what we use and of which type it is.
KINDS: dict[str, type | tuple[type, ...]] = {
    "build": str,
    "image": str,
    "restart": str,
    "environment": dict,
    "volumes": list,
    "depends_on": dict,
    "command": list,
    "ports": list,
    "healthcheck": dict,
}
HEALTH = {"test": list, "interval": str, "timeout": str, "retries": int, "start_period": str}


def interpolated(text: str) -> str:
    """Variables at their defaults, as compose puts them in."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_the_file_has_the_shape_of_the_compose_specification() -> None:
    tops = {name for name in COMPOSE if not name.startswith("x-")}
    assert tops == {"name", "services", "volumes"}
    for name, service in SERVICES.items():
        for key, value in service.items():
            assert isinstance(value, KINDS[key]), (name, key)
        assert service.get("build") or service.get("image"), name
        assert all(isinstance(v, str) for v in service.get("environment", {}).values()), name
        assert all(isinstance(word, str) for word in service.get("command", [])), name
        for key, value in service.get("healthcheck", {}).items():
            assert isinstance(value, HEALTH[key]), (name, key)


def test_everything_named_is_there() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (
                (ROOT / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]
            )
            assert there, (name, source)


def test_recorder_worker_and_monitor_are_services_and_the_notebooks_are_mounted() -> None:
    assert OURS == ["recorder", "worker", "monitor"]
    for name in OURS:
        assert "./notebooks:/lab/notebooks" in SERVICES[name]["volumes"]
    assert SERVICES["monitor"]["ports"] == ["127.0.0.1:8501:8501"]


@pytest.mark.parametrize("name", OURS)
def test_the_command_line_of_a_service_is_one_of_ours(name: str) -> None:
    command = typer.main.get_command(app)
    words = [interpolated(word) for word in SERVICES[name]["command"]]
    context = command.make_context("microstream", words)
    word, inner, rest = command.resolve_command(context, words)  # type: ignore[attr-defined]
    parsed = inner.make_context(word, rest, parent=context)
    assert parsed.args == []
    assert word == {"recorder": "record"}.get(name, name)


@pytest.mark.parametrize("name", OURS)
def test_what_a_service_sets_are_settings(name: str) -> None:
    given = {k.lower(): interpolated(v) for k, v in SERVICES[name]["environment"].items()}
    assert given.keys() <= Settings.model_fields.keys()
    assert Settings(**given).kafka_bootstrap_servers == "kafka:9092"


def test_the_broker_is_the_one_that_is_tested_and_listens_where_the_others_look() -> None:
    (version,) = re.findall(
        r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)<",
        (ROOT / "tests" / "kafka" / "pom.xml").read_text("utf-8"),
    )
    kafka = SERVICES["kafka"]
    assert kafka["image"] == f"apache/kafka:{version}"
    assert kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    assert "zookeeper" not in str(kafka).lower()


def test_the_dockerfile_copies_files_that_there_are_and_runs_nothing_as_root() -> None:
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")]
    for source in (source for sources in copied for source in sources):
        assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".git", ".venv", "data", "models"} <= set(ignored)
    assert DOCKERFILE.index("USER lab") < DOCKERFILE.index("ENTRYPOINT")
    lock = (ROOT / "requirements-ci.lock").read_text("utf-8")
    assert re.search(r"^confluent-kafka==", lock, re.MULTILINE)
    assert re.search(r"^setuptools==", lock, re.MULTILINE)


def test_the_python_of_the_image_is_one_we_support() -> None:
    (minor,) = re.findall(r"^FROM python:3\.(\d+)-slim", DOCKERFILE, re.MULTILINE)
    assert 11 <= int(minor) <= 13
