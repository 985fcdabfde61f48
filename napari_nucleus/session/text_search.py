"""What a text model finds in the image of a document, put together with the nuclei it has.

Its nuclei come in tile by tile, as those of a comparison do, and change nothing: `found` are those
that the text asks for, beside them come those of other wordings of the same. When all are there,
they and the nuclei of the document make one table, on which the query is answered: nuclei of the
document that are meant, and new ones as `Proposals`.

A nucleus of the document keeps the class it has. One that the model found as well is surer of
being meant; one that only some of the wordings led to is doubtful, and so is one whose class the
model contradicts.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, box_intersection, clip_box, pad_box
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.morphology import overlapping_pairs
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.query import Answer, NucleiTable, Query, prepare
from napari_nucleus.core.query import answer as answer_query
from napari_nucleus.session.agreement import SAME_IOU
from napari_nucleus.session.document import Document
from napari_nucleus.session.masks import place_mask
from napari_nucleus.session.placement import KEPT_SHARE, in_scheme
from napari_nucleus.session.proposals import Proposals
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.query_table import query_table_in_steps
from napari_nucleus.session.regions import Ground, Polygons
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusState

__all__ = ["LOW_AGREEMENT", "TextFound", "TextSearch"]

LOW_AGREEMENT = 0.8
"""Agreement (Dice) below which nuclei that not all wordings led to are to be reviewed."""

UNSEEN = 0.7
"""What the score of a nucleus is multiplied with where the model looked and did not find it."""

AROUND = 256
"""Pixels around a preview whose nuclei may be neighbours of those in it."""

BATCH = 250
"""Nuclei that are looked at between two pauses."""


@dataclass(frozen=True, eq=False)
class TextFound:
    """What a text means in a document.

    Parameters
    ----------
    query
        How it was understood.
    ids, scores
        ``(k,)`` nuclei of the document that are meant, ascending, and how sure that is.
    boxes
        ``(k, 4)`` where they lie, level-0 pixels.
    new
        Nuclei that are meant and that the document does not have.
    agreement
        How far other wordings lead to the same, 0–1; None where no model was asked.
    doubtful
        Nuclei of the document that only some wordings led to, with the share of those that did not.
    sentence
        How it was understood and what was found, in a line.
    """

    query: Query
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.integer]
    new: Proposals
    agreement: float | None
    doubtful: dict[int, float]
    sentence: str

    def __len__(self) -> int:
        return len(self.ids) + len(self.new)


class TextSearch:
    """A search for what a text means.

    Parameters
    ----------
    document
        Where it is searched.
    query
        What is meant.
    made_by
        The model that is asked; None to look among the nuclei of the document alone.
    box, within
        Level-0 box and polygons to search in; everywhere in the box if there are none.
    source, border
        The image, and what the tumour border goes around; see `query_table_in_steps`.
    before
        A table of the document as it was earlier.
    only_box
        Look at nothing but the box and `AROUND` pixels around it: fast, for a preview. What is
        large or small is then measured by the nuclei there.
    guessing
        Names of models that do not tell neoplastic from epithelial nuclei.
    """

    def __init__(
        self,
        document: Document,
        query: Query,
        made_by: MadeBy | None,
        box: Box,
        within: Polygons = (),
        source: ImageSource | None = None,
        border: shapely.Geometry | None = None,
        before: NucleiTable | None = None,
        only_box: bool = False,
        guessing: Collection[str] = (),
    ) -> None:
        self.query, self.made_by = query, made_by
        self.ground = Ground(within, document.regions)
        self._asked_for = Ground(within)
        self.table: NucleiTable | None = None
        self._document, self._box = document, box
        self._source, self._border, self._before = source, border, before
        self._seen = clip_box(pad_box(box, AROUND), document.shape) if only_box else None
        self._guessing = frozenset(guessing)
        self._found: list[Nuclei] = []
        self._wordings: list[list[Nuclei]] = []
        self._cores: list[Box] = []

    def add_tile(self, core: Box, found: Nuclei) -> None:
        """Take in what the text led to in a tile; each part of the image comes once.

        Parameters
        ----------
        core
            The part of the image whose nuclei the tile owns, level-0 pixels.
        found
            Nuclei that the tile owns, in level-0 pixels.
        """
        self._cores.append(core)
        self._found.append(found)

    def add_wordings(self, core: Box, others: Sequence[Nuclei]) -> None:
        """Take in what other wordings led to in a tile, in level-0 pixels.

        Nuclei whose centroid lies off the core are left to the other tiles.
        """
        while len(self._wordings) < len(others):
            self._wordings.append([])
        y0, x0, y1, x1 = core
        for kept, nuclei in zip(self._wordings, others, strict=True):
            y, x = nuclei.centroids_yx.T
            kept.append(nuclei.select((y >= y0) & (y < y1) & (x >= x0) & (x < x1)))

    def conclude(self) -> TextFound:
        """Return what came of it."""
        return finished(self.conclude_in_steps())

    def conclude_in_steps(self) -> Generator[None, None, TextFound]:
        """Return what came of it, pausing after every `BATCH` nuclei and every block of pixels.

        Raises
        ------
        QueryError
            If the query cannot be answered here; a sentence for the user.
        """
        document, first = self._document, self._document.store.next_id
        found = Nuclei.concatenate(self._found)
        support = self._support(found)
        yield
        own = yield from query_table_in_steps(
            document, self._border, self._source, self._before, self._seen, self._guessing
        )
        seen, free = dict[int, float](), np.zeros(len(found), np.bool_)
        for begin in range(0, len(found), BATCH):
            for i in range(begin, min(begin + BATCH, len(found))):
                known, free[i] = self._place(found, i)
                if known:
                    seen[known] = max(seen.get(known, 0.0), float(support[i]))
            yield
        new, support = found.select(free), support[free]
        guess = self.made_by is not None and self.made_by.model in self._guessing
        table = _joined(own, new, document, self.made_by, first, guess) if len(new) else own
        for _ in prepare(self.query, table):
            yield
        meant = answer_query(self.query, table)
        self.table = own
        old = meant.ids < first
        ids, scores, boxes = self._of_document(meant, old, own, seen)
        at = (meant.ids[~old] - first).astype(np.int64)
        chosen = new.select(at)
        sure = (meant.scores[~old] * support[at]).astype(np.float32)
        proposals = Proposals(
            document,
            replace(chosen, score=sure),
            self.made_by or MadeBy(""),
            [chosen.centroids_yx],
        )
        yield from proposals.look_in_steps()
        agreement = self._agreement()
        doubtful = {i: 1 - seen[i] for i in ids.tolist() if seen.get(i, 1.0) < 1}
        sentence = self._sentence(len(ids), len(proposals), agreement, meant.note)
        return TextFound(self.query, ids, scores, boxes, proposals, agreement, doubtful, sentence)

    def _of_document(
        self, meant: Answer, old: NDArray[np.bool_], own: NucleiTable, seen: dict[int, float]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.integer]]:
        """Return those nuclei of the document that are meant and lie where it was searched.

        With their scores and boxes.
        """
        ids, scores = meant.ids[old], meant.scores[old].copy()
        rows = np.searchsorted(own.ids, ids)
        points = own.centroids_yx[rows]
        y0, x0, y1, x1 = self._box
        y, x = points.T
        inside = (y >= y0) & (y < y1) & (x >= x0) & (x < x1) & self._asked_for.holds(points)
        if self.made_by is not None:
            looked = self._looked(points)
            mine = np.isin(own.states[rows], [str(NucleusState.USER), str(NucleusState.ACCEPTED)])
            share = np.array([seen.get(i, 0.0) for i in ids.tolist()])
            scores[looked & ~mine] *= (UNSEEN + (1 - UNSEEN) * share)[looked & ~mine]
        return ids[inside], scores[inside], own.boxes[rows][inside]

    def _looked(self, points_yx: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which points ``(n, 2)`` lie where the model has looked."""
        if not self._cores:
            return np.zeros(len(points_yx), np.bool_)
        cores = np.array(self._cores, float)
        tree = shapely.STRtree(shapely.box(cores[:, 1], cores[:, 0], cores[:, 3], cores[:, 2]))
        y, x = points_yx.T
        hit, _ = tree.query(shapely.points(x, y), predicate="intersects")
        looked = np.zeros(len(points_yx), np.bool_)
        looked[hit] = True
        return looked

    def _place(self, found: Nuclei, i: int) -> tuple[int, bool]:
        """Return which nucleus of the document one that was found is, 0 for none; if it is free."""
        document = self._document
        box = clip_box(found.boxes[i], document.shape)
        mask = place_mask(found.masks[i], tuple(found.boxes[i].tolist()), box)
        area = int(np.count_nonzero(mask))
        if not area:
            return 0, False
        held = document.store.read_labels(box)[mask]
        ids, counts = np.unique(held[held > 0], return_counts=True)
        for nucleus, common in zip(ids.tolist(), counts.tolist(), strict=True):
            row = document.row(nucleus)
            if common >= SAME_IOU * (area + row.area - common):
                return nucleus, False
        free = area - int(counts.sum()) >= KEPT_SHARE * area
        y, x = np.mean(np.nonzero(mask), axis=1) + 0.5 + box[:2]
        return 0, free and bool(self.ground.holds(np.array([[y, x]]))[0])

    def _support(self, found: Nuclei) -> NDArray[np.float64]:
        """Return which share of the wordings led to each nucleus, ``(n,)``; its own counts."""
        votes = np.ones(len(found))
        for parts in self._wordings:
            i, _, _ = overlapping_pairs(found, Nuclei.concatenate(parts), SAME_IOU)
            votes[np.unique(i)] += 1
        return votes / (1 + len(self._wordings))

    def _agreement(self) -> float | None:
        """Return the mean Dice of all pairs of wordings, by pixels; 1 where none found any."""
        if self.made_by is None or not self._wordings:
            return None
        every = [Nuclei.concatenate(self._found)]
        every += [Nuclei.concatenate(parts) for parts in self._wordings]
        dice = []
        for a in range(len(every)):
            for b in range(a + 1, len(every)):
                both = int(every[a].areas.sum() + every[b].areas.sum())
                _, _, common = overlapping_pairs(every[a], every[b], 0.0)
                dice.append(2 * int(common.sum()) / both if both else 1.0)
        return float(np.mean(dice))

    def _sentence(self, old: int, new: int, agreement: float | None, note: str) -> str:
        text = self.query.describe(old + new)
        if new:
            text += f" ({old:,} here, {new:,} new)"
        if agreement is not None:
            text += f". Other wordings agree {100 * agreement:.0f} %"
        return f"{text}. {note}".strip() if note else f"{text}."


def _joined(
    own: NucleiTable,
    new: Nuclei,
    document: Document,
    made_by: MadeBy | None,
    first: int,
    guess: bool,
) -> NucleiTable:
    """Return a table of a document's nuclei and of new ones, which are numbered from ``first``.

    ``guess`` is True if the model of the new ones does not tell neoplastic from epithelial.
    """
    classes = None if made_by is None else made_by.classes
    class_ids, in_ours = in_scheme(new, document.scheme, classes)
    n = len(new)
    boxes = np.array([clip_box(box, document.shape) for box in new.boxes], np.int32).reshape(n, 4)
    store = document.store

    def read(box: Box) -> NDArray[np.int32]:
        labels = store.read_labels(box)
        meets = np.all((boxes[:, :2] < box[2:]) & (boxes[:, 2:] > box[:2]), axis=1)
        for i in np.flatnonzero(meets).tolist():
            part = box_intersection(tuple(new.boxes[i].tolist()), box)
            if part is None:
                continue
            mask = place_mask(new.masks[i], tuple(new.boxes[i].tolist()), part)
            there = labels[part[0] - box[0] : part[2] - box[0], part[1] - box[1] : part[3] - box[1]]
            there[mask & (there == 0)] = first + i
        return labels

    prob = in_ours.class_prob
    if prob.shape[1] != len(document.scheme):
        prob = document.scheme.one_hot(class_ids)
    joined = NucleiTable(
        np.concatenate([own.ids, first + np.arange(n, dtype=np.int64)]),
        np.concatenate([own.class_ids, class_ids]),
        np.concatenate([own.class_prob, prob]),
        np.concatenate([own.scores, new.score]),
        np.concatenate([own.areas, new.areas]),
        np.concatenate([own.centroids_yx, new.centroids_yx]),
        np.concatenate([own.boxes, boxes]),
        np.concatenate([own.states, np.full(n, str(NucleusState.AUTOMATIC), own.states.dtype)]),
        np.concatenate([own.doubts, 1 - new.score]),
        own.shape,
        own.scheme,
        own.mpp,
        read,
        own.source,
        own.border,
        None if own.guessed is None else np.append(own.guessed, np.full(n, guess)),
    )
    joined.take_over(own)
    return joined
