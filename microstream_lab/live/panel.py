"""What stands around the figure: tiles, health and events, and the browser's word that it painted.

Invariant: text reaches the page as text, never as markup; a frame is acknowledged once, after the
browser has painted it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

__all__ = ["FIGURE_CLASS", "Panel"]

FIGURE_CLASS: Final = "microstream-figure"
_STATIC: Final = Path(__file__).parent / "static"


class Panel(anywidget.AnyWidget):
    """Tiles above the figure, or the list of events below it.

    Parameters
    ----------
    part : {"tiles", "events"}
        Which of the two.
    data : dict
        What it says; ``frame`` is the number of the frame it belongs to.
    """

    _esm = (_STATIC / "panel.js").read_text("utf-8")
    _css = (_STATIC / "panel.css").read_text("utf-8")
    part = traitlets.Unicode("tiles").tag(sync=True)
    data = traitlets.Dict().tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._painted: Callable[[int, float], None] = lambda frame, at: None
        self.on_msg(self._receive)

    def on_painted(self, told: Callable[[int, float], None]) -> None:
        """Call `told`, and nobody else, with each painted frame's number and its time (us)."""
        self._painted = told

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("kind") == "painted":
            self._painted(int(content["frame"]), float(content["at"]) * 1_000)
