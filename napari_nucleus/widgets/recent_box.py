"""Going on with a project: those used last, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QPushButton, QWidget

from napari_nucleus.core.nuclei import counted
from napari_nucleus.errors import NucleusError
from napari_nucleus.widgets.project_dialog import ProjectDialog

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["RecentBox"]


class RecentBox(QGroupBox):
    """The projects used last, and a button for any other."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__("Or go on with a project", parent)
        self._workspace = workspace
        self.recents = QComboBox()
        self.recents.setToolTip("Projects used last")
        self.recents.setMinimumContentsLength(12)
        self.recents.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.go_on = QPushButton("Open")
        self.go_on.setToolTip("Open this project and its image")
        self.other = QPushButton("Other…")
        self.other.setToolTip("Open a project from a file")
        line = QHBoxLayout(self)
        line.addWidget(self.recents, 1)
        line.addWidget(self.go_on)
        line.addWidget(self.other)
        self.go_on.clicked.connect(lambda: self._open(Path(self.recents.currentData())))
        self.other.clicked.connect(self._on_other)
        workspace.keeping.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """List the projects anew."""
        self.recents.clear()
        for recent in self._workspace.keeping.recents():
            day, time = recent.used[:10], recent.used[11:16]
            text = f"{recent.image}: {counted(recent.nuclei)}, {day} {time}"
            self.recents.addItem(text, recent.path)
        self.go_on.setEnabled(self.recents.count() > 0)

    def _on_other(self) -> None:
        dialog = ProjectDialog.to_open(self)
        dialog.chosen.connect(self._open)
        dialog.open()

    def _open(self, path: Path) -> None:
        try:
            self._workspace.open_project(path)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))
