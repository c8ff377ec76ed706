"""The examples in docs/kafka.md are messages, and what it names is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import typer.main
from typer.core import TyperGroup

from microstream_lab.bus.messages import bar_message, decode_bar, decode_signal, signal_message
from microstream_lab.cli import app
from microstream_lab.settings import Settings

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "kafka.md").read_text("utf-8")
BAR, SIGNAL = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def test_the_bar_of_the_page_is_one_and_shows_every_field() -> None:
    bar = decode_bar(BAR.encode())
    assert json.loads(bar_message(bar)) == json.loads(BAR)


def test_the_signal_of_the_page_is_one_and_shows_every_field() -> None:
    signal = decode_signal(SIGNAL.encode())
    assert json.loads(signal_message(signal)) == json.loads(SIGNAL)


def test_topics_and_settings_of_the_page_are_those_there_are() -> None:
    fields = Settings.model_fields
    for topic, setting in re.findall(r"^\| `(market_\w+)` \| `(KAFKA_\w+)`", PAGE, re.MULTILINE):
        assert fields[setting.lower()].default == topic
    for setting in set(re.findall(r"`(KAFKA_[A-Z_]+)`", PAGE)):
        assert setting.lower() in fields


def test_commands_of_the_page_are_understood() -> None:
    command = typer.main.get_command(app)
    lines = re.findall(r"^(?:docker compose run --rm worker|microstream) ([^#\n]+)", PAGE, re.M)
    assert len(lines) >= 5
    for line in lines:
        rest, inner = line.split(), command
        context = inner.make_context("microstream", rest)
        while isinstance(inner, TyperGroup):
            word, found, rest = inner.resolve_command(context, rest)
            assert found is not None, line
            inner, context = found, found.make_context(word, rest.copy(), parent=context)
        assert context.args == [], line
