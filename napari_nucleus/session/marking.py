"""Signing off and excluding regions, with what becomes of the nuclei in them, as one step.

A region may hold any number of nuclei: `Marking` works through it square by square, so that a
viewer can let the user go on between two of them. What lies in it goes by the centroid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np

from napari_nucleus.core.geometry import box_intersection
from napari_nucleus.core.nuclei import counted
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit, NucleusChange, RegionChange
from napari_nucleus.session.grid import TILE_SIZE, cells_of
from napari_nucleus.session.outlines import ActionResult, plan_remove
from napari_nucleus.session.regions import Region, RegionKind, tidy_polygons
from napari_nucleus.session.table import NucleusRow, NucleusState

__all__ = ["Marking", "drop_region", "exclude", "sign_off"]


class Marking:
    """A region on its way into a document.

    Attributes
    ----------
    name
        Name of the undo step.
    region
        The region.
    ids
        Nuclei that were accepted or removed, up to now.
    """

    def __init__(
        self,
        document: Document,
        name: str,
        region: Region,
        change: Callable[[Document, list[NucleusRow]], Edit] | None,
        done: str,
    ) -> None:
        self.name, self.region = name, region
        self.ids: list[int] = []
        self._document, self._change, self._done = document, change, done

    @classmethod
    def sign_off(
        cls, document: Document, polygons: Iterable[Any], note: str = "", made: str = ""
    ) -> Self:
        """Prepare to note a region as reviewed and to accept its untouched nuclei.

        Parameters
        ----------
        polygons
            ``(n, 2)`` corners each, level-0 ``(y, x)``.
        note
            Kept with the region.
        made
            When, as an ISO date and time; by default now.

        Raises
        ------
        EditRefusedError
            If the polygons enclose nothing of the image.
        """
        region = _new_region(document, RegionKind.REVIEWED, polygons, note, made)
        return cls(document, "Sign off region", region, _acceptance, "accepted")

    @classmethod
    def exclude(
        cls,
        document: Document,
        polygons: Iterable[Any],
        remove_nuclei: bool,
        note: str = "",
        made: str = "",
    ) -> Self:
        """Prepare to note a region as excluded, and to remove its untouched nuclei if asked to.

        Parameters and errors as `sign_off`.
        """
        region = _new_region(document, RegionKind.EXCLUDED, polygons, note, made)
        change = _removal if remove_nuclei else None
        return cls(document, "Exclude region", region, change, "removed")

    def edits(self, spared: Callable[[], Collection[int]] = tuple) -> Iterator[Edit]:
        """Yield the edits, the region first; each must be made before the next is asked for.

        Parameters
        ----------
        spared
            Called for each edit: nuclei to leave as they are.
        """
        yield Edit(regions=(RegionChange(None, self.region),))
        if self._change is None:
            return
        for r, c in cells_of(self.region.box, TILE_SIZE):
            cell = (r * TILE_SIZE, c * TILE_SIZE, (r + 1) * TILE_SIZE, (c + 1) * TILE_SIZE)
            square = box_intersection(cell, (0, 0, *self._document.shape))
            if square is None or not self.region.meets(square):
                continue
            found = self._document.store.opinions(square)
            centre = found.centroid_yx
            inside = np.all((centre >= square[:2]) & (centre < square[2:]), axis=1)
            inside &= self.region.contains(centre)
            ids = [i for i in found.ids[inside].tolist() if i not in spared()]
            if ids:
                self.ids += ids
                yield self._change(self._document, self._document.rows(ids))

    @property
    def message(self) -> str:
        """One sentence about what was done up to now."""
        where = "signed off" if self.region.kind is RegionKind.REVIEWED else "excluded"
        return f"Region {where}, {counted(len(self.ids))} {self._done}."

    def result(self, action_id: int | None) -> ActionResult:
        """Return the result once the edits are made as this step."""
        removed = self.region.kind is RegionKind.EXCLUDED
        ids = tuple(self.ids)
        return ActionResult(
            self.name,
            action_id,
            () if removed else ids,
            ids if removed else (),
            message=self.message,
        )


def sign_off(
    document: Document, polygons: Iterable[Any], note: str = "", made: str = ""
) -> ActionResult:
    """Note a region as reviewed and accept its untouched nuclei; see `Marking.sign_off`."""
    return _commit(document, Marking.sign_off(document, polygons, note, made))


def exclude(
    document: Document,
    polygons: Iterable[Any],
    remove_nuclei: bool,
    note: str = "",
    made: str = "",
) -> ActionResult:
    """Note a region as excluded, and remove its untouched nuclei if asked to.

    See `Marking.exclude`.
    """
    return _commit(document, Marking.exclude(document, polygons, remove_nuclei, note, made))


def drop_region(document: Document, region_id: int) -> ActionResult:
    """Lift a region; nuclei that were accepted or removed with it stay as they are.

    Raises
    ------
    EditRefusedError
        If there is no such region.
    """
    region = next((r for r in document.regions if r.id == region_id), None)
    if region is None:
        raise EditRefusedError(
            f"Region {region_id} is not in the document, it was lifted or undone; nothing was "
            "changed."
        )
    excluded = region.kind is RegionKind.EXCLUDED
    name = "Lift excluded region" if excluded else "Lift signed-off region"
    action_id = document.commit(name, [Edit(regions=(RegionChange(region, None),))])
    return ActionResult(name, action_id, message=f"{name.replace('Lift', 'Lifted the')}.")


def _commit(document: Document, marking: Marking) -> ActionResult:
    return marking.result(document.commit(marking.name, marking.edits()))


def _new_region(
    document: Document, kind: RegionKind, polygons: Iterable[Any], note: str, made: str
) -> Region:
    region_id = max((region.id for region in document.regions), default=0) + 1
    made = made or datetime.now(UTC).isoformat(timespec="seconds")
    kept = tidy_polygons(polygons, document.shape)
    return Region(region_id, kind, kept, note, document.store.annotator, made)


def _acceptance(_: Document, rows: list[NucleusRow]) -> Edit:
    # Click memories stay, hence are not mentioned.
    changes = (NucleusChange(row, replace(row, state=NucleusState.ACCEPTED)) for row in rows)
    return Edit((), tuple(changes))


def _removal(document: Document, rows: list[NucleusRow]) -> Edit:
    return plan_remove(document, rows).edit
