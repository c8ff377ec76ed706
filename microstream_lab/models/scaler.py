"""Standardisation with training statistics; skewed features first go on a log scale.

Raw returns are of the order 1e-4, where hmmlearn's covariance prior would swamp the data, and
range or volume have long right tails that no Gaussian fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["FeatureScaler"]

FloatArray = npt.NDArray[np.float64]


class FeatureScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Log scale for skewed columns, then zero mean and unit variance.

    A skewed column becomes ``ln(x + floor)``, the floor a tenth of its training median, so that
    zeros stay finite and close to other small values.

    Parameters
    ----------
    skewed : sequence of bool, optional
        Which columns are skewed; none by default.
    cyclic : sequence of bool, optional
        Which columns are left as they are, places on a circle; none by default.

    Attributes
    ----------
    floor_, mean_, scale_ : ndarray of shape (n_features,)
        Training statistics; the floor of a column that is not skewed is NaN.
    """

    def __init__(
        self, skewed: Sequence[bool] | None = None, cyclic: Sequence[bool] | None = None
    ) -> None:
        self.skewed = skewed
        self.cyclic = cyclic

    def fit(self, X: Any, y: None = None) -> FeatureScaler:
        """Learn the statistics of `X`, shape ``(n_rows, n_features)``, whatever is NaN left out."""
        rows = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2
        )
        skewed = np.zeros(rows.shape[1], bool) if self.skewed is None else np.array(self.skewed)
        if len(skewed) != rows.shape[1] or (rows[:, skewed] < 0).any():
            raise ValueError(
                f"skewed: found {len(skewed)} flags or negative values, "
                f"expected {rows.shape[1]} flags and no negative value in those columns"
            )
        self.floor_ = np.full(rows.shape[1], np.nan)
        for column in np.flatnonzero(skewed):
            positive = rows[rows[:, column] > 0, column]
            self.floor_[column] = 0.1 * np.median(positive) if len(positive) else 1.0
        logged = self._log(rows)
        self.mean_ = np.nanmean(logged, axis=0)
        deviation = np.nanstd(logged, axis=0)
        # A constant column stays at zero instead of being blown up by rounding errors.
        constant = deviation <= 1e-12 * np.maximum(np.abs(self.mean_), 1e-300)
        self.scale_ = np.where(constant, 1.0, deviation)
        if self.cyclic is not None:
            self.mean_[np.array(self.cyclic)] = 0.0
            self.scale_[np.array(self.cyclic)] = 1.0
        return self

    def transform(self, X: Any) -> FloatArray:
        """Scaled rows, NaN where `X` is NaN."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        return self.scaled(rows)

    def scaled(self, rows: FloatArray) -> FloatArray:
        """Scaled rows, unchecked: what one bar after another takes no time for."""
        return np.asarray((self._log(rows) - self.mean_) / self.scale_)

    def scaled_columns(self, columns: Sequence[FloatArray]) -> FloatArray:
        """The same for many rows that lie column by column, shape ``(n_features, n_rows)``."""
        scaled = np.empty((len(columns), len(columns[0])))
        learnt = (self.floor_, self.mean_, self.scale_)
        for place, values, floor, mean, scale in zip(scaled, columns, *learnt, strict=True):
            if np.isnan(floor):
                np.subtract(values, mean, out=place)
            else:
                np.add(values, floor, out=place)
                np.log(place, out=place)
                place -= mean
            place /= scale
        return scaled

    def inverse_transform(self, X: Any) -> FloatArray:
        """Rows in the original units."""
        check_is_fitted(self)
        rows: FloatArray = np.asarray(X, dtype=np.float64) * self.scale_ + self.mean_
        skewed = ~np.isnan(self.floor_)
        rows[:, skewed] = np.exp(rows[:, skewed]) - self.floor_[skewed]
        return rows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _log(self, rows: FloatArray) -> FloatArray:
        skewed = ~np.isnan(self.floor_)
        logged = rows.copy()
        logged[:, skewed] = np.log(rows[:, skewed] + self.floor_[skewed])
        return logged
