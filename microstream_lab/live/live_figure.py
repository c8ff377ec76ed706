"""A ``FigureWidget`` that tells browsers which come later what it shows now.

Invariant: plotly keeps the figure of its first moment for them and sends changes only to those who
are there already; here a page opened again, or served by Voila, begins with the figure as it is.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import plotly.graph_objects as go

__all__ = ["LiveFigure"]


class LiveFigure(go.FigureWidget):  # type: ignore[misc]
    """Plotly's own, but for the state it gives to a browser that asks for all of it."""

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The widget's state; see :meth:`ipywidgets.Widget.get_state`."""
        state = super().get_state(key, drop_defaults)
        if key is None and getattr(self, "_data", None) is not None:
            current = {"_widget_data": self._data, "_widget_layout": self._layout_obj._props}
            for name, value in current.items():
                to_json = self.trait_metadata(name, "to_json")
                state[name] = to_json(deepcopy(value), self)
        return state
