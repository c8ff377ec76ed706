"""What can be known to fail before a kernel is started, refused in a second instead of a minute.

Invariant: nothing is refused here that the notebook would have accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microstream_lab.errors import DataError, ParameterError
from microstream_lab.features import feature_names
from microstream_lab.research.challenge import require_promote
from microstream_lab.research.inputs import series_there
from microstream_lab.research.lineup import DEFAULT_RECIPE, lineup
from microstream_lab.research.notebooks import find_notebook, read_source
from microstream_lab.research.parameters import notebook_parameters
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["preflight"]

_FEWEST, _MOST = 2, 12
_KEY = {"market", "symbol", "interval"}  # a user's notebook may name a series in its own way


def preflight(notebook: str, given: Mapping[str, Any], settings: Settings) -> None:
    """Refuse parameters with which a notebook of this project cannot get far.

    Parameters
    ----------
    notebook : str
        Its name; what is not `given` is as in its parameters cell.
    given : mapping
        Typed parameters.

    Raises
    ------
    MicrostreamError
        At an unknown series, feature set, baseline, version or way to promote, or a number of
        regimes or a contamination that no model takes.
    """
    path = find_notebook(notebook, settings)
    defaults = notebook_parameters(read_source(path), path.name).values()
    values = {each.name: each.default for each in defaults} | dict(given)
    _check_recipe(values)
    if values.keys() >= _KEY and values["symbol"] and not values.get("data_dir"):
        _check_series(values, settings)
    _check_versions(values, settings)


def _check_recipe(values: Mapping[str, Any]) -> None:
    sets = [values["feature_set"]] if "feature_set" in values else values.get("recipes", [])
    for name in sets:
        if name != DEFAULT_RECIPE:
            feature_names(name)
    lineup(values.get("baselines", ()))
    n_regimes = values.get("n_regimes", _FEWEST)
    if not _FEWEST <= n_regimes <= _MOST:
        raise ParameterError(f"n_regimes: found {n_regimes}, expected {_FEWEST} to {_MOST}")
    if "promote" in values:
        require_promote(str(values["promote"]))
    contamination = values.get("contamination", 0.05)
    if not 0 < contamination <= 0.5:
        raise ParameterError(f"contamination: found {contamination}, expected a share in (0, 0.5]")


def _check_series(values: Mapping[str, Any], settings: Settings) -> None:
    key = tuple(str(values[name]) for name in ("market", "symbol", "interval"))
    store = Store(settings.store_path)
    there = {tuple(map(str, row)) for row in _series(store)}
    if key not in there:
        found = f"no bars of {' '.join(key)}"
        raise DataError(str(settings.store_path), found, f"a series in it{series_there(store)}")


def _series(store: Store) -> list[tuple[str, str, str]]:
    if not store.status().exists:
        return []
    frame = store.series()[["market", "symbol", "interval"]]
    return list(frame.itertuples(index=False, name=None))


def _check_versions(values: Mapping[str, Any], settings: Settings) -> None:
    wanted = list(values.get("versions") or [])
    wanted += [values["version"]] if values.get("version") else []
    if not wanted or not values.keys() >= _KEY:
        return
    from microstream_lab.registry import Registry

    registry = Registry(settings.models_path)
    series = (values["symbol"], values["interval"])
    for version in wanted:
        registry.verify(*series, version, values["market"])
