"""The regions of a project file; they are few, and kept decoded once they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from napari_nucleus.session.codec import decode_polygons, encode_polygons
from napari_nucleus.session.regions import Region, RegionKind

if TYPE_CHECKING:
    import sqlite3

__all__ = ["RegionTable"]


class RegionTable:
    """Reads and writes regions.

    Parameters
    ----------
    connection
        To a database with the tables of `schema`.
    decoded
        Calls a decoder with what was read and turns its faults into errors that name the file.
    """

    def __init__(self, connection: sqlite3.Connection, decoded: Callable[..., Any]) -> None:
        self.connection, self._decoded = connection, decoded
        self._known: tuple[Region, ...] | None = None

    def all(self) -> tuple[Region, ...]:
        """Return all regions in the order of their ids; the same tuple until one changes."""
        if self._known is None:
            rows = self.connection.execute(
                "SELECT id, kind, polygons, note, annotator, made FROM region ORDER BY id"
            )
            self._known = tuple(self._decoded(f"region {row[0]}", _region_of, *row) for row in rows)
        return self._known

    def put(self, regions: Mapping[int, Region | None]) -> None:
        """Set regions; None takes away."""
        self._known = None
        for region_id, region in regions.items():
            if region is None:
                self.connection.execute("DELETE FROM region WHERE id = ?", (int(region_id),))
            else:
                self.connection.execute(
                    "INSERT OR REPLACE INTO region VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        int(region_id),
                        region.kind.value,
                        encode_polygons(region.polygons),
                        region.note,
                        region.annotator,
                        region.made,
                    ),
                )

    def forget(self) -> None:
        """Read anew when asked next: what was written is taken back."""
        self._known = None


def _region_of(region_id: int, kind: str, polygons: bytes, *words: str) -> Region:
    return Region(region_id, RegionKind(kind), decode_polygons(polygons), *words)
