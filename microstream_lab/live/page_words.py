"""Whose thread of the kernel hears what a page says to a widget.

Invariant: what a page says of the monitor is heard while a cell is busy.
"""

from __future__ import annotations

import ipywidgets as widgets

__all__ = ["hear_while_busy"]


def hear_while_busy(*shown: widgets.Widget) -> None:
    """Let pages choose the thread that hears them, as JupyterLab does: one beside the cells'.

    ipykernel 7.4 brings what a page says to the thread that had the last request when the widget
    was last updated, by whichever thread. For a monitor that is drawn all the time this is the
    thread of a cell as soon as one is run: nothing more would be heard until that cell ends.
    """
    for widget in shown:
        if widget.comm is not None:
            widget.comm._reply_subshell_for = None
