"""A ``FigureWidget`` for many changes and many views.

Invariant: plotly keeps the figure of its first moment for browsers that come later and sends
changes only to those who are there already; here a page opened again, or served by Voila, begins
with the figure as it is, and never with half of it, however long plotly takes to load. What its
front end does needlessly after each change is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go
import traitlets
from plotly.basedatatypes import Undefined

from microstream_lab.errors import MicrostreamError
from microstream_lab.live.panel import FIGURE_CLASS

__all__ = ["LiveFigure", "mended"]

_NUMBERS: Final = ("x", "y", "z", "open", "high", "low", "close")
_STATIC: Final = Path(__file__).parent / "static"
_EXPORTS: Final = re.compile(
    r"export\s*\{\s*[\w$]+ as FigureModel,\s*([\w$]+) as FigureView,\s*[\w$]+ as default\s*\}"
)


def mended(bundle: str, mending: str) -> str:
    """Plotly's front end with our lines behind it.

    Raises
    ------
    MicrostreamError
        If the bundle does not export its classes under the names we know.
    """
    found = _EXPORTS.search(bundle)
    if found is None:
        raise MicrostreamError(
            "plotly's widget: found no export of its classes, expected FigureModel, FigureView "
            "and default as in plotly 6 and 7"
        )
    return f"{bundle}\nconst FigureView = {found[1]};\n{mending}"


class LiveFigure(go.FigureWidget):  # type: ignore[misc]
    """Plotly's own, but for what its front end leaves out and the state a new browser is given."""

    _esm = (_STATIC / "lazy_figure.js").read_text("utf-8")
    _plotly = traitlets.Unicode(
        mended(str(go.FigureWidget._esm), (_STATIC / "figure.js").read_text("utf-8"))
    ).tag(sync=True)
    _is_whole = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.add_class(FIGURE_CLASS)
        self._config = {"displaylogo": False, "responsive": True, "scrollZoom": True}
        self._ready: Callable[[], None] = lambda: None
        self.on_msg(self._receive)
        self._is_whole = True
        self.open()

    def open(self) -> None:
        """Meet the browser, once whole.

        Plotly's own constructor does so with nothing in the figure yet and sends what is in it
        afterwards. A page that is just restoring its widgets asks for their states from another
        thread of the kernel: it was given that empty figure, and what came after never reached it.
        """
        if self._is_whole:
            super().open()

    def on_ready(self, told: Callable[[], None]) -> None:
        """Call `told`, and nobody else, when a page has loaded plotly and shows the figure."""
        self._ready = told

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The widget's state; see :meth:`ipywidgets.Widget.get_state`."""
        state = super().get_state(key, drop_defaults)
        if getattr(self, "_data", None) is None:
            return state
        current = {"_widget_data": self._data, "_widget_layout": self._layout_obj._props}
        for name in current.keys() & state.keys():
            to_json = self.trait_metadata(name, "to_json")
            state[name] = to_json(deepcopy(current[name]), self)
        return state

    def renew(self) -> None:
        """Give pages that are there the figure as it is, for views that they open from now on."""
        self.send_state(["_widget_data", "_widget_layout"])

    def tell_all(self) -> None:
        """Send all numbers, changed or not, to views that may have begun with older ones."""
        style = {name: [each.get(name, Undefined) for each in self._data] for name in _NUMBERS}
        self._send_update_msg(style, deepcopy(self._layout_obj._props))

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        if content == {"kind": "ready"}:
            self._ready()
