"""The review group of the Correct tab: how far it has come, the doubtful nuclei, signing off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.session.regions import Region, RegionKind
from napari_nucleus.session.review import ReviewProgress
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.keys import current_keys
from napari_nucleus.widgets.progress_bar import ProgressBar

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["ReviewBox"]

BAR_HEIGHT = 6

WORDS = {RegionKind.REVIEWED: "Signed off", RegionKind.EXCLUDED: "Excluded"}


class ReviewBox(QGroupBox):
    """Shows the progress of the review and steps through the doubtful nuclei."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__("Review", parent)
        self._workspace = workspace
        keys = current_keys()
        self.progress = QLabel()
        self.progress.setWordWrap(True)
        self.progress.setToolTip(
            "Looked at: nuclei that you made, changed or accepted. Excluded regions are no part of "
            "the area"
        )
        self.bar = ProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(BAR_HEIGHT)
        self.bar.setToolTip("Share of the nuclei that are looked at")
        self.before = QPushButton("Back")
        self.before.setToolTip(f"The doubtful nucleus before ({keys['previous_doubtful']})")
        self.accept = QPushButton("Accept")
        self.accept.setToolTip(f"Accept it and go to the next ({keys['accept']})")
        self.next = QPushButton("Next")
        self.next.setToolTip(
            f"The next doubtful nucleus, the worst first ({keys['next_doubtful']})"
        )
        self.view = QPushButton("Sign off view")
        self.view.setToolTip(
            "Note what the canvas shows as reviewed, and accept all its nuclei "
            f"({keys['sign_off_view']})"
        )
        self.drawn = QPushButton("Sign off drawn")
        self.drawn.setToolTip("Note a drawn region as reviewed, and accept all its nuclei")
        self.lift = QPushButton("Lift")
        self.lift.setToolTip(
            "Lift a region that is signed off or excluded; the key lifts the one under the pointer "
            f"({keys['lift_region']})"
        )
        self.regions = QMenu(self.lift)
        self.lift.setMenu(self.regions)

        queue, sign = QHBoxLayout(), QHBoxLayout()
        for button in (self.before, self.accept, self.next):
            queue.addWidget(button, 1)
        for button in (self.view, self.drawn):
            sign.addWidget(button, 3)
        sign.addWidget(self.lift, 2)
        lines = QVBoxLayout(self)
        lines.addWidget(self.progress)
        lines.addWidget(self.bar)
        lines.addLayout(queue)
        lines.addLayout(sign)

        self.before.clicked.connect(self._act(lambda a: a.reviewing.next(forward=False)))
        self.accept.clicked.connect(self._act(lambda a: a.reviewing.accept()))
        self.next.clicked.connect(self._act(lambda a: a.reviewing.next()))
        self.view.clicked.connect(lambda: workspace.regions.sign_off_view())
        self.drawn.clicked.connect(lambda: workspace.regions.sign_off_drawn())
        self.regions.aboutToShow.connect(self._list_regions)
        self.regions.triggered.connect(self._on_lift)
        workspace.annotation_changed.connect(self.refresh)
        workspace.document_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show how far the review has come."""
        annotation = self._workspace.annotation
        if annotation is None:
            self.progress.setText("")
            self.bar.set_progress(0, 1)
            self.lift.setEnabled(False)
            return
        done = ReviewProgress.of(annotation.document)
        self.progress.setText(
            f"{done.looked_at:,} of {done.nuclei:,} looked at · "
            f"{percent(done.signed_off)} of the area signed off"
        )
        self.bar.set_progress(done.looked_at, max(done.nuclei, 1))
        self.lift.setEnabled(bool(annotation.document.regions))

    def _list_regions(self) -> None:
        """Fill the menu with the regions there are, the newest first."""
        self.regions.clear()
        annotation = self._workspace.annotation
        if annotation is None:
            return
        for region in reversed(annotation.document.regions):
            entry = self.regions.addAction(describe(region, annotation.mpp))
            assert entry is not None
            entry.setData(region.id)

    def _on_lift(self, entry: QAction) -> None:
        self._workspace.regions.lift(entry.data())

    def _act(self, act: Callable[[Annotation], None]) -> Callable[..., None]:
        def on_click(*_: object) -> None:
            if self._workspace.annotation is not None:
                act(self._workspace.annotation)

        return on_click


def percent(share: float) -> str:
    """Return a share in words that never say all or nothing where it is not so."""
    if 0 < share < 0.01:
        return "less than 1 %"
    return f"{int(100 * share + 1e-9)} %"


def describe(region: Region, mpp: float | None) -> str:
    """Return a region in words: what, how large, when, by whom."""
    size = f"{region.area:,.0f} px" if mpp is None else f"{region.area * mpp**2 / 1e6:.3g} mm²"
    words = [f"{WORDS[region.kind]} {region.id}", size]
    try:
        words.append(datetime.fromisoformat(region.made).astimezone().strftime("%Y-%m-%d %H:%M"))
    except ValueError:
        words.append(region.made)
    return ", ".join(word for word in (*words, region.annotator, region.note) if word)
