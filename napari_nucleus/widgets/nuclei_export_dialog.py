"""The dialog of exports: which nuclei, where to, in which of all formats.

It begins with what was chosen the last time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QGroupBox,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.nuclei import counted
from napari_nucleus.io.export import USUAL, WRITTEN
from napari_nucleus.io.formats import FORMATS, Format, Keeps
from napari_nucleus.session.document import Document
from napari_nucleus.session.preferences import ExportChoices
from napari_nucleus.session.regions import Polygons
from napari_nucleus.widgets.export_dialog import ExportDialog
from napari_nucleus.widgets.exported_nuclei import ClassCounts, ExportedNuclei
from napari_nucleus.widgets.swatches import swatch

__all__ = ["ExportOrder", "NucleiExportDialog", "tip_of"]

VIEWERS, PYTHON, TABLES = "QuPath and viewers", "Python and training sets", "Pictures and tables"

GROUPS: Mapping[str, tuple[str, ...]] = {
    VIEWERS: (
        "geojson",
        "geojson-gz",
        "labels",
        "ome-tiff",
        "ome-zarr",
        "ome-zarr-0.4",
        "imagej",
        "imagescope",
        "dsa",
    ),
    PYTHON: ("coco", "coco-polygons", "hovernet", "hovernet-mat", "pannuke", "cellpose"),
    TABLES: ("csv", "geoparquet", "overlay"),
}
"""Names of formats by what they are for; others are with Python's."""

KEPT = {
    "masks": "outlines to the pixel",
    "holes": "holes",
    "parts": "nuclei of several parts",
    "ids": "ids",
    "classes": "classes",
    "scores": "scores",
    "scheme": "class names and colours",
    "mpp": "pixel size",
    "shape": "image size",
    "provenance": "what made them",
}
"""What to call what formats keep."""

CLASSES_HEIGHT, FORMATS_HEIGHT = 96, 290
"""Pixels that the lists take at most."""


@dataclass(frozen=True, eq=False)
class ExportOrder:
    """What the user wants to be written.

    Parameters
    ----------
    folder, stem, formats
        As `io.export.write_all` takes them.
    nuclei
        Which nuclei.
    simplify
        See `io.formats.Export`.
    """

    folder: Path
    stem: str
    formats: tuple[str, ...]
    nuclei: ExportedNuclei
    simplify: bool = False


class NucleiExportDialog(ExportDialog):
    """A dialog that does not block.

    Parameters
    ----------
    document
        Whose nuclei are exported.
    name
        Of the image.
    areas
        Parts of the image to choose from, by name, the whole one first.
    choices
        What was chosen the last time.
    ids
        Nuclei that are exported, and no others; all if there are none.

    Attributes
    ----------
    ordered
        Emitted with an `ExportOrder` and the `ExportChoices` to be remembered.
    """

    ordered = Signal(ExportOrder, ExportChoices)

    def __init__(
        self,
        document: Document,
        name: str,
        areas: Mapping[str, Polygons],
        choices: ExportChoices,
        parent: QWidget | None = None,
        ids: Sequence[int] = (),
    ) -> None:
        self._document, self._areas = document, areas
        self._ids = frozenset(int(i) for i in ids)
        self._counts: dict[int, int] | None = None
        self._counting = ClassCounts(document, self._ids)
        self.area = QComboBox()
        self.area.setToolTip("A nucleus belongs to a region if its centre lies in it")
        self.area.addItems(list(areas))
        self.classes: dict[int, QCheckBox] = {}
        self.total = QLabel()
        self.simplify = QCheckBox("Simplify outlines")
        self.simplify.setToolTip(
            "Fewer corners and smaller files; touching nuclei still share their border. Outlines "
            "are exact to the pixel without it. Label images are always exact"
        )
        titles = {key: FORMATS[key].title for key in WRITTEN}
        folder = Path(choices.folder) if choices.folder else Path.home()
        super().__init__(
            folder if folder.is_dir() else Path.home(),
            name,
            "Export these nuclei" if self._ids else "Export nuclei",
            titles,
            parent,
        )
        self.save.setText("Export")
        self.setMinimumWidth(440)
        wanted = [n for n in choices.formats if n in self.formats] or list(USUAL)
        for key, box in self.formats.items():
            box.setChecked(key in wanted)
        self.simplify.setChecked(choices.simplify)
        if choices.area in areas and not self._ids:
            self.area.setCurrentText(choices.area)
        left_out = {n.casefold() for n in choices.without}
        for class_id, box in self.classes.items():
            box.setChecked(self._name(class_id).casefold() not in left_out)
            box.toggled.connect(lambda _: self.refresh())
        self._counting.counted.connect(self._on_counted)
        self.area.currentIndexChanged.connect(lambda _: self._count())
        self.finished.connect(lambda _: self._counting.stop())
        self._count()

    def middle(self) -> list[QWidget]:
        """Return the choice of nuclei and the list of formats."""
        nuclei = QGroupBox("Nuclei")
        column = QVBoxLayout(nuclei)
        column.addWidget(self.area)
        column.addWidget(_scrolled(self._class_list(), CLASSES_HEIGHT))
        column.addWidget(self.total)
        formats = QGroupBox("Formats")
        column = QVBoxLayout(formats)
        column.addWidget(_scrolled(self._format_list(), FORMATS_HEIGHT))
        column.addWidget(self.simplify)
        return [nuclei, formats]

    def _class_list(self) -> QWidget:
        scheme = self._document.scheme
        content = QWidget()
        grid = QGridLayout(content)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        for i, class_id in enumerate((*scheme.ids, 0)):
            box = QCheckBox(self._name(class_id))
            box.setIcon(swatch(scheme.color_of(class_id)))
            box.setChecked(True)
            self.classes[class_id] = box
            grid.addWidget(box, i // 2, i % 2)
        return content

    def _format_list(self) -> QWidget:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for title, names in groups_of(list(self.formats)).items():
            heading = QLabel(f"<b>{title}</b>")
            column.addWidget(heading)
            for name in names:
                box = self.formats[name]
                box.setToolTip(tip_of(FORMATS[name]))
                column.addWidget(box)
        column.addStretch(1)
        return content

    def _name(self, class_id: int) -> str:
        return self._document.scheme.name_of(class_id)

    # ---- how many

    def _count(self) -> None:
        self._counts = None
        self.refresh()
        self._counting.count(self._areas[self.area.currentText()])

    def _on_counted(self, counts: dict[int, int]) -> None:
        self._counts = counts
        self.refresh()

    @property
    def nuclei(self) -> ExportedNuclei:
        """Which nuclei are chosen now."""
        without = frozenset(i for i, box in self.classes.items() if not box.isChecked())
        return ExportedNuclei(self._areas[self.area.currentText()], without, self._ids)

    def refresh(self) -> None:
        """Show the counts as well."""
        for class_id, box in self.classes.items():
            n = "…" if self._counts is None else f"{self._counts.get(class_id, 0):,}"
            box.setText(f"{self._name(class_id)}  {n}")
        self.total.setText("Counting…" if self.count is None else f"{counted(self.count)} chosen")
        super().refresh()

    @property
    def count(self) -> int | None:
        """Number of nuclei that would be written; None while they are counted."""
        if self._counts is None:
            return None
        without = self.nuclei.without
        return sum(n for class_id, n in self._counts.items() if class_id not in without)

    # ---- what is told

    def fault(self) -> str:
        """Return what keeps it from being written."""
        return super().fault() or ("There is no such nucleus." if self.count == 0 else "")

    def note(self) -> str:
        """Return which files would be replaced."""
        there = [file.name for file in self._files() if file.exists()]
        return f"Replaces {', '.join(there)}." if there else ""

    def _files(self) -> list[Path]:
        folder, stem, formats = self.target
        chosen = [FORMATS[key] for key in formats]
        n = self.count or 0
        return [f for one in chosen for f in one.targets(folder / f"{stem}{one.ending}", n)]

    def settle(self) -> None:
        """Tell what was chosen, and what of it is to be remembered."""
        folder, stem, formats = self.target
        nuclei = self.nuclei
        choices = ExportChoices(
            str(folder),
            formats,
            self.area.currentText() if nuclei.within else "",
            tuple(self._name(class_id) for class_id in sorted(nuclei.without)),
            self.simplify.isChecked(),
        )
        order = ExportOrder(folder, stem, formats, nuclei, self.simplify.isChecked())
        self.ordered.emit(order, choices)


def groups_of(names: list[str]) -> dict[str, list[str]]:
    """Return formats by what they are for, each once."""
    groups = {title: [n for n in group if n in names] for title, group in GROUPS.items()}
    placed = {name for group in groups.values() for name in group}
    groups[PYTHON] += [name for name in names if name not in placed]
    return {title: group for title, group in groups.items() if group}


def tip_of(one: Format) -> str:
    """Return what a format keeps of the nuclei and what it does not, and its note."""
    kept = [text for key, text in KEPT.items() if getattr(one.keeps, key)]
    lost = [text for key, text in KEPT.items() if not getattr(one.keeps, key)]
    lines = [f"*{one.ending}"]
    if one.keeps == Keeps():
        lines.append("Keeps everything.")
    else:
        lines += [f"Keeps {', '.join(kept)}." if kept else "", f"Without {', '.join(lost)}."]
    if not one.is_read and "import" not in one.note:
        lines.append("Cannot be imported again.")
    return "\n".join(filter(None, (*lines, one.note)))


def _scrolled(content: QWidget, height: int) -> QScrollArea:
    area = QScrollArea()
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setMaximumHeight(height)
    area.setMinimumHeight(min(height, content.sizeHint().height()))
    return area
