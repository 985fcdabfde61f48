"""The Segment tab: where to look for nuclei, and labels to start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import NucleusError
from napari_nucleus.widgets.extents import Extent, Where
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.points_box import PointsBox
from napari_nucleus.widgets.recent_box import RecentBox

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["SegmentTab"]


class SegmentTab(QWidget):
    """Segment the view, a drawn region or the whole image; adopt labels."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.sample = QPushButton("Open the sample and segment it")
        self.sample.setToolTip("Loads a bundled H&E field, to see how it goes")
        self.view = QRadioButton("What is in view")
        self.view.setToolTip("Segment the part of the image that the canvas shows")
        self.drawn = QRadioButton("A drawn region")
        self.drawn.setToolTip("Segment inside the shapes that you draw")
        self.whole = QRadioButton("The whole image")
        self.whole.setToolTip("Segment everything, from the middle of the view outwards")
        self.whole.setChecked(True)
        self.where = QButtonGroup(self)
        for button in (self.view, self.drawn, self.whole):
            self.where.addButton(button)
        self.draw = QPushButton("Draw…")
        self.draw.setToolTip("Draw a region: polygon by clicks, ends with a double click")
        self.model = QComboBox()
        self.model.setToolTip("The model that finds the nuclei; clicks are answered as before")
        for model in workspace.models.offered:
            self.model.addItem(model.name)
            self.model.setItemData(
                self.model.count() - 1, model.info.title, Qt.ItemDataRole.ToolTipRole
            )
        self.segment = QPushButton("Segment")
        self.segment.setToolTip("Find every nucleus there. One undo step; it can be cancelled")
        self.segment.setDefault(True)
        self.find_points = QPushButton("Find points first")
        self.find_points.setToolTip(
            "Find every nucleus there as a point, to be put right before outlines are made of it. "
            "No nucleus is changed until you accept them"
        )
        self.points = PointsBox(workspace)
        self.compare = QPushButton("Compare with")
        self.compare.setToolTip(
            "Let a model look there without changing any nucleus: see where it disagrees, and what "
            "only it finds"
        )
        self.models = QMenu(self.compare)
        self.models.setToolTipsVisible(True)
        self.compare.setMenu(self.models)
        self.exclude = QPushButton("Exclude drawn region")
        self.exclude.setToolTip(
            "Leave a fold, pen or dirt out: nothing is segmented there, and it is no part of the "
            "review"
        )
        self.clear = QCheckBox("and its nuclei")
        self.clear.setToolTip("Remove the nuclei in it that nobody has touched, in the same step")
        self.clear.setChecked(True)
        self.labels = ComboBox(nullable=True, choices=self._labels_of_others)
        self.labels.native.setToolTip("A label layer from elsewhere")
        self.adopt = QPushButton("Adopt")
        self.adopt.setToolTip("Take its nuclei over, to correct them with clicks")

        region = QHBoxLayout()
        region.addWidget(self.drawn, 1)
        region.addWidget(self.draw)
        excluding = QHBoxLayout()
        excluding.addWidget(self.exclude, 1)
        excluding.addWidget(self.clear)
        box = QGroupBox("Find nuclei in")
        lines = QVBoxLayout(box)
        lines.addWidget(self.whole)
        lines.addWidget(self.view)
        lines.addLayout(region)
        if len(workspace.models.offered) > 1:
            choice = QHBoxLayout()
            choice.addWidget(QLabel("with"))
            choice.addWidget(self.model, 1)
            lines.addLayout(choice)
        acting = QHBoxLayout()
        acting.addWidget(self.segment, 2)
        acting.addWidget(self.compare, 1)
        lines.addLayout(acting)
        lines.addWidget(self.find_points)
        lines.addLayout(excluding)
        other = QGroupBox("Or start from labels")
        line = QHBoxLayout(other)
        line.addWidget(self.labels.native, 1)
        line.addWidget(self.adopt)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.setEnabled(False)
        # A small screen has no room for all of it.
        content = QWidget()
        scrolled = QScrollArea()
        scrolled.setWidget(content)
        scrolled.setWidgetResizable(True)
        scrolled.setFrameShape(QFrame.Shape.NoFrame)
        scrolled.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled)
        layout = QVBoxLayout(content)
        layout.addWidget(self.sample)
        layout.addWidget(box)
        layout.addWidget(self.points)
        layout.addWidget(other)
        layout.addWidget(RecentBox(workspace))
        layout.addStretch(1)
        layout.addWidget(self.note)

        self.draw.clicked.connect(self._on_draw)
        self.segment.clicked.connect(self._on_segment)
        self.find_points.clicked.connect(self._on_find_points)
        self.models.aboutToShow.connect(self._list_models)
        self.models.triggered.connect(self._on_compare)
        self.exclude.clicked.connect(
            lambda: workspace.regions.exclude_drawn(self.clear.isChecked())
        )
        self.adopt.clicked.connect(self._on_adopt)
        self.model.textActivated.connect(lambda name: workspace.choose_model(name))
        workspace.models.chosen_changed.connect(self._show_model)
        workspace.annotation_changed.connect(self.refresh)
        workspace.progressed.connect(self._on_progress)
        self._show_model()
        self.refresh()

    def _labels_of_others(self, _: object) -> list[Labels]:
        layers = self._workspace.viewer.layers
        return [x for x in layers if isinstance(x, Labels) and role_of(x) is None]

    def reset_choices(self) -> None:
        """Look again which label layers there are."""
        self.labels.reset_choices()

    def refresh(self) -> None:
        """Enable what can be done now."""
        there = self._workspace.annotation is not None
        self.sample.setVisible(not there)
        acting = (self.segment, self.find_points, self.compare)
        for widget in (*acting, self.draw, self.exclude, self.adopt):
            widget.setEnabled(there)

    def _show_model(self) -> None:
        chosen = self._workspace.models.automatic
        self.model.setCurrentText(chosen.name)
        self.find_points.setVisible(self._workspace.points.can_find)
        self.note.setText(f"{chosen.info.limits}\nFor research; not for diagnosis.".strip())

    def _on_progress(self, report: object) -> None:
        for button in (self.segment, self.find_points, self.compare):
            button.setEnabled(report is None and self._workspace.annotation is not None)

    def _on_draw(self) -> None:
        """Give the user a shapes layer on the image, ready to draw a polygon."""
        if self._workspace.regions.draw() is not None:
            self.drawn.setChecked(True)

    def _on_segment(self) -> None:
        self._begin(lambda extent: self._workspace.runs.segment(extent))

    def _on_find_points(self) -> None:
        self._begin(self._workspace.points.find)

    def _list_models(self) -> None:
        self.models.clear()
        for model in self._workspace.models.offered:
            entry = self.models.addAction(model.name)
            assert entry is not None
            entry.setToolTip(model.info.title)

    def _on_compare(self, entry: QAction) -> None:
        model = self._workspace.models.named(entry.text())
        if model is not None:
            self._begin(lambda extent: self._workspace.runs.compare(model, extent))

    def _begin(self, act: Callable[[Extent], object]) -> None:
        """Do something in the part of the image that is chosen, unless something is in the way."""
        workspace = self._workspace
        try:
            where: Where = "view" if self.view.isChecked() else "image"
            act(workspace.extent("region" if self.drawn.isChecked() else where))
        except NucleusError as error:
            workspace.warned.emit(str(error))

    def _on_adopt(self) -> None:
        layer = self.labels.value
        if layer is None:
            self._workspace.warned.emit("Open a label layer first, and choose it here.")
            return
        try:
            self._workspace.adopt(layer)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))
