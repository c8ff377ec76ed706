"""What differs between two runs: parameters that were changed, figures that came out otherwise.

Invariant: nothing is read or run; both sides are as the run table has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["ABSENT", "Change", "changes", "shown"]

ABSENT: Final = "-"
"""What stands for a value that one side does not have."""


class Change(NamedTuple):
    """A name and its values in both runs, as a person reads them; `by` is what was added."""

    name: str
    before: str
    after: str
    by: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The names whose values differ, those of `before` first."""
    names = dict.fromkeys([*before, *after])
    return [
        Change(
            name, _side(before, name), _side(after, name), _by(before.get(name), after.get(name))
        )
        for name in names
        if name not in before or name not in after or before[name] != after[name]
    ]


def shown(value: object) -> str:
    """A value in few characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _side(values: Mapping[str, Any], name: str) -> str:
    return shown(values[name]) if name in values else ABSENT


def _by(before: object, after: object) -> str:
    numbers = (int, float)
    if type(before) in numbers and type(after) in numbers:
        return f"{after - before:+.4g}"  # type: ignore[operator]  # both are numbers
    return ""
