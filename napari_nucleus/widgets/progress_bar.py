"""A progress bar that is painted with the rest of the window."""

from __future__ import annotations

from qtpy.QtWidgets import QProgressBar

__all__ = ["ProgressBar"]


class ProgressBar(QProgressBar):
    """A `QProgressBar` that waits for its turn to be painted.

    Qt's own paints itself as soon as its value changes, and with it, on some platforms, the canvas
    beside it: at a moment when layers may be half added or half removed.
    """

    def set_progress(self, done: int, total: int) -> None:
        """Show that so much of all is done."""
        self.setUpdatesEnabled(False)
        self.setMaximum(total)
        self.setValue(done)
        self.setUpdatesEnabled(True)
