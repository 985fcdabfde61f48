"""The dialog of class schemes: choose one or write one, and see what becomes of the nuclei."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.classes import KEYS, ClassScheme
from napari_nucleus.core.schemes import SCHEMES, scheme_of_text, text_of_scheme
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.atomic import replacing
from napari_nucleus.session.scheme_draft import SchemeDraft
from napari_nucleus.widgets.progress_bar import ProgressBar
from napari_nucleus.widgets.stepping import Stepping
from napari_nucleus.widgets.swatches import swatch

__all__ = ["SchemeDialog"]

COLOR, NAME, KEY = 0, 1, 2
"""Columns of the table."""

FILES = "Class scheme (*.json)"

UNCLASSIFIED = "unclassified"


class SchemeDialog(QDialog):
    """A dialog that does not block; emits ``chosen(scheme, for_new_projects)``.

    Parameters
    ----------
    present
        The scheme that the document has.
    counts
        Number of its nuclei by class id.
    model
        The classes that the model tells apart, or None.
    own
        The user's own scheme that was used last, or None.
    change
        Begins the change to a scheme.
    """

    chosen = Signal(ClassScheme, bool)

    def __init__(
        self,
        present: ClassScheme,
        counts: dict[int, int],
        model: ClassScheme | None,
        own: ClassScheme | None,
        change: Callable[[ClassScheme], Stepping],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Classes")
        self.draft = SchemeDraft(present, model)
        self._counts, self._change = counts, change
        self._schemes = [present, *(s for s in (*SCHEMES.values(), own) if s and s != present)]
        self._rescheming: Stepping | None = None

        self.schemes = QComboBox()
        for i, scheme in enumerate(self._schemes):
            self.schemes.addItem(scheme.name if i else f"{scheme.name} (as it is now)")
        self.schemes.setToolTip("Begin with the classes of this scheme")
        self.load = QPushButton("Load…")
        self.load.setToolTip("Begin with a scheme from a file")
        self.save = QPushButton("Save…")
        self.save.setToolTip("Write the scheme to a file, for colleagues and other computers")
        self.name = QLineEdit()
        self.name.setToolTip("What the scheme is called")
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["Colour", "Class", "Key"])
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.setMinimumHeight(190)
        rows, columns = self.table.verticalHeader(), self.table.horizontalHeader()
        assert rows is not None
        assert columns is not None
        rows.hide()
        rows.setDefaultSectionSize(30)
        columns.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(COLOR, 64)
        self.table.setColumnWidth(KEY, 72)
        self.add = QPushButton("Add")
        self.add.setToolTip("Add a class")
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Take the chosen class away")
        self.up = QPushButton("Up")
        self.up.setToolTip("Move the chosen class up")
        self.down = QPushButton("Down")
        self.down.setToolTip("Move the chosen class down")
        self.unknown = QPushButton("Unclassified")
        self.unknown.setToolTip("The colour of nuclei without a class")
        self.targets: list[QComboBox] = []
        self.effect = QLabel()
        self.effect.setWordWrap(True)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setStyleSheet("color: #ffb000;")
        self.for_new = QCheckBox("Use these classes for new projects, too")
        self.bar = ProgressBar()
        self.bar.setFormat("%v of %m nuclei")
        self.bar.hide()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.apply = QPushButton("Change classes")
        self.buttons.addButton(self.apply, QDialogButtonBox.ButtonRole.AcceptRole)
        self._lay_out()

        self.schemes.currentIndexChanged.connect(self._on_scheme)
        self.load.clicked.connect(self._on_load)
        self.save.clicked.connect(self._on_save)
        self.name.textEdited.connect(self._on_name)
        self.table.itemChanged.connect(self._on_item)
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.up.clicked.connect(partial(self._on_move, -1))
        self.down.clicked.connect(partial(self._on_move, 1))
        self.unknown.clicked.connect(self._on_unknown)
        self.apply.clicked.connect(self._on_apply)
        self.buttons.rejected.connect(self.reject)
        self._show_all()

    def _lay_out(self) -> None:
        head = QGridLayout()
        head.setColumnStretch(1, 1)
        for column, widget in enumerate((QLabel("Scheme"), self.schemes, self.load, self.save)):
            head.addWidget(widget, 0, column)
        head.addWidget(QLabel("Name"), 1, 0)
        head.addWidget(self.name, 1, 1, 1, 3)
        changes = QHBoxLayout()
        for button in (self.add, self.remove, self.up, self.down):
            changes.addWidget(button)
        changes.addStretch(1)
        changes.addWidget(self.unknown)
        becomes = QGroupBox("What becomes of each class")
        inside = QWidget()
        self._lines = QGridLayout(inside)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.setColumnStretch(1, 1)
        self._lines.setColumnStretch(3, 1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(inside)
        scroll.setMinimumHeight(min(170, 36 * len(self.draft.sources) + 8))
        QVBoxLayout(becomes).addWidget(scroll)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addLayout(head)
        layout.addWidget(self.table, 2)
        layout.addLayout(changes)
        layout.addWidget(becomes, 1)
        for widget in (self.effect, self.problem, self.for_new, self.bar, self.buttons):
            layout.addWidget(widget)
        self.resize(480, 640)

    # ---- showing

    def _show_all(self, row: int = -1) -> None:
        """Show the draft anew, with this row chosen."""
        draft = self.draft
        self.table.blockSignals(True)
        self.table.setRowCount(len(draft.classes))
        for place, one in enumerate(draft.classes):
            color = QPushButton(swatch(one.color), "")
            color.setFlat(True)
            color.setToolTip(f"Choose another colour for {one.name}")
            color.clicked.connect(partial(self._on_color, place))
            key = QComboBox()
            key.addItems(["", *KEYS] + ([one.key] if one.key not in ("", *KEYS) else []))
            key.setCurrentText(one.key)
            key.setToolTip("The key that gives the nucleus under the pointer this class")
            key.currentTextChanged.connect(partial(self._on_key, place))
            self.table.setCellWidget(place, COLOR, color)
            self.table.setItem(place, NAME, QTableWidgetItem(one.name))
            self.table.setCellWidget(place, KEY, key)
        self.table.blockSignals(False)
        if row >= 0:
            self.table.selectRow(min(row, len(draft.classes) - 1))
        self.unknown.setIcon(swatch(draft.unknown_color))
        self._show_rest()

    def _show_rest(self) -> None:
        """Show what follows from the classes."""
        draft = self.draft
        if self.name.text() != draft.name:
            self.name.setText(draft.name)
        self._show_targets()
        problem = draft.problem
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        self.apply.setEnabled(not problem)
        self.save.setEnabled(not problem)
        lost, total = draft.unclassified(self._counts), sum(self._counts.values())
        had = total - self._counts.get(0, 0)
        if not had:
            text = "No nucleus has a class yet."
        elif lost:
            text = f"{lost:,} of {had:,} nuclei with a class become unclassified."
        else:
            text = f"All {had:,} nuclei with a class keep one."
        self.effect.setText(f"{text} It is one step; undo takes it back.")

    def _show_targets(self) -> None:
        draft = self.draft
        while self._lines.count():
            item = self._lines.takeAt(0)
            widget = None if item is None else item.widget()
            if widget is not None:
                widget.deleteLater()
        self.targets = []
        present = len(self._schemes[0].classes)
        for line, (source, target) in enumerate(zip(draft.sources, draft.targets(), strict=True)):
            count = f"{self._counts.get(source.id, 0):,}" if line < present else "from the model"
            square, label = QLabel(), QLabel(f"{source.name} ({count})")
            square.setPixmap(swatch(source.color).pixmap(12, 12))
            box = QComboBox()
            box.addItem(swatch(draft.unknown_color), UNCLASSIFIED)
            for one in draft.classes:
                box.addItem(swatch(one.color), one.name)
            box.setCurrentIndex(0 if target is None else target + 1)
            box.currentIndexChanged.connect(partial(self._on_target, source.name))
            self.targets.append(box)
            for column, widget in enumerate((square, label, QLabel("→"), box)):
                self._lines.addWidget(widget, line, column)
        self._lines.setRowStretch(len(draft.sources), 1)

    # ---- what the user does

    def _on_scheme(self, index: int) -> None:
        self.draft.begin(self._schemes[index])
        self._show_all()

    def _on_name(self, text: str) -> None:
        self.draft.name = text
        self._show_rest()

    def _on_item(self, item: QTableWidgetItem) -> None:
        self.draft.rename(item.row(), item.text())
        self._show_rest()

    def _on_key(self, place: int, key: str) -> None:
        self.draft.classes[place].key = key
        self._show_rest()

    def _on_color(self, place: int, *_: object) -> None:
        one = self.draft.classes[place]

        def take(color: tuple[int, int, int]) -> None:
            one.color = color
            self._show_all(place)

        self._ask_color(one.color, f"Colour of {one.name}", take)

    def _on_unknown(self) -> None:
        def take(color: tuple[int, int, int]) -> None:
            self.draft.unknown_color = color
            self._show_all()

        self._ask_color(self.draft.unknown_color, "Colour of unclassified nuclei", take)

    def _ask_color(
        self,
        color: tuple[int, int, int],
        title: str,
        take: Callable[[tuple[int, int, int]], None],
    ) -> None:
        dialog = QColorDialog(QColor(*color), self)
        dialog.setWindowTitle(title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.colorSelected.connect(lambda new: take((new.red(), new.green(), new.blue())))
        dialog.open()

    def _on_add(self) -> None:
        self.draft.add()
        self._show_all(len(self.draft.classes) - 1)

    def _on_remove(self) -> None:
        place = self.table.currentRow()
        if 0 <= place < len(self.draft.classes):
            self.draft.remove(place)
            self._show_all(place)

    def _on_move(self, by: int, *_: object) -> None:
        place = self.table.currentRow()
        if place >= 0:
            self._show_all(self.draft.move(place, by))

    def _on_target(self, name: str, index: int) -> None:
        self.draft.decide(name, index - 1 if index > 0 else None)
        self._show_rest()

    # ---- files

    def _on_load(self) -> None:
        self._ask_file("Load a class scheme", self.load_from)

    def _on_save(self) -> None:
        dialog = self._ask_file("Save the class scheme", self.save_to)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setFileMode(QFileDialog.FileMode.AnyFile)
        dialog.setDefaultSuffix("json")
        dialog.selectFile(f"{self.draft.name}.json")

    def _ask_file(self, title: str, take: Callable[[Path], None]) -> QFileDialog:
        dialog = QFileDialog(self, title, str(Path.home()), FILES)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda path: take(Path(path)))
        dialog.open()
        return dialog

    def load_from(self, path: Path) -> None:
        """Begin with the scheme in a file, or say what is wrong with it."""
        try:
            scheme = scheme_of_text(path.read_bytes())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._say(f"{path.name}: {reason}; the classes are as they were.")
            return
        self.draft.begin(scheme)
        self._show_all()

    def save_to(self, path: Path) -> None:
        """Write the scheme to a file, or say why that does not go."""
        try:
            with replacing(path) as file:
                file.write(text_of_scheme(self.draft.scheme()).encode())
        except AnnotationError as error:
            self._say(str(error))

    def _say(self, sentence: str) -> None:
        self.problem.setText(sentence)
        self.problem.show()

    # ---- making it true

    def _on_apply(self) -> None:
        scheme = self.draft.scheme()
        for widget in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            widget.setEnabled(widget in (self.bar, self.buttons))
        self.apply.setEnabled(False)
        total = max(sum(self._counts.values()), 1)
        self.bar.set_progress(0, total)
        self.bar.show()
        change = self._rescheming = self._change(scheme)
        change.progressed.connect(lambda done: self.bar.set_progress(done, total))
        change.failed.connect(self._on_failed)
        change.ended.connect(partial(self._on_ended, scheme))
        change.start()

    def _on_failed(self, sentence: str) -> None:
        self.bar.hide()
        for widget in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            widget.setEnabled(True)
        self._show_rest()
        self._say(sentence)

    def _on_ended(self, scheme: ClassScheme, result: object) -> None:
        self._rescheming = None
        if result is not None:
            self.chosen.emit(scheme, self.for_new.isChecked())
            self.accept()

    def reject(self) -> None:
        """Close; a change under way is given up."""
        if self._rescheming is not None:
            self._rescheming.stop()
        super().reject()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Give up a change under way."""
        if self._rescheming is not None:
            self._rescheming.stop()
        super().closeEvent(event)
