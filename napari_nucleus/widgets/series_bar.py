"""The header's line for the images of a folder: back, which one of how many, next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_nucleus.widgets.keys import current_keys

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["SeriesBar"]

KNOWN_ROLE = int(Qt.ItemDataRole.UserRole)
"""Where an item of the list keeps what is known of its image."""


class _WithProgress(QStyledItemDelegate):
    """Writes what is known of an image behind its name, in the list only."""

    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        known = index.data(KNOWN_ROLE)
        if known and option is not None:
            option.text = f"{option.text}   ({known})"


class SeriesBar(QWidget):
    """Goes through the images of a folder; hidden while none is open."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._walk = workspace.series
        keys = {name: key.replace("Control", "Ctrl") for name, key in current_keys().items()}
        self.previous = QPushButton("◀")
        self.previous.setToolTip(f"The image before ({keys['previous_image']})")
        self.next = QPushButton("▶")
        self.next.setToolTip(f"The next image ({keys['next_image']})")
        self.images = QComboBox()
        self.images.setMinimumContentsLength(10)
        self.images.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.images.setItemDelegate(_WithProgress(self.images))
        for button in (self.previous, self.next):
            button.setFixedWidth(30)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(2)
        line.addWidget(self.previous)
        line.addWidget(self.images, 1)
        line.addWidget(self.next)
        self.previous.clicked.connect(lambda: self._walk.previous())
        self.next.clicked.connect(lambda: self._walk.next())
        self.images.activated.connect(lambda index: self._walk.go(index))
        self._walk.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the images of the series, and which is open or being read."""
        walk, series = self._walk, self._walk.series
        self.setVisible(series is not None)
        if series is None:
            return
        titles = [series.title(i) for i in range(len(series))]
        if titles != [self.images.itemText(i) for i in range(self.images.count())]:
            self.images.clear()
            self.images.addItems(titles)
        for i in range(len(series)):
            self.images.setItemData(i, walk.about(i), KNOWN_ROLE)
        here = walk.at if walk.wanted is None else walk.wanted
        self.images.setCurrentIndex(-1 if here is None else here)
        view = self.images.view()
        if view is not None:
            view.setMinimumWidth(view.sizeHintForColumn(0) + 24)
        known = "" if here is None else walk.about(here)
        self.images.setToolTip(f"{series.folder}\n{known}".strip())
        self.previous.setEnabled(here is not None and series.after(here, False) is not None)
        self.next.setEnabled(here is not None and series.after(here) is not None)
