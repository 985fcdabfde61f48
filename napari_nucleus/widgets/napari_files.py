"""Napari's own Open and Save for nuclei: readers that make label layers, writers that take them.

napari asks all readers whose file patterns fit a name, before any of them has looked into the file:
where two fit, it asks the user, once if he ticks "Remember". Of TIFFs, `_seg.npy` files and folders
napari's own reader has the patterns as well. What turns out not to hold nuclei there is therefore
passed on to it, so that whoever has chosen this reader still sees pictures as pictures.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import npe2

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import FORMATS, Format, read_annotations
from napari_nucleus.io.formats.json_files import load_json
from napari_nucleus.io.label_sniff import holds_labels, tiff_shape
from napari_nucleus.widgets.file_layers import LayerData, check_size, layer_of

__all__ = ["get_reader", "holds_nuclei"]

LARGEST_LOOKED_INTO = 2**26
"""Bytes of a JSON file that is parsed only to see whether it is one of ours."""

TIFF = (".tif", ".tiff")
ARRAYS = ("_seg.npy", "masks.npy")
"""Ends of the names of NPY files of Cellpose and PanNuke; others may be anything."""

BEGIN = 4096
"""Bytes of a file in which the root of its XML is looked for."""

Reader = Callable[[str | list[str]], list[LayerData]]


def get_reader(path: str | list[str]) -> Reader | None:
    """Return what reads a file of nuclei as a label layer; None for what is none.

    Parameters
    ----------
    path
        File or folder; a list of files is to be stacked, which nuclei never are.
    """
    if isinstance(path, str) and holds_nuclei(Path(path)):
        return _read
    first = path if isinstance(path, str) else path[0]
    both = first.casefold().endswith((*TIFF, *ARRAYS)) or os.path.isdir(first)
    return _as_napari_does if both else None


def _read(path: str | list[str]) -> list[LayerData]:
    assert isinstance(path, str)
    file = Path(path)
    shape = tiff_shape(file) if file.name.casefold().endswith(TIFF) else None
    if shape is not None:
        check_size(file.name, shape)
    return [layer_of(read_annotations(file))]


def _as_napari_does(path: str | list[str]) -> list[LayerData]:
    paths = [path] if isinstance(path, str) else path
    return npe2.read(paths, stack=not isinstance(path, str), plugin_name="napari")  # type: ignore[return-value]


# ---- what is in a file


def holds_nuclei(path: Path, look: bool = True) -> bool:
    """Return True if a file or folder seems worth reading as nuclei; little is read for that.

    Parameters
    ----------
    path
        The file or folder.
    look
        Whether JSON is parsed to see of what kind it is; otherwise its name will do.
    """
    name = path.name.casefold()
    fitting = [f for f in FORMATS.values() if f.is_read and f.fits(name)]
    if path.is_dir():
        return any(f.is_folder for f in fitting) and _has_labels(path)
    fitting = [f for f in fitting if not f.is_folder]
    if not fitting or not path.is_file():
        return False
    if name.endswith((".json", ".json.gz")):
        return not look or _is_ours(path, fitting)
    if name.endswith((*TIFF, ".png")) or (name.endswith(".npy") and not name.endswith(ARRAYS)):
        return holds_labels(path)
    return _begins_right(path, Path(name).suffix)


def _has_labels(folder: Path) -> bool:
    """Return True for an OME-Zarr image with labels, one label image, or PanNuke's arrays."""
    if (folder / "masks.npy").is_file():
        return True
    if any((folder / "labels" / name).is_file() for name in (".zgroup", "zarr.json")):
        return True
    return any(
        b'"image-label"' in (folder / name).read_bytes()
        for name in (".zattrs", "zarr.json")
        if (folder / name).is_file()
    )


def _begins_right(path: Path, ending: str) -> bool:
    """Return True unless a file of this ending is of another kind for sure."""
    try:
        if ending == ".zip":
            with zipfile.ZipFile(path) as archive:
                return any(name.casefold().endswith(".roi") for name in archive.namelist())
        with open(path, "rb") as file:
            begin = file.read(BEGIN)
    except (OSError, zipfile.BadZipFile):
        return False
    if ending == ".xml":
        return b"<Annotations" in begin
    if ending == ".db":
        return begin.startswith(b"SQLite format 3")
    return True


def _is_ours(path: Path, formats: Sequence[Format]) -> bool:
    """Return True for JSON of a kind that is known, and for what is too large to be looked into."""
    if path.stat().st_size > LARGEST_LOOKED_INTO:
        return True
    try:
        value = load_json(path)
    except AnnotationError:
        return False
    return any(f.is_json is not None and f.is_json(value) for f in formats)
