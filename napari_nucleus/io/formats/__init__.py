"""Annotation formats: what can be written and read, by name and by the names of files.

A format is one module here, with a `base.Format` in it, and one line in this list.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_nucleus.errors import AnnotationError, NucleusError
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.formats.base import Export, Format, Keeps
from napari_nucleus.io.formats.cellpose import CELLPOSE
from napari_nucleus.io.formats.coco import COCO, COCO_POLYGONS
from napari_nucleus.io.formats.dsa import DSA
from napari_nucleus.io.formats.geojson import GEOJSON, GEOJSON_GZ
from napari_nucleus.io.formats.geoparquet import GEOPARQUET
from napari_nucleus.io.formats.hovernet import HOVERNET
from napari_nucleus.io.formats.hovernet_mat import HOVERNET_MAT
from napari_nucleus.io.formats.imagej import IMAGEJ
from napari_nucleus.io.formats.imagescope import IMAGESCOPE
from napari_nucleus.io.formats.json_files import load_json
from napari_nucleus.io.formats.label_tiff import LABELS
from napari_nucleus.io.formats.ome_tiff import OME_TIFF
from napari_nucleus.io.formats.ome_zarr import OME_ZARR, OME_ZARR_04
from napari_nucleus.io.formats.overlay import OVERLAY
from napari_nucleus.io.formats.pannuke import PANNUKE_ARRAYS
from napari_nucleus.io.formats.table import CSV
from napari_nucleus.io.formats.tiatoolbox import TIATOOLBOX

__all__ = [
    "FORMATS",
    "Export",
    "Format",
    "Keeps",
    "format_named",
    "format_of_path",
    "read_annotations",
]

FORMATS: Mapping[str, Format] = {
    f.name: f
    for f in (
        LABELS,
        OME_TIFF,
        OME_ZARR,
        OME_ZARR_04,
        GEOJSON,
        GEOJSON_GZ,
        CSV,
        COCO,
        COCO_POLYGONS,
        HOVERNET,
        HOVERNET_MAT,
        PANNUKE_ARRAYS,
        CELLPOSE,
        DSA,
        GEOPARQUET,
        IMAGEJ,
        IMAGESCOPE,
        TIATOOLBOX,
        OVERLAY,
    )
}
"""Every format by its name, in the order in which people see them."""


def format_named(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    AnnotationError
        If there is none.
    """
    found = FORMATS.get(name)
    if found is None:
        raise AnnotationError(f"Format {name!r}: choose of {', '.join(FORMATS)}.")
    return found


def format_of_path(path: Path) -> Format:
    """Return the format that files to be written with this name have.

    That whose own ending is the longest that the name has; else the only one that reads such
    files, if what it writes is of that kind too (a label TIFF can be called ``.tiff``, but no
    ``.png``).

    Raises
    ------
    AnnotationError
        If there is none, or several.
    """
    low = path.name.casefold()
    written = [f for f in FORMATS.values() if f.write is not None]
    own = [f for f in written if low.endswith(f.ending)]
    if own:
        return max(own, key=lambda f: len(f.ending))
    fitting = [f for f in written if any(low.endswith(e) and _alike(e, f) for e in f.endings)]
    longest = max((f.matched(low) for f in fitting), default=0)
    fitting = [f for f in fitting if f.matched(low) == longest]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(f.name for f in fitting)
        raise AnnotationError(
            f"{path.name}: several annotation formats have this ending ({names}); name one."
        )
    endings = ", ".join(dict.fromkeys(f.ending for f in written))
    raise AnnotationError(
        f"{path.name}: no annotation format is written with this ending ({endings}); name one."
    )


def _alike(ending: str, one: Format) -> bool:
    """Return True if an ending is a longer or shorter word for what a format writes."""
    a, b = ending.rpartition(".")[2], one.ending.rpartition(".")[2]
    return a.startswith(b) or b.startswith(a) or a.endswith(b) or b.endswith(a)


def read_annotations(path: Path, wanted: Format | None = None) -> AnnotationFile:
    """Read an annotation file of any format that is read.

    Parameters
    ----------
    path
        File or folder; its ending, and in JSON what is in it, tells the format.
    wanted
        The format to read it as, whatever its name.

    Raises
    ------
    NucleusError
        If it is of no format that is read, or damaged; one sentence that names the file.
    """
    if not path.exists():
        raise AnnotationError(f"{path.name}: there is no such file (any more).")
    one, value = (wanted, None) if wanted and wanted.read else _recognised(path, wanted)
    try:
        if one.read is not None:
            return one.read(path)
        assert one.read_json is not None
        if one.gather is not None:
            value = one.gather(value, path)
        return one.read_json(value, path.name)
    except NucleusError:
        raise
    except MemoryError as error:
        raise AnnotationError(f"{path.name}: does not fit into the memory.") from error
    except Exception as error:  # each library has its own kinds of error
        raise AnnotationError(
            f"{path.name}: is damaged, or no {one.title} ({_reason(error)})."
        ) from error


def _recognised(path: Path, wanted: Format | None) -> tuple[Format, Any]:
    """Return the format of a file, and for JSON its value."""
    fitting = [f for f in FORMATS.values() if f.is_read and f.fits(path.name)]
    fitting.sort(key=lambda f: -f.matched(path.name))
    jsons = [f for f in fitting if f.read_json is not None] if wanted is None else [wanted]
    others = [f for f in fitting if f.read is not None]
    if others and (not jsons or others[0].matched(path.name) > jsons[0].matched(path.name)):
        return others[0], None
    if not jsons:
        endings = dict.fromkeys(f.ending for f in FORMATS.values() if f.is_read)
        raise AnnotationError(
            f"{path.name}: no annotation file that is known ({', '.join(endings)})."
        )
    value = load_json(path)
    for one in jsons:
        if one.is_json is not None and one.is_json(value):
            return one, value
    kinds = ", ".join(f.title for f in jsons)
    raise AnnotationError(f"{path.name}: its JSON is of no kind that is known ({kinds}).")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
