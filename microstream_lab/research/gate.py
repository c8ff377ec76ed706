"""Whether a newly trained bundle may take the place of the current one, and why, in words.

The challenger is judged on the newest bars, which were kept out of its training, beside the
champion on the same bars. What is asked of it stands in :class:`GateRules`; docs/models.md explains
each.

Invariant: pure and declared. The verdict follows from the two bundles, the bars and the rules; all
checks are made and told, also after one has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import DataError, LookAheadError
from microstream_lab.models.matching import match_regimes
from microstream_lab.research.duel import FIGURES, duel
from microstream_lab.research.evaluate import judged_outcomes
from microstream_lab.research.soundness import examine
from microstream_lab.research.verdict import Check, Decision, GateRules, Verdict
from microstream_lab.schema import as_micros, interval_us

__all__ = ["judge"]

_WARM_UP: Final = 20_000
_HOUR_US: Final = 3_600_000_000
_NAMES: Final = {
    "eta_squared": "the share of the coming hour's variance that its regimes explain",
    "r_squared": "the share of it that its expected volatility explains",
    "stress_error": "the error of its expected log volatility",
}


def judge(
    challenger: ModelBundle,
    champion: ModelBundle | None,
    bars: pd.DataFrame,
    window_start: object,
    rules: GateRules | None = None,
    champion_name: str = "",
    end: object | None = None,
) -> Verdict:
    """Decide about a challenger.

    Parameters
    ----------
    challenger : ModelBundle
        Trained on bars before `window_start`.
    champion : ModelBundle, optional
        The bundle in use. If it has seen bars of the window that flatters it, and is told.
    bars : DataFrame
        The bars trained on and those of the window, which is from `window_start` to the last.
    rules : GateRules, optional
        The defaults if not given.
    champion_name : str
        Its version.
    end : time, optional
        Where the bars were to end; newer ones that are missing count as a hole.

    Returns
    -------
    Verdict
        Without a champion, what a challenger would be held for is told but not held against it:
        the alternative is none.

    Raises
    ------
    LookAheadError
        If the challenger was trained on bars of the window.
    DataError
        If the window has no bar.
    """
    rules = rules or GateRules()
    start = as_micros(window_start)
    row = int(bars.index.searchsorted(pd.Timestamp(start, unit="us", tz="UTC")))
    if challenger.end > start:
        raise LookAheadError(
            f"gate: found a challenger trained until {_stamp(challenger.end)}, expected no later "
            f"than {_stamp(start)}, where the window begins"
        )
    if row >= len(bars):
        raise DataError("gate", f"no bar from {_stamp(start)} on", "a window to judge by")
    case = _Case(challenger, champion, bars, row, rules, champion_name, end)
    checks = tuple(case.checks())
    answers = {check.answer for check in checks}
    decision: Decision = "promote"
    if "reject" in answers:
        decision = "reject"
    elif "hold" in answers and champion is not None:
        decision = "hold"
    window = bars.index[row:]
    return Verdict(
        decision, case.name if champion else "", checks, case.figures, window[0], window[-1], rules
    )


class _Case:
    """Both bundles on the same bars, and what is to be said of the challenger."""

    def __init__(
        self,
        challenger: ModelBundle,
        champion: ModelBundle | None,
        bars: pd.DataFrame,
        row: int,
        rules: GateRules,
        name: str,
        end: object | None,
    ) -> None:
        self.challenger, self.champion = challenger, champion
        self.bars, self.rules, self.end = bars, rules, end
        self.name = name or (champion.bundle_id if champion else "")
        self.window = bars.iloc[row:]
        horizon = challenger.stress_horizon
        self.new = _signals(challenger, bars, row)
        self.old = None if champion is None else _signals(champion, bars, row)
        self.block_us = int(
            max(rules.block_hours * _HOUR_US, 6 * horizon * interval_us(challenger.interval))
        )
        self.figures = self._duel(horizon)

    def _duel(self, horizon: int) -> pd.DataFrame:
        options = (self.rules.level, self.rules.n_resamples, self.rules.seed)
        try:
            outcomes = judged_outcomes(self.window, horizon)
        except DataError:  # no bar of the window has an hour of bars after it
            empty = pd.DataFrame(np.nan, list(FIGURES), ["challenger", "champion", "gain"])
            empty[["low", "high"]] = np.nan
            empty.attrs = {"bars": 0, "blocks": 0}
            return empty
        return duel(self.new, self.old, outcomes, self.block_us, *options)

    def _figure(self, figure: str, column: str) -> float:
        return float(self.figures[column].to_numpy()[FIGURES.index(figure)])

    def checks(self) -> Iterator[Check]:
        yield from self._data()
        yield self._converged()
        yield self._occupied()
        yield self._long_enough()
        yield self._ranks()
        yield self._calibrated()
        if self.champion is not None and self.old is not None:
            yield self._differs(self.champion)
            yield self._labels(self.champion, self.old)
            for name in _NAMES:
                yield self._compared(name)

    def _data(self) -> Iterator[Check]:
        rules = self.rules
        begin = _stamp(self.challenger.start)
        asked = (rules.recent_days, rules.min_variance_ratio, self.end)
        sound = examine(self.bars.loc[begin:], *asked)
        days = ", ".join(f"{day:%Y-%m-%d}" for day in sound.disordered[:5])
        text = f"prices go on from where they were (lowest variance ratio {sound.least_ratio:.2f})"
        if days:
            text = (
                f"the prices of {days} are in no order: their variance ratio is "
                f"{sound.least_ratio:.2f}, expected {rules.min_variance_ratio:g} or more; "
                "bring the bars in anew (microstream ingest --replace)"
            )
        yield Check("prices", "reject" if days else "pass", text)
        text = f"{sound.coverage:.1%} of the bars are there"
        ok = sound.coverage >= rules.min_coverage
        more = "" if ok else f", expected {rules.min_coverage:.0%} or more"
        yield Check("coverage", "pass" if ok else "hold", text + more)
        ok = sound.hole_hours <= rules.max_hole_hours
        text = f"the last {rules.recent_days:g} days have no hole above {sound.hole_hours:.1f} h"
        if not ok:
            text = f"{sound.hole_hours:.1f} h are missing after {sound.hole_at:%Y-%m-%d %H:%M}, "
            text += f"expected {rules.max_hole_hours:g} h at most"
        yield Check("holes", "pass" if ok else "hold", text)

    def _converged(self) -> Check:
        ok = bool(self.challenger.regime_model.converged_)
        text = "the fit converged" if ok else "the fit did not converge"
        return Check("convergence", "pass" if ok else "reject", text)

    def _occupied(self) -> Check:
        shares, rules = np.asarray(self.challenger.regime_model.occupancy_), self.rules
        ok = bool((shares >= rules.min_occupancy).all() and (shares <= rules.max_occupancy).all())
        text = f"regimes hold {' / '.join(f'{share:.1%}' for share in shares)} of the training"
        if not ok:
            text += f", expected {rules.min_occupancy:.0%} to {rules.max_occupancy:.0%} each"
        return Check("occupancy", "pass" if ok else "reject", text)

    def _long_enough(self) -> Check:
        n, least = self.figures.attrs["blocks"], self.rules.min_blocks
        hours = self.block_us / _HOUR_US
        text = f"the window has {n} blocks of {hours:g} h to judge by"
        ok = n >= least
        return Check(
            "window", "pass" if ok else "hold", text if ok else f"{text}, expected {least} or more"
        )

    def _ranks(self) -> Check:
        auc, least = self._figure("auc_stress", "challenger"), self.rules.min_auc
        text = f"it ranks the worst 5 % of hours with an AUC of {auc:.3f}"
        if np.isnan(auc):
            return Check("ranking", "hold", "the window is too short to tell how it ranks hours")
        ok = auc >= least
        return Check(
            "ranking", "pass" if ok else "hold", text if ok else f"{text}, expected {least:g}"
        )

    def _calibrated(self) -> Check:
        bias, most = self._figure("stress_bias", "challenger"), self.rules.max_bias
        if np.isnan(bias):
            return Check("calibration", "hold", "the window is too short to tell its calibration")
        text = f"it expects {np.exp(bias):.2f} times the volatility that came"
        ok = abs(bias) <= most
        within = f", expected {np.exp(-most):.2f} to {np.exp(most):.2f}"
        return Check("calibration", "pass" if ok else "hold", text if ok else text + within)

    def _differs(self, champion: ModelBundle) -> Check:
        if self.challenger.bundle_id == champion.bundle_id:
            return Check("news", "hold", f"it is {self.name} again: same bars, same options")
        text = f"it is another one than {self.name}"
        if champion.end > as_micros(self.window.index[0]):
            text += f", which was trained on bars of the window until {_stamp(champion.end)}: "
            text += "that flatters it"
        return Check("news", "pass", text)

    def _labels(self, champion: ModelBundle, old: pd.DataFrame) -> Check:
        n, before = self.challenger.n_regimes, champion.n_regimes
        if n != before:
            return Check("labels", "hold", f"it has {n} regimes, {self.name} has {before}")
        columns = [f"p_{k}" for k in range(n)]
        try:
            match = match_regimes(old[columns], self.new[columns])
        except DataError:
            return Check("labels", "hold", "no bar of the window has a regime in both")
        text = f"it labels {match.agreement:.0%} of the window as {self.name} does"
        if match.permutation != tuple(range(n)):
            return Check("labels", "hold", f"{text}, but under other names")
        if match.is_poor or match.agreement < self.rules.min_agreement:
            kept = " / ".join("-" if np.isnan(k) else f"{k:.0%}" for k in match.kept)
            return Check("labels", "hold", f"{text} (by regime {kept}): they mean something else")
        return Check("labels", "pass", text)

    def _compared(self, figure: str) -> Check:
        margin = float(getattr(self.rules, figure))
        gain, low, high = (self._figure(figure, name) for name in ("gain", "low", "high"))
        new, old = (self._figure(figure, name) for name in ("challenger", "champion"))
        text = f"{_NAMES[figure]} is {new:.3f}, that of {self.name} {old:.3f}; gain {gain:+.3f}, "
        text += f"{low:+.3f} to {high:+.3f}"
        if np.isnan(low):
            return Check(figure, "hold", f"{text}: too little to tell")
        if gain < -margin and high < 0:
            return Check(figure, "reject", f"{text}: worse by more than {margin:g}")
        if low < -margin:
            return Check(figure, "hold", f"{text}: it may be worse by more than {margin:g}")
        return Check(figure, "pass", text)


def _signals(bundle: ModelBundle, bars: pd.DataFrame, row: int) -> pd.DataFrame:
    """Signals of the window, with the bars before it to warm up on."""
    seen = bars.iloc[max(0, row - max(_WARM_UP, bundle.warmup_bars)) :]
    return bundle.signals(seen).iloc[-(len(bars) - row) :]


def _stamp(micros: int) -> pd.Timestamp:
    return pd.Timestamp(micros, unit="us", tz="UTC")
