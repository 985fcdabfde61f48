"""The dialog of imports: which file, what is in it, what becomes of the nuclei that are here."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.nuclei import counted
from napari_nucleus.io.formats import FORMATS
from napari_nucleus.io.importing import SAME_MPP
from napari_nucleus.session.import_policy import ImportPolicy
from napari_nucleus.widgets.importing import FoundFile, Importing

if TYPE_CHECKING:
    from napari_nucleus.session.document import Document

__all__ = ["ImportDialog"]

POLICIES = {
    ImportPolicy.ADD: (
        "Add what does not overlap",
        "All that is here stays; of the file come the nuclei that find room beside it",
    ),
    ImportPolicy.MERGE: (
        "Merge with what is here",
        "A nucleus that is here as well (IoU of 0.5 or more) takes the file's outline and class, "
        "unless you made, changed or accepted it; the others are added",
    ),
    ImportPolicy.REPLACE: (
        "Replace everything",
        "All nuclei that are here go, yours as well; one Ctrl-Z brings them back",
    ),
}
"""What to call each policy, and what it does."""

AMBER = "#ffb000"

WORDS_HEIGHT = 190
"""Pixels for what is in a file: the classes of any usual scheme without scrolling."""


class ImportDialog(QDialog):
    """A dialog that does not block.

    Parameters
    ----------
    importing
        Reads the files.
    document
        What the nuclei enter.
    folder
        Where files are looked for.

    Attributes
    ----------
    chosen
        Emitted with a `FoundFile` and an `ImportPolicy`.
    """

    chosen = Signal(FoundFile, ImportPolicy)

    def __init__(
        self,
        importing: Importing,
        document: Document,
        folder: Path,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Import nuclei")
        self.setMinimumWidth(460)
        self._importing, self._document, self._folder = importing, document, folder
        self._found: FoundFile | None = None
        self._asked: Path | None = None
        self.file = QLineEdit()
        self.file.setPlaceholderText("A file of nuclei, of QuPath, CellViT, Cellpose…")
        browse = QPushButton("File…")
        browse.setToolTip("Choose a file")
        browse_folder = QPushButton("Zarr…")
        browse_folder.setToolTip("Choose an OME-Zarr, which is a folder")
        self.words = QLabel("Choose a file to see what is in it.")
        self.words.setWordWrap(True)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.words.setTextFormat(Qt.TextFormat.RichText)
        self.policies = {policy: QRadioButton(text) for policy, (text, _) in POLICIES.items()}
        self.policies[ImportPolicy.ADD].setChecked(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.enter = QPushButton("Import")
        buttons.addButton(self.enter, QDialogButtonBox.ButtonRole.AcceptRole)

        line = QHBoxLayout()
        for widget in (self.file, browse, browse_folder):
            line.addWidget(widget)
        here = QGroupBox(f"{counted(document.count).capitalize()} here already")
        column = QVBoxLayout(here)
        for policy, (_, tip) in POLICIES.items():
            column.addWidget(self.policies[policy])
            note = QLabel(tip)
            note.setWordWrap(True)
            note.setEnabled(False)
            note.setContentsMargins(22, 0, 0, 4)
            column.addWidget(note)
        here.setVisible(document.count > 0)
        layout = QVBoxLayout(self)
        layout.addLayout(line)
        layout.addWidget(_scrolled(self.words), 1)
        layout.addWidget(here)
        layout.addWidget(buttons)

        browse.clicked.connect(self._on_browse)
        browse_folder.clicked.connect(self._on_browse_folder)
        self.file.editingFinished.connect(self._on_typed)
        importing.found.connect(self._on_found)
        importing.failed.connect(self._on_failure)
        buttons.accepted.connect(self._on_enter)
        buttons.rejected.connect(self.reject)
        self._show(None)

    def look_into(self, path: Path) -> None:
        """Read a file and show what is in it."""
        self._asked = path
        self.file.setText(str(path))
        self._show(None)
        self.words.setText(f"Reading {escape(path.name)}…")
        self._importing.read(path)

    def done(self, result: int) -> None:
        """Listen no more, whatever is being read."""
        self._importing.drop()
        self._importing.found.disconnect(self._on_found, missing_ok=True)
        self._importing.failed.disconnect(self._on_failure, missing_ok=True)
        super().done(result)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End as by Cancel."""
        self.reject()
        super().closeEvent(event)

    # ---- the file

    def _on_browse(self) -> None:
        endings = dict.fromkeys(
            e
            for f in FORMATS.values()
            if f.is_read and not f.is_folder
            for e in (f.ending, *f.endings)
        )
        patterns = " ".join(f"*{ending}" for ending in endings)
        file, _ = QFileDialog.getOpenFileName(
            self, "File of nuclei", str(self._folder), f"Nuclei ({patterns});;All files (*)"
        )
        if file:
            self.look_into(Path(file))

    def _on_browse_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "OME-Zarr", str(self._folder))
        if folder:
            self.look_into(Path(folder))

    def _on_typed(self) -> None:
        text = self.file.text().strip()
        path = Path(text).expanduser()
        if text and path != self._asked:
            self.look_into(path)

    def _on_failure(self, sentence: str) -> None:
        self.words.setText(_amber(escape(sentence)))

    def _on_found(self, found: FoundFile) -> None:
        self._show(found)

    def _show(self, found: FoundFile | None) -> None:
        self._found = found
        self.enter.setEnabled(found is not None and len(found.incoming) > 0)
        if found is not None:
            self.words.setText(words_of(found, self._document.mpp))

    def _on_enter(self) -> None:
        if self._found is not None:
            found = self._found
            policy = next(p for p, button in self.policies.items() if button.isChecked())
            self.accept()
            self.chosen.emit(found, policy)


def words_of(found: FoundFile, mpp: float | None) -> str:
    """Return what was found in a file, as rich text; ``mpp`` is the image's."""
    annotations, incoming = found.annotations, found.incoming
    lines = [f"<b>{counted(len(annotations))}</b> in {escape(found.path.name)}"]
    warnings = []
    if annotations.mpp and mpp and abs(annotations.mpp / mpp - 1) > SAME_MPP:
        warnings.append(
            f"The file's pixels are {annotations.mpp:.4g} µm, this image's {mpp:.4g} µm: it may be "
            "of another scale."
        )
    if incoming.outside:
        warnings.append(f"{counted(incoming.outside)} outside of the image, left out.")
    if not len(incoming):
        warnings.append("There is nothing to import.")
    lines += [_amber(escape(text)) for text in warnings]
    rows = [
        f"<tr><td><span style='color: rgb{line.color}'>■</span> {escape(line.name)}</td>"
        f"<td align='right'>&nbsp;&nbsp;{line.count:,}&nbsp;&nbsp;</td>"
        f"<td>{_becomes(line.name, line.becomes)}</td></tr>"
        for line in found.classes
    ]
    notes = [
        "Ids are kept where they are free here."
        if annotations.ids_stated
        else "The file states no usable ids; the nuclei get new ones.",
        *map(escape, annotations.notes),
    ]
    return "<br>".join(lines) + f"<table>{''.join(rows)}</table>" + "<br>".join(notes)


def _becomes(name: str, becomes: str) -> str:
    if name.casefold() == becomes.casefold():
        return ""
    if becomes == "unclassified":
        return _amber("becomes unclassified")
    return f"becomes {escape(becomes)}"


def _amber(html: str) -> str:
    return f"<span style='color: {AMBER}'>{html}</span>"


def _scrolled(content: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setMinimumHeight(WORDS_HEIGHT)
    return area
