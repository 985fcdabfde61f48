"""The annotated document: the truth that every view of the nuclei shows.

Holds no state of its own besides the open runs: labels, table, click memories and history are the
store's. Queries cost what lies in the neighbourhood they ask about. Changes go through `commit`,
`amend`, `undo`, `redo` and `run`, each applied whole or not at all, and are announced after the
store has them. What a user can do with it is in `actions`. To be used from one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal

from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.geometry import Box, clip_box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import MaskLogits, Prompts
from napari_nucleus.session.columns import RowFilter, RowOrder
from napari_nucleus.session.edits import Edit, Touched
from napari_nucleus.session.history import History
from napari_nucleus.session.provenance import MadeBy, known_models
from napari_nucleus.session.regions import Polygons, Region
from napari_nucleus.session.run import Run
from napari_nucleus.session.steps import finished
from napari_nucleus.session.store import Store
from napari_nucleus.session.table import ClickMemory, NucleusRow

__all__ = ["MPP_FACT", "Document"]

MPP_FACT = "mpp"
"""Key under which a store keeps the pixel size; its text is empty while that is unknown."""

HIGHEST_KEPT_ID = 2**31 - 2**24
"""Ids from elsewhere are kept up to here, so that at least 16 million new ones fit into int32."""


class Document:
    """The nuclei of one image.

    Parameters
    ----------
    store
        Where everything is kept.
    scheme
        Classes of the nuclei.
    mpp
        Micrometres per level-0 pixel; None when unknown.

    Attributes
    ----------
    changed
        Emitted as ``changed(box, kinds)`` after a change; ``kinds`` holds some of ``"labels"``,
        ``"classes"`` and ``"table"``. Changes far apart are announced box by box.
    regions_changed
        Emitted after regions have come or gone.
    scheme_changed
        Emitted when `scheme` is another, before what changed with it is announced.
    history_changed
        Emitted when what undo and redo would do has changed.
    """

    scheme_changed: ClassVar[Signal] = Signal()
    changed: ClassVar[Signal] = Signal(tuple, frozenset)
    regions_changed: ClassVar[Signal] = Signal()
    history_changed: ClassVar[Signal] = Signal()

    def __init__(
        self, store: Store, scheme: ClassScheme = PANNUKE, mpp: float | None = None
    ) -> None:
        self.store = store
        self.scheme = scheme
        self._mpp = mpp
        self.history = History(store)
        self._open_runs: dict[int, Run] = {}

    # ---- queries

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel; None when unknown. Setting it is no undo step."""
        return self._mpp

    @mpp.setter
    def mpp(self, mpp: float | None) -> None:
        with self.store.transaction():
            self.store.put_fact(MPP_FACT, "" if mpp is None else repr(float(mpp)))
        self._mpp = mpp

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.store.shape

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return self.store.count()

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions signed off or excluded, by id; the same tuple until one changes."""
        return self.store.regions()

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all nuclei, ascending."""
        return self.store.ids()

    def __contains__(self, nucleus_id: int) -> bool:
        return self.store.row(int(nucleus_id)) is not None

    def counts_by_class(self) -> dict[int, int]:
        """Return the number of nuclei of each class id that has any; 0 is unclassified."""
        return self.store.class_counts()

    def labels(self, box: Box | None = None) -> NDArray[np.int32]:
        """Return a copy of the labels in a box, cut to the image; of the whole image by default."""
        height, width = self.shape
        return self.store.read_labels(
            (0, 0, height, width) if box is None else clip_box(box, self.shape)
        )

    def row(self, nucleus_id: int) -> NucleusRow:
        """Return a nucleus's row; KeyError if there is no such nucleus."""
        row = self.store.row(int(nucleus_id))
        if row is None:
            raise KeyError(f"no nucleus {nucleus_id} in the document")
        return row

    def rows(self, ids: Iterable[int] | None = None) -> list[NucleusRow]:
        """Return the rows of these nuclei, of all by default."""
        if ids is None:
            return self.store.rows()
        wanted = [int(i) for i in ids]
        rows = self.store.rows(wanted)
        if len(rows) != len(wanted):
            missing = sorted(set(wanted) - {row.id for row in rows})
            raise KeyError(f"no nucleus {missing[0]} in the document")
        return rows

    def ordered_ids(
        self, order: RowOrder | None = None, wanted: RowFilter | None = None
    ) -> NDArray[np.int64]:
        """Return the ids ``(n,)`` of the wanted nuclei in an order; of all, by id, by default.

        The first call reads what nuclei are sorted by; ``store.columns.load`` does so bit by bit.
        """
        return self.store.columns.ordered_ids(
            order or RowOrder(), wanted or RowFilter(), self.scheme
        )

    def mask(self, nucleus_id: int) -> tuple[NDArray[np.bool_], Box]:
        """Return a nucleus's pixels ``(h, w)`` and their box; KeyError if there is none."""
        row = self.row(nucleus_id)
        return self.store.read_labels(row.box) == row.id, row.box

    def prompts(self, nucleus_id: int) -> Prompts:
        """Return what the user gave for a nucleus; empty for one without clicks."""
        memory = self.store.memory(int(nucleus_id))
        return Prompts() if memory is None else memory.prompts

    def logits(self, nucleus_id: int) -> MaskLogits | None:
        """Return the logits to feed back for a nucleus, or None."""
        memory = self.store.memory(int(nucleus_id))
        return None if memory is None else memory.logits

    def memory(self, nucleus_id: int) -> ClickMemory | None:
        """Return prompts and logits of a nucleus together, or None."""
        return self.store.memory(int(nucleus_id))

    def contains_point(self, point_yx: ArrayLike) -> bool:
        """Return True if a point lies on the image."""
        y, x = np.asarray(point_yx, float)
        return bool(0 <= y < self.shape[0] and 0 <= x < self.shape[1])

    def id_at(self, point_yx: ArrayLike) -> int | None:
        """Return the nucleus under a point, or None."""
        if not self.contains_point(point_yx):
            return None
        r, c = np.floor(np.asarray(point_yx, float)).astype(int).tolist()
        return int(self.store.read_labels((r, c, r + 1, c + 1))[0, 0]) or None

    def near(self, point_yx: ArrayLike, radius_px: float) -> list[tuple[int, float]]:
        """Return the nuclei with a pixel within a radius of a point, nearest first.

        The distance is to the nearest edge of the nearest pixel, in pixels. A nucleus that lies
        under the point is not among them.
        """
        y, x = np.asarray(point_yx, float)
        if not (np.isfinite(y) and np.isfinite(x)):
            return []
        reach = int(np.ceil(radius_px)) + 1
        r, c = int(np.floor(y)), int(np.floor(x))
        y0, x0, y1, x1 = box = clip_box(
            (r - reach, c - reach, r + reach + 1, c + reach + 1), self.shape
        )
        labels = self.store.read_labels(box)
        if not labels.any():
            return []
        tops, lefts = np.arange(y0, y1), np.arange(x0, x1)
        dy = np.maximum(np.maximum(tops - y, y - tops - 1), 0)
        dx = np.maximum(np.maximum(lefts - x, x - lefts - 1), 0)
        distance = np.hypot(dy[:, None], dx[None, :])
        within = (labels != 0) & (distance <= radius_px) & (labels != (self.id_at((y, x)) or 0))
        best: dict[int, float] = {}
        for i, d in zip(labels[within].tolist(), distance[within].tolist(), strict=True):
            best[i] = min(d, best.get(i, d))
        return sorted(best.items(), key=lambda item: (item[1], item[0]))

    def nearest(self, point_yx: ArrayLike, radius_px: float) -> int | None:
        """Return the nearest nucleus with a pixel within a radius, leaving out one under it."""
        found = self.near(point_yx, radius_px)
        return found[0][0] if found else None

    def ids_in(self, box: Box) -> list[int]:
        """Return the ids of nuclei whose boxes meet ``box``, ascending."""
        return self.store.ids_in(clip_box(box, self.shape))

    def nuclei(self, ids: Iterable[int] | None = None) -> Nuclei:
        """Return these nuclei, all by default, as one batch in level-0 pixels, in this order.

        ``class_prob`` has a column for each class of the scheme: a model's probabilities, or 1 in
        the column of the class where there are none.
        """
        rows = self.rows(ids)
        column = {class_id: i for i, class_id in enumerate(self.scheme.ids)}
        prob = np.zeros((len(rows), len(self.scheme)), np.float32)
        for i, row in enumerate(rows):
            if len(row.class_prob) == len(self.scheme):
                prob[i] = row.class_prob
            elif row.class_id in column:
                prob[i, column[row.class_id]] = 1.0
        return Nuclei(
            np.array([row.box for row in rows], np.int32).reshape(-1, 4),
            tuple(self.store.read_labels(row.box) == row.id for row in rows),
            np.array([row.score for row in rows], np.float32),
            prob,
            tuple(self.logits(row.id) for row in rows),
        )

    @property
    def models(self) -> tuple[MadeBy, ...]:
        """All models that ever made an edit here, undone ones included, the first one first."""
        return known_models(self.store)

    def tiles(self) -> Iterator[tuple[Box, NDArray[np.int32]]]:
        """Yield box and labels of each tile that may hold nuclei, row by row."""
        for box in self.store.tile_boxes():
            yield box, self.store.read_labels(box)

    def to_arrays(self) -> tuple[NDArray[np.int32], list[NucleusRow]]:
        """Return the labels of the whole image, and all rows in the order of their ids."""
        return self.labels(), self.rows()

    # ---- changes

    def reserve_ids(self, n: int, wished: ArrayLike | None = None) -> NDArray[np.int64]:
        """Return ids for n new nuclei and give them to nobody else.

        Ids that are ``wished`` (``(n,)``, from a label map or a file) are kept if they differ and
        none was ever used here; otherwise all n are new.
        """
        first = self.store.next_id
        ids = first + np.arange(n, dtype=np.int64)
        if wished is not None and n:
            kept = np.asarray(wished, np.int64)
            fits = kept.min() >= first and kept.max() <= HIGHEST_KEPT_ID
            if fits and len(np.unique(kept)) == n:
                ids = kept
        if n:
            with self.store.transaction():
                self.store.reserve_ids(int(ids.max()) + 1)
        return ids

    def commit(self, name: str, edits: Iterable[Edit]) -> int | None:
        """Apply edits as one undo step and return its action id; None if there was no edit.

        Edits may come from a generator: each is applied before the next is asked for. If one
        fails, the document is as it was.
        """
        action_id, touched = self.history.record(name, edits)
        self._announce(touched, stepped=action_id is not None)
        return action_id

    def commit_in_steps(
        self, name: str, edits: Iterable[Edit]
    ) -> Generator[None, None, int | None]:
        """Do as `commit`, pausing after each edit.

        It is one transaction all the same: the document must not be changed while it pauses, and
        if the generator is closed, nothing has happened.
        """
        action_id, touched = yield from self.history.record_in_steps(name, edits)
        self._announce(touched, stepped=action_id is not None)
        return action_id

    def amend(self, action_id: int, make: Callable[[], tuple[str, Edit]]) -> None:
        """Put another edit in the place of the last step; see `History.amend`."""
        self._announce(self.history.amend(action_id, make))

    def undo(self) -> str | None:
        """Take back the last step and return its name; None when there is none.

        A run that is still going is stopped when it is its turn.
        """
        return finished(self.undo_in_steps())

    def undo_in_steps(self) -> Generator[None, None, str | None]:
        """Do as `undo`, pausing now and then; see `commit_in_steps`."""
        step = yield from self.history.undo_in_steps()
        if step is None:
            return None
        entry, touched = step
        run = self._open_runs.get(entry.id)
        if run is not None:
            run.stop()
        self._announce(touched)
        return entry.name

    def redo(self) -> str | None:
        """Bring back the step undone last and return its name; None when there is none."""
        return finished(self.redo_in_steps())

    def redo_in_steps(self) -> Generator[None, None, str | None]:
        """Do as `redo`, pausing now and then; see `commit_in_steps`."""
        step = yield from self.history.redo_in_steps()
        if step is None:
            return None
        self._announce(step[1])
        return step[0].name

    @property
    def is_running(self) -> bool:
        """True while nuclei of a run can still come in."""
        return any(not run.stopped for run in self._open_runs.values())

    def run(
        self,
        name: str,
        within: Polygons = (),
        made_by: MadeBy | None = None,
        alike: Collection[int] = (),
    ) -> Run:
        """Begin a long action that adds nuclei tile by tile as one undo step; see `Run`."""
        run = Run(self, self.history.begin(name), name, within, made_by, alike)
        self._open_runs[run.action_id] = run
        self.history_changed.emit()
        return run

    def extend_run(self, run: Run, edit: Edit) -> None:
        """Add an edit to an open run's step; for `Run`."""
        self.history.extend(run.action_id, edit)
        self._announce(Touched.of([edit]))

    def end_run(self, run: Run) -> None:
        """Close a run's step; for `Run`."""
        del self._open_runs[run.action_id]
        self.history.end(run.action_id)
        self.history_changed.emit()

    def _announce(self, touched: Touched, stepped: bool = True) -> None:
        if touched.scheme is not None:
            self.scheme = touched.scheme
            self.scheme_changed.emit()
        kinds = frozenset(touched.kinds)
        for box in touched.areas():
            self.changed.emit(box, kinds)
        if touched.regions:
            self.regions_changed.emit()
        if stepped:
            self.history_changed.emit()
