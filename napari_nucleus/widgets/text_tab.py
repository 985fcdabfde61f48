"""The Text tab: ask for nuclei in words, see what was understood, do something with the answer."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import QStringListModel, Qt, QTimer
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QComboBox,
    QCompleter,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.query import Unknown, completions
from napari_nucleus.errors import NucleusError
from napari_nucleus.session.text_search import LOW_AGREEMENT
from napari_nucleus.widgets.extents import Where
from napari_nucleus.widgets.swatches import swatch
from napari_nucleus.widgets.text_answers import COLORS, TextAnswers

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["TextTab"]

TYPING_MS = 80
"""Milliseconds without a key after which a preview is made."""

PLACES: tuple[tuple[Where, str, str], ...] = (
    ("view", "in view", "Look in the part of the image that the canvas shows"),
    ("region", "in the drawn region", "Look inside the shapes that you draw"),
    ("image", "in the whole image", "Look everywhere, from the middle of the view outwards"),
)

HINT = "lymphocytes near tumour, large round nuclei, area > 80 µm² …"


class TextTab(QWidget):
    """A text box with history and completion, a live preview, and buttons for the answer."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._words: TextAnswers = workspace.words
        self.text = QComboBox()
        self.text.setEditable(True)
        self.text.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.text.setToolTip(
            "Which nuclei? In words; Enter asks. The list has what you asked before"
        )
        self.text.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        line = self.text.lineEdit()
        assert line is not None
        self.line = line
        line.setPlaceholderText(HINT)
        line.setClearButtonEnabled(True)
        line.setMaxLength(20_000)
        self._offers = QStringListModel()
        completer = QCompleter(self._offers, self)
        completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        line.setCompleter(completer)
        self.understood = QLabel()
        self.understood.setWordWrap(True)
        self.understood.setTextFormat(Qt.TextFormat.RichText)
        self.where = QComboBox()
        for where, title, tip in PLACES:
            self.where.addItem(title, where)
            self.where.setItemData(self.where.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.draw = QPushButton("Draw…")
        self.draw.setToolTip("Draw a region: polygon by clicks, ends with a double click")
        self.model = QComboBox()
        self.model.setToolTip("The model that understands the words")
        for model in workspace.models.texts:
            self.model.addItem(model.name)
        self.ask = QPushButton("Find them")
        self.ask.setToolTip(
            "Look there for what was understood, among the nuclei that are there and with the "
            "model. Nothing is changed (Enter)"
        )
        asking = QGroupBox("Ask for nuclei")
        lines = QVBoxLayout(asking)
        lines.addWidget(self.text)
        lines.addWidget(self.understood)
        place = QHBoxLayout()
        place.addWidget(self.where, 1)
        place.addWidget(self.draw)
        lines.addLayout(place)
        if self.model.count() > 1:
            lines.addWidget(self.model)
        lines.addWidget(self.ask)

        self.answer = QGroupBox("Answer")
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.legend = QLabel()
        self.show_it = QPushButton("Show")
        self.show_it.setCheckable(True)
        self.choose = QPushButton("Select")
        self.classify = QPushButton("Set class")
        self.classes = QMenu(self.classify)
        self.classify.setMenu(self.classes)
        self.add_new = QPushButton("Add new")
        self.delete = QPushButton("Delete")
        self.keep_only = QPushButton("Keep only these")
        self.export = QPushButton("Export…")
        self.put_away = QPushButton("Put away")
        for button, tip in (
            (self.show_it, "Show the answer over the image, or hide it"),
            (self.choose, "Choose these nuclei in the Correct tab, to change them together"),
            (self.classify, "Give these nuclei a class, as one undo step"),
            (self.add_new, "Add what only the model found, as one undo step"),
            (self.delete, "Remove these nuclei, as one undo step"),
            (self.keep_only, "Remove all others of the part that was asked about, as one step"),
            (self.export, "Write these nuclei, and no others, to files"),
            (self.put_away, "Forget the answer; the nuclei stay as they are"),
        ):
            button.setToolTip(tip)
        rows = QVBoxLayout(self.answer)
        rows.addWidget(self.sentence)
        rows.addWidget(self.legend)
        for pair in (
            (self.show_it, self.choose),
            (self.classify, self.add_new),
            (self.delete, self.keep_only),
            (self.export, self.put_away),
        ):
            buttons = QHBoxLayout()
            for button in pair:
                buttons.addWidget(button, 1)
            rows.addLayout(buttons)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.setEnabled(False)
        # A small screen has no room for all of it, and words must not be cut off.
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(asking)
        column.addWidget(self.answer)
        column.addStretch(1)
        column.addWidget(self.note)
        scrolled = QScrollArea()
        scrolled.setWidget(content)
        scrolled.setWidgetResizable(True)
        scrolled.setFrameShape(QFrame.Shape.NoFrame)
        scrolled.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled)

        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_MS)
        self._typing.timeout.connect(self._on_rest)
        # The box hands a pressed Enter to its line once more, which must not ask twice.
        self._entering = QTimer(self)
        self._entering.setSingleShot(True)
        self._entering.setInterval(0)
        self._entering.timeout.connect(self._on_ask)
        line.textEdited.connect(self._on_edited)
        line.returnPressed.connect(self._entering.start)
        completer.activated.connect(lambda _: self._typing.start())
        self.text.activated.connect(lambda _: self._typing.start())
        self.ask.clicked.connect(self._on_ask)
        self.draw.clicked.connect(self._on_draw)
        self.model.textActivated.connect(self._on_model)
        self.classes.aboutToShow.connect(self._list_classes)
        self.classes.triggered.connect(self._on_class)
        words = self._words
        self.show_it.clicked.connect(lambda shown: self._act(lambda: _show(words, shown)))
        self.choose.clicked.connect(lambda: self._act(words.choose))
        self.add_new.clicked.connect(lambda: self._act(words.add_new))
        self.delete.clicked.connect(lambda: self._act(words.delete))
        self.keep_only.clicked.connect(lambda: self._act(words.keep_only))
        self.export.clicked.connect(self._on_export)
        self.put_away.clicked.connect(words.put_away)
        words.changed.connect(self.refresh)
        workspace.annotation_changed.connect(self._on_annotation)
        workspace.document_changed.connect(self.refresh)
        workspace.progressed.connect(self._on_progress)
        self._fill_history()
        self._on_annotation()

    # ---- shown

    def refresh(self, *_: object) -> None:
        """Show the answer there is."""
        words, found = self._words, self._words.found
        there = self._workspace.annotation is not None
        for widget in (self.text, self.where, self.draw):
            widget.setEnabled(there)
        self.answer.setVisible(found is not None)
        if found is None:
            return
        ids, new = words.ids, len(found.new)
        self.sentence.setText(words.describe())
        low = found.agreement is not None and found.agreement < LOW_AGREEMENT
        self.sentence.setStyleSheet("color: #ffb000;" if low else "")
        parts = [(1, f"{len(ids):,} here"), (2, f"{new:,} new")]
        self.legend.setText(
            " &nbsp; ".join(f"<span style='color: {COLORS[m]}'>■</span> {t}" for m, t in parts)
        )
        self.show_it.setChecked(words.visible)
        self.add_new.setEnabled(new > 0)
        self.add_new.setText(f"Add {new:,} new" if new else "Add new")
        for button in (self.choose, self.classify, self.delete, self.keep_only, self.export):
            button.setEnabled(bool(ids))

    def _on_annotation(self) -> None:
        self.understood.clear()
        info = None if self._words.model is None else self._words.model.info
        limits = "" if info is None else f"{info.name}: {info.limits}"
        self.note.setText(f"{limits}\nFor research; not for diagnosis.".strip())
        self._on_edited(self.line.text())
        self.refresh()

    def _on_progress(self, report: object) -> None:
        self.ask.setEnabled(report is None and self._workspace.annotation is not None)

    # ---- typing

    def _on_edited(self, text: str) -> None:
        annotation = self._workspace.annotation
        self.ask.setEnabled(annotation is not None and bool(text.strip()))
        if annotation is not None and text.strip():
            self._offers.setStringList(completions(text, annotation.document.scheme))
            self._words.expect(text)
        self._typing.start()

    def _on_rest(self) -> None:
        """Say how the text is understood, and show what it means in view."""
        text = self.line.text()
        if self._workspace.annotation is None:
            return
        if not text.strip():
            self._words.preview("")
            self.understood.setText("")
            return
        query = self._words.preview(text)
        if isinstance(query, Unknown):
            self.understood.setText(f"<span style='color: #ffb000'>{escape(str(query))}</span>")
        else:
            self.understood.setText(f"Understood: <b>{escape(query.describe())}</b>")

    # ---- asking

    def _on_ask(self) -> None:
        text = self.line.text().strip()
        self._typing.stop()
        try:
            extent = self._workspace.extent(self.where.currentData())
            self._words.ask(text, extent)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))
            return
        self._workspace.keeping.preferences.note_asked(text)
        self._fill_history()

    def _fill_history(self) -> None:
        text = self.line.text()
        self.text.clear()
        self.text.addItems(self._workspace.keeping.preferences.asked)
        self.text.setEditText(text)

    def _on_draw(self) -> None:
        if self._workspace.regions.draw() is not None:
            self.where.setCurrentIndex(1)

    def _on_model(self, name: str) -> None:
        self._words.model = next(m for m in self._workspace.models.texts if m.name == name)
        self._on_annotation()

    # ---- the answer

    def _list_classes(self) -> None:
        self.classes.clear()
        annotation = self._workspace.annotation
        if annotation is None:
            return
        for c in annotation.document.scheme.classes:
            entry = self.classes.addAction(swatch(c.color), c.name)
            assert entry is not None
            entry.setData(c.id)

    def _on_class(self, entry: QAction) -> None:
        self._act(lambda: self._words.classify(entry.data()))

    def _on_export(self) -> None:
        self._act(lambda: self._workspace.export_asked.emit(tuple(self._words.ids)))

    def _act(self, act: Callable[[], None]) -> None:
        try:
            act()
        except NucleusError as error:
            self._workspace.warned.emit(str(error))


def _show(words: TextAnswers, shown: bool) -> None:
    words.visible = shown
