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
from napari_nucleus.io.formats.geojson import GEOJSON, GEOJSON_GZ
from napari_nucleus.io.formats.json_files import load_json
from napari_nucleus.io.formats.label_tiff import LABELS
from napari_nucleus.io.formats.overlay import OVERLAY
from napari_nucleus.io.formats.table import CSV

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
        GEOJSON,
        GEOJSON_GZ,
        CSV,
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
    """Return the format that files to be written with this name have, the longest ending first.

    Raises
    ------
    AnnotationError
        If no format has this ending.
    """
    fitting = [f for f in FORMATS.values() if f.write is not None and f.fits(path.name)]
    if not fitting:
        endings = ", ".join(dict.fromkeys(f.ending for f in FORMATS.values() if f.write))
        raise AnnotationError(
            f"{path.name}: no annotation format is written with this ending ({endings}); name one."
        )
    return max(fitting, key=lambda f: f.matched(path.name))


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
