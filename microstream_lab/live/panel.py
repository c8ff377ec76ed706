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
    """Tiles above the figure, or the watchlist or the list of events below it.

    Parameters
    ----------
    part : {"tiles", "watchlist", "events"}
        Which of them.
    looks : dict
        Of the ink, see :func:`~microstream_lab.live.figure.looks`.
    data : dict
        What it says; ``frame`` is the number of the frame it belongs to.
    """

    _esm = "\n".join((_STATIC / name).read_text("utf-8") for name in ("ink.js", "panel.js"))
    _css = (_STATIC / "panel.css").read_text("utf-8")
    part = traitlets.Unicode("tiles").tag(sync=True)
    looks = traitlets.Dict().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._painted: Callable[[int, float], None] = lambda frame, at: None
        self._shown: Callable[[], None] = lambda: None
        self._picked: Callable[[int], None] = lambda place: None
        self.on_msg(self._receive)

    def on_painted(self, told: Callable[[int, float], None]) -> None:
        """Call `told`, and nobody else, with each painted frame's number and its time (us)."""
        self._painted = told

    def on_shown(self, told: Callable[[], None]) -> None:
        """Call `told`, and nobody else, when a page has begun to show it."""
        self._shown = told

    def on_picked(self, told: Callable[[int], None]) -> None:
        """Call `told`, and nobody else, with the place of a row that was clicked."""
        self._picked = told

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        match content:
            case {"kind": "painted", "frame": frame, "at": at}:
                self._painted(int(frame), float(at) * 1_000)
            case {"kind": "shown"}:
                self._shown()
            case {"kind": "picked", "place": place}:
                self._picked(int(place))
