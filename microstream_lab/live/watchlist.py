"""Many sessions in a table: who is in which regime since when, and how their feeds are.

Invariant: pure; plain data that fits into JSON.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from microstream_lab import theme
from microstream_lab.live.state import Picture
from microstream_lab.live.tiles import utc

__all__ = ["COLUMNS", "Glance", "watchlist_rows"]

Json: TypeAlias = dict[str, Any]
Glance: TypeAlias = tuple[str, Picture]
"""A session's title and its picture."""

COLUMNS: Final = ("symbol", "regime", "since", "probability", "anomaly", "price", "feed")
_DASH: Final = "\N{EN DASH}"


def watchlist_rows(glances: Sequence[Glance], now: int) -> list[Json]:
    """A row for each session; `now` (us) tells how old things are.

    Returns
    -------
    list of dict
        ``cells``, one text for each of :data:`COLUMNS`, the regime's ``color``, and ``alarm`` where
        the feed is stale.
    """
    return [_row(title, picture, now) for title, picture in glances]


def _row(title: str, picture: Picture, now: int) -> Json:
    model, stale_since = picture.model, picture.health.stale_since
    regime, since, color = _DASH, _DASH, ""
    if model is not None and picture.regime >= 0:
        regime, color = theme.regime_styles(model.n_regimes)[picture.regime]
        since = utc(picture.regime_since)[:5]
    feed = f"{picture.health.trades_per_s:,.1f} trades/s"
    if stale_since is not None:
        feed = f"stale for {max(0, now - stale_since) // 1_000_000} s"
    anomaly = _number(picture.anomaly_score, ".3f")
    if picture.is_anomaly:
        anomaly += " !"
    texts = (_number(picture.probability, ".0%"), anomaly, _number(picture.price, ",.8g"))
    return {
        "cells": [title, regime, since, *texts, feed],
        "color": color,
        "alarm": stale_since is not None,
    }


def _number(value: float, form: str) -> str:
    return _DASH if math.isnan(value) else format(value, form)
