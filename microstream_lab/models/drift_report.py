"""What is told of drift: a plain record, light enough for whoever only stores or shows it.

Invariant: no model is loaded by importing it.
"""

from __future__ import annotations

import msgspec

__all__ = ["DriftReport"]


class DriftReport(msgspec.Struct, frozen=True):
    """How far the bars up to `open_time` (us) are from the training of a bundle.

    `features` and `regimes` are PSI, `shortfall` nats per bar that the log likelihood lies below
    the training's. `n_bars` of `window` were compared. `alarms` names what is beyond its limit,
    none before the window is full.
    """

    market: str
    symbol: str
    interval: str
    open_time: int
    bundle_id: str
    n_bars: int
    window: int
    features: dict[str, float]
    regimes: float
    shortfall: float
    alarms: tuple[str, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether the window is, so that alarms would be raised."""
        return self.n_bars >= self.window

    def __str__(self) -> str:
        if not self.alarms:
            return "like the training"
        told = {**self.features, "regimes": self.regimes}
        parts = [
            f"{name} {told[name]:.2f}" if name in told else f"{name} -{self.shortfall:.2f} nats"
            for name in self.alarms
        ]
        return f"unlike any day of the training: {', '.join(parts)}"
