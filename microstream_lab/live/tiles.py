"""A picture in words: what the tiles, the health line and the list of events say.

Invariant: pure; plain data that fits into JSON, with regimes under the user's names and colours.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from microstream_lab import theme
from microstream_lab.live.state import LogEntry, Picture
from microstream_lab.live.tidings import Drift

__all__ = ["event_rows", "health_items", "tile_data", "utc"]

Json: TypeAlias = dict[str, Any]

_S: Final = 1_000_000
_DASH: Final = "\N{EN DASH}"
_EVENTS: Final = 40
_COLORS: Final = {
    "anomaly": theme.ANOMALY,
    "gap": theme.ANOMALY,
    "error": theme.ANOMALY,
    "stale": theme.ANOMALY,
    "drift": theme.ANOMALY,
    "repair": theme.STRATEGY,
    "link": theme.STRATEGY,
    "model": theme.PRICE,
}


def tile_data(picture: Picture, step_us: int, now: int, title: str) -> list[Json]:
    """The tiles: regime, its probability, anomaly, last price with its time and the spread."""
    return [
        _regime(picture, step_us, now),
        _probability(picture),
        _anomaly(picture),
        _price(picture, now, title),
    ]


def health_items(picture: Picture, now: int) -> list[Json]:
    """The health line; `now` (us) tells how old things are."""
    health, model = picture.health, picture.model
    feed = "no trade yet" if health.is_awaited else "live"
    if health.stale_since is not None:
        feed = f"stale for {_span(now - health.stale_since)}"
    lag_known = picture.sent_at and abs(health.lag_us) < 60 * _S
    drawn = health.latency_us
    name = _DASH
    if model is not None:
        name = model.version or model.bundle_id.rsplit("-", 1)[-1]
        name += " (provisional)" if model.provisional else ""
    return [
        {"label": "feed", "value": feed, "alarm": health.stale_since is not None},
        {"label": "trades/s", "value": f"{health.trades_per_s:,.1f}"},
        {"label": "lag", "value": f"{health.lag_us / 1e3:,.0f} ms" if lag_known else _DASH},
        {
            "label": "trade to screen",
            "value": f"{drawn[0] / 1e3:,.0f} / {drawn[1] / 1e3:,.0f} ms" if drawn else _DASH,
        },
        {
            "label": "gaps",
            "value": f"{health.gaps_open} open, {health.gaps_repaired} repaired",
            "alarm": health.gaps_open > 0,
        },
        {"label": "reconnects", "value": str(health.reconnects)},
        {"label": "bundle", "value": name},
        _drift(health.drift),
    ]


def event_rows(picture: Picture) -> list[Json]:
    """The events, newest first."""
    n_regimes = picture.model.n_regimes if picture.model else 0
    styles = theme.regime_styles(n_regimes) if n_regimes >= 2 else []
    return [_event(entry, styles) for entry in reversed(picture.log[-_EVENTS:])]


def utc(at: int) -> str:
    """A time (us) of day, UTC."""
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%H:%M:%S")


def _drift(drift: Drift | None) -> Json:
    """How far the latest bars are from the training; it takes a day of bars to tell."""
    if drift is None:
        return {"label": "drift", "value": _DASH}
    if drift.alarms:
        more = f" and {len(drift.alarms) - 1} more" if len(drift.alarms) > 1 else ""
        return {"label": "drift", "value": f"{drift.alarms[0]}{more}", "alarm": True}
    if drift.n_bars < drift.window:
        share = drift.n_bars / drift.window
        return {"label": "drift", "value": f"{share:.0%} of the bars it needs"}
    return {"label": "drift", "value": "none"}


def _regime(picture: Picture, step_us: int, now: int) -> Json:
    model, known = picture.model, picture.regime >= 0
    if model is None or not known:
        detail = "no bundle yet" if model is None else "warming up"
        return {"label": "regime", "value": _DASH, "detail": detail, "color": ""}
    name, color = theme.regime_styles(model.n_regimes)[picture.regime]
    until = max(picture.trade_time, int(picture.times[-1]) + step_us) if len(picture.times) else now
    since = picture.regime_since
    detail = f"since {utc(since)[:5]} UTC, {_span(until - since)}"
    return {"label": "regime", "value": name, "detail": detail, "color": color}


def _probability(picture: Picture) -> Json:
    known = not math.isnan(picture.probability)
    value = f"{picture.probability:.1%}" if known else _DASH
    return {"label": "its probability", "value": value, "detail": "filtered, at the close"}


def _anomaly(picture: Picture) -> Json:
    model, known = picture.model, not math.isnan(picture.anomaly_score)
    is_told = model is not None and not math.isnan(model.threshold)
    threshold = f"flagged above {model.threshold:.3f}" if model and is_told else ""
    return {
        "label": "anomaly score",
        "value": f"{picture.anomaly_score:.3f}" if known else _DASH,
        "detail": f"anomalous: {threshold}" if picture.is_anomaly else threshold,
        "alarm": picture.is_anomaly,
    }


def _price(picture: Picture, now: int, title: str) -> Json:
    stale_since, detail = picture.health.stale_since, "no trade yet"
    if stale_since is not None:
        detail = f"stale for {_span(now - stale_since)}"
    elif picture.trade_time:
        detail = _spread(picture) + utc(picture.trade_time)
    return {
        "label": title,
        "value": _number(picture.price, ",.8~g"),
        "detail": detail,
        "alarm": stale_since is not None,
    }


def _spread(picture: Picture) -> str:
    """The spread in basis points of the price, where it is known."""
    points = 1e4 * picture.spread / picture.price if picture.price > 0 else math.nan
    if math.isnan(points):
        return ""
    return f"spread {points:.2g} bp, " if points >= 0.01 else "spread <0.01 bp, "


def _event(entry: LogEntry, styles: list[tuple[str, str]]) -> Json:
    if 0 <= entry.regime < len(styles):
        name, color = styles[entry.regime]
        return {"at": utc(entry.at), "text": f"{name}, {entry.text}", "color": color}
    return {"at": utc(entry.at), "text": entry.text, "color": _COLORS.get(entry.kind, "")}


def _number(value: float, form: str) -> str:
    if math.isnan(value):
        return _DASH
    return format(value, form.replace("~", ""))


def _span(micros: int) -> str:
    seconds = max(0, micros // _S)
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
