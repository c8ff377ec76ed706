"""The features of a series' last bar, ready for one compiled call to write them.

Invariant: they equal :class:`~microstream_lab.features.frame.FeatureState` in every bit. A feature
without a form, one of a user's own for example, is updated in Python beside those that have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microstream_lab.errors import DataError
from microstream_lab.features.base import FEATURES, Feature, FloatArray
from microstream_lab.features.forms import FORM, Form, Kind, Measure
from microstream_lab.features.frame import after_gap, steps_between
from microstream_lab.schema import Bar, interval_us

__all__ = ["FeatureRow"]

_PLAIN = Form(Kind.PLAIN, Measure.HIGH, Measure.HIGH)


class FeatureRow:
    """What :func:`~microstream_lab.features.stepping.advance` needs for one series.

    Parameters
    ----------
    names : sequence of str
        Registered features, in column order.
    window : int
        Trailing bars of windowed features, the current one included.
    interval : str
        Interval of the bars.

    Attributes
    ----------
    forms, memory : ndarray
        See :func:`~microstream_lab.features.stepping.advance`.
    plain : dict of int to Feature
        Features that have no form, by column.
    """

    def __init__(self, names: Sequence[str], window: int, interval: str) -> None:
        self._step = interval_us(interval)
        self._last_open_time: int | None = None
        features = [FEATURES[name](window, interval) for name in names]
        forms = [feature.form() or _PLAIN for feature in features]
        sizes = [form.size for form in forms]
        places = 1 + len(Measure) + np.cumsum([0, *sizes])
        rows = zip(forms, places.tolist(), features, strict=False)
        table = [(*form, place, not feature.spans_gaps) for form, place, feature in rows]
        self.forms = np.array(table, dtype=FORM)
        self.memory: FloatArray = np.zeros(places[-1])
        self.plain: dict[int, Feature] = {
            column: feature
            for column, (feature, form) in enumerate(zip(features, forms, strict=True))
            if form.kind == Kind.PLAIN
        }

    def steps_to(self, bar: Bar) -> int:
        """Interval steps from the last bar to this one, which is the last from now on.

        Raises
        ------
        DataError
            If the bar is not later than the last one.
        """
        last = self._last_open_time
        steps = 1 if last is None else steps_between(last, bar, self._step)
        self._last_open_time = bar.open_time
        return steps

    def snapshot(self) -> tuple[Any, ...]:
        """What is remembered of the bars so far, to be pickled."""
        return self._last_open_time, self.memory, self.plain

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Go on from what :meth:`snapshot` told.

        Raises
        ------
        DataError
            If features remembered something else when it was taken.
        """
        last_open_time, memory, plain = snapshot
        if memory.shape != self.memory.shape or plain.keys() != self.plain.keys():
            found = f"{memory.size} numbers and {len(plain)} features in Python"
            expected = f"{self.memory.size} and {len(self.plain)}, as features remember now"
            raise DataError("features snapshot", found, expected)
        self._last_open_time, self.memory[:], self.plain = last_open_time, memory, plain

    def update_plain(self, bar: Bar, steps: int, row: FloatArray) -> None:
        """Write the features that have no form to their columns of `row`."""
        for column, feature in self.plain.items():
            fresh = feature if steps == 1 else after_gap(feature)
            self.plain[column], row[column] = fresh, fresh.update(bar)
