"""The nuclei of a document as arrays of cells, kept up with its changes row by row.

To measure 150,000 nuclei after one of them got another class, their rows need not be read again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL, Cells, canonical_classes
from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box
from napari_nucleus.session.table import NucleusRow

__all__ = ["CellBook"]

USER = -1
"""In the place of a model, where the user has named the class or nobody has."""


class CellBook:
    """Centroid, area and class of nuclei, and which model named the class; ordered by id."""

    def __init__(self) -> None:
        self._models: list[str] = []
        self.clear()

    def clear(self) -> None:
        """Forget all nuclei."""
        self._ids = np.zeros(0, np.int64)
        self._yx = np.zeros((0, 2))
        self._areas = np.zeros(0)
        self._classes = np.zeros(0, np.int64)
        self._named_by = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def models(self) -> set[str]:
        """Names of the models from which nuclei have their class."""
        numbers = np.bincount(self._named_by - USER, minlength=len(self._models) + 1)[1:]
        return {name for name, n in zip(self._models, numbers.tolist(), strict=True) if n}

    def put(self, rows: Iterable[NucleusRow]) -> set[int]:
        """Take in rows; return the ids of those that are new or otherwise than before."""
        some = sorted(rows, key=lambda row: row.id)
        if not some:
            return set()
        fresh = (
            np.array([row.id for row in some], np.int64),
            np.array([row.centroid_yx for row in some], np.float64).reshape(-1, 2),
            np.array([row.area for row in some], np.float64),
            np.array([row.class_id for row in some], np.int64),
            np.array([self._namer(row) for row in some], np.int64),
        )
        places, known = self._places(fresh[0])
        same = known.copy()
        for values, new in zip(self._arrays(), fresh, strict=True):
            equal = values[places[known]] == new[known]
            same[known] &= equal if equal.ndim == 1 else equal.all(axis=1)
        for values, new in zip(self._arrays(), fresh, strict=True):
            values[places[known]] = new[known]
        if not known.all():
            self._set(
                np.insert(values, places[~known], new[~known], axis=0)
                for values, new in zip(self._arrays(), fresh, strict=True)
            )
        return set(fresh[0][~same].tolist())

    def drop(self, ids: Sequence[int]) -> None:
        """Let go of nuclei that are gone."""
        places, known = self._places(np.array(sorted(ids), np.int64))
        if known.any():
            self._set(np.delete(values, places[known], axis=0) for values in self._arrays())

    def gone_from(self, box: Box, present: Collection[int]) -> list[int]:
        """Return the nuclei with their centroid in a level-0 box that are not among those there."""
        inside = np.all((self._yx >= box[:2]) & (self._yx < box[2:]), axis=1)
        return [i for i in self._ids[inside].tolist() if i not in present]

    def cells(
        self, scheme: ClassScheme, mpp: float, ids: Sequence[int] | None = None
    ) -> tuple[Cells, tuple[int, ...]]:
        """Return cells, and the canonical classes that a scheme does not tell apart.

        Parameters
        ----------
        scheme
            The document's classes.
        mpp
            Micrometres per pixel.
        ids
            Of these nuclei, which must be there; of all by default.
        """
        which = slice(None) if ids is None else self._places(np.array(sorted(ids), np.int64))[0]
        classes, together = canonical_classes(self._classes[which], scheme)
        cells = Cells(
            self._yx[which].copy(), self._areas[which].copy(), classes, mpp, self._ids[which].copy()
        )
        return cells, together

    def guessed_yx(self, scheme: ClassScheme, models: Collection[str]) -> NDArray[np.float64]:
        """Return the centroids ``(n, 2)`` of neoplastic and epithelial nuclei named by a model.

        Parameters
        ----------
        scheme
            The document's classes.
        models
            Models that do not tell the two apart.
        """
        numbers = [i for i, name in enumerate(self._models) if name in models]
        named = np.isin(self._named_by, numbers)
        classes = canonical_classes(self._classes[named], scheme)[0]
        return self._yx[named][np.isin(classes, NEOPLASTIC_OR_EPITHELIAL)]

    def _namer(self, row: NucleusRow) -> int:
        # Once the user has named the class, there are no probabilities of a model any more.
        if not (row.class_id and row.class_prob):
            return USER
        if row.source not in self._models:
            self._models.append(row.source)
        return self._models.index(row.source)

    def _arrays(self) -> tuple[NDArray, ...]:
        return self._ids, self._yx, self._areas, self._classes, self._named_by

    def _set(self, arrays: Iterable[NDArray]) -> None:
        self._ids, self._yx, self._areas, self._classes, self._named_by = arrays

    def _places(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return where ids are or would be put in, and which of them are there."""
        places = np.searchsorted(self._ids, ids)
        known = places < len(self._ids)
        known[known] = self._ids[places[known]] == ids[known]
        return places, known
