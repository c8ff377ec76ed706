"""Notebook parameters: read from the tagged cell, checked before anything is started."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from microstream_lab.errors import ParameterError
from microstream_lab.research.parameters import notebook_parameters, parse_text, validated

CELL = """
symbol = "SIMUSDT"  # the series to train on
n_regimes = 3  # how many regimes
contamination = 0.05  # share of anomalies
refit = False
start: str | None = None  # first day, UTC; None for all there is
since = "2022-01-01"  # a day
exposure = [1.0, 0.5, 0.0]  # per regime
window: int | None = 20  # bars
anything = None
"""


def notebook(source: str = CELL, tags: tuple[str, ...] = ("parameters",)) -> NotebookNode:
    cell = new_code_cell(source, metadata={"tags": list(tags)})
    return new_notebook(cells=[new_code_cell("import this"), cell])


KNOWN = notebook_parameters(notebook())


def test_parameters_cell_gives_names_types_defaults_and_comments_in_order() -> None:
    assert list(KNOWN) == [
        *("symbol", "n_regimes", "contamination", "refit", "start", "since", "exposure"),
        *("window", "anything"),
    ]
    kinds = {name: parameter.expected for name, parameter in KNOWN.items()}
    assert kinds == {
        "symbol": "str",
        "n_regimes": "int",
        "contamination": "float",
        "refit": "bool",
        "start": "str or None",
        "since": "date",
        "exposure": "list[float]",
        "window": "int or None",
        "anything": "any",
    }
    assert KNOWN["n_regimes"].default == 3
    assert KNOWN["start"].comment == "first day, UTC; None for all there is"


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("contamination", 1, 1.0),
        ("exposure", [1, 0.5], [1.0, 0.5]),
        ("exposure", (1.0, 0.0), [1.0, 0.0]),
        ("start", None, None),
        ("start", "2022-01-01", "2022-01-01"),
        ("start", dt.date(2022, 1, 1), "2022-01-01"),
        ("since", dt.datetime(2022, 1, 1, 12), "2022-01-01T12:00:00"),
        ("window", None, None),
        ("anything", {"a": [1]}, {"a": [1]}),
        ("refit", True, True),
    ],
)
def test_value_that_fits_is_handed_over_in_the_notebooks_own_type(
    name: str, value: object, seen: object
) -> None:
    accepted = validated({name: value}, KNOWN)[name]
    assert accepted == seen
    assert type(accepted) is type(seen)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_regimes", "3"),
        ("n_regimes", 3.0),
        ("n_regimes", True),
        ("n_regimes", None),
        ("contamination", "0.05"),
        ("contamination", True),
        ("symbol", 7),
        ("symbol", None),
        ("refit", 1),
        ("refit", "true"),
        ("since", "yesterday"),
        ("since", "2022-02-30"),
        ("exposure", 1.0),
        ("exposure", "1.0"),
        ("exposure", [1.0, "x"]),
        ("window", 2.5),
    ],
)
def test_ill_typed_value_is_refused_with_what_was_found_and_expected(
    name: str, value: object
) -> None:
    with pytest.raises(ParameterError) as raised:
        validated({name: value}, KNOWN)
    assert f"parameter {name}: found {value!r}" in str(raised.value)
    assert f"expected {KNOWN[name].expected}" in str(raised.value)


def test_unknown_parameter_is_refused_with_the_known_ones_and_the_one_meant() -> None:
    with pytest.raises(ParameterError) as raised:
        validated({"n_regime": 4}, KNOWN, "02_train.ipynb")
    message = str(raised.value)
    assert message.startswith("02_train.ipynb: found parameter 'n_regime', expected one of: symbol")
    assert message.endswith("did you mean n_regimes?")


def test_parameter_like_no_other_gets_no_guess() -> None:
    with pytest.raises(ParameterError) as raised:
        validated({"zzz": 4}, KNOWN)
    assert "did you mean" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import os", "found 'import os', expected assignments"),
        ("a = 1 + len('x')", "parameter a: found 1 + len('x'), expected a literal"),
        ("a = b = ", "line 1"),
        ("a: dict = {}", "found the annotation dict"),
        ("a: int", "expected assignments"),
    ],
)
def test_parameters_cell_with_more_than_literals_is_refused(source: str, complaint: str) -> None:
    with pytest.raises(ParameterError) as raised:
        notebook_parameters(notebook(source), "mine.ipynb")
    assert str(raised.value).startswith("mine.ipynb")
    assert complaint in str(raised.value)


def test_notebook_without_parameters_cell_is_refused() -> None:
    with pytest.raises(ParameterError, match="found 0 cells tagged 'parameters'"):
        notebook_parameters(notebook(tags=()))


def test_text_above_the_parameters_is_no_parameter() -> None:
    assert list(notebook_parameters(notebook('"""What to train on."""\nsymbol = "X"'))) == [
        "symbol"
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("exposure", "1, 0.5,0", [1.0, 0.5, 0.0]),
        ("refit", "yes", True),
        ("refit", "False", False),
        ("start", "none", None),
        ("window", "7", 7),
        ("anything", "[1, 2]", [1, 2]),
        ("anything", "free text", "free text"),
        ("symbol", "none", "none"),
    ],
)
def test_typed_text_is_read_as_the_parameters_type(name: str, text: str, value: object) -> None:
    assert parse_text(KNOWN[name], text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("n_regimes", "three"), ("n_regimes", "3.5"), ("refit", "maybe"), ("exposure", "1,x")],
)
def test_typed_text_of_another_type_is_refused(name: str, text: str) -> None:
    with pytest.raises(ParameterError, match=f"parameter {name}: found '{text}', expected"):
        parse_text(KNOWN[name], text)


@given(
    st.one_of(
        st.tuples(st.just("n_regimes"), st.integers()),
        st.tuples(st.just("contamination"), st.floats(allow_nan=False)),
        st.tuples(st.just("refit"), st.booleans()),
        st.tuples(st.just("symbol"), st.text()),
        st.tuples(st.just("exposure"), st.lists(st.floats(allow_nan=False, allow_infinity=False))),
    )
)
def test_what_python_prints_of_a_value_reads_back_as_that_value(case: tuple[str, Any]) -> None:
    name, value = case
    text = ",".join(map(repr, value)) if isinstance(value, list) else str(value)
    assert parse_text(KNOWN[name], text) == value
