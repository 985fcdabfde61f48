"""ImageJ's regions of interest: a zip with one ``.roi`` a nucleus, for its ROI Manager and QuPath.

Written with roifile. A nucleus of one ring is a polygon; one with holes or of several parts is
what ImageJ calls a composite, a path filled by the even-odd rule. Corners are those of pixels, as
in ImageJ, whole numbers. A region's header has 16 bits for a coordinate, which ImageJ takes for
unsigned where that must be meant; so a nucleus that reaches beyond 32,767 also has its corners as
floats, which ImageJ, QuPath and roifile then use in place of the header.

A region's name is id and class; id, class and score are its properties too, which ImageJ keeps.
It has its class's colour and no group, for ImageJ colours groups by a table of its own. What
concerns all nuclei is the comment of the zip: other members than regions would stop some readers.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_polygons
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.geojson_shapes import Rings, polygons_of_parts
from napari_nucleus.io.formats.members import class_types, whole_in
from napari_nucleus.io.formats.our_text import our_text, stated_in_text
from napari_nucleus.io.formats.rings import corners_in, ellipse, nested, ring_of, rings_of
from napari_nucleus.io.results import ResultBlock, SegmentationResult

if TYPE_CHECKING:
    from roifile import ImagejRoi

__all__ = ["IMAGEJ", "read_imagej", "write_imagej"]

LARGEST_SHORT = 2**15 - 1

LONGEST_COMMENT = 2**16 - 1
"""Bytes of the comment of a zip."""

MOST_BYTES = 2**30
"""Bytes of all regions of a zip together, unpacked; a million of them have about that."""

MAGIC = b"Iout"
"""With which every region begins."""

MOVE, LINE, CURVE, CURVE_3, CLOSE = range(5)
"""Steps of a composite's path; a curve has one or two points more, before its end."""


def write_imagej(path: Path, result: SegmentationResult, export: Export = PLAIN) -> None:
    """Write the nuclei of an image as a zip of regions.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    CancelledError
        If it was cancelled; a file that was there is as it was.
    """
    comment = our_text(result)
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if len(comment) <= LONGEST_COMMENT:
            archive.comment = comment
        for block in export.blocks(result):
            for roi in _regions(block, export):
                # Without a time, so that equal nuclei give equal files.
                member = zipfile.ZipInfo(re.sub(r'[\\/:*?"<>|]', "_", roi.name) + ".roi")
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, roi.tobytes())


def _regions(block: ResultBlock, export: Export) -> Iterator[ImagejRoi]:
    scheme = block.result.scheme
    types = class_types(block.result)[block.rows].tolist()
    rows = zip(block.ids.tolist(), block.scores.tolist(), types, strict=True)
    for (number, score, class_id), parts in zip(
        rows, rings_of(export.outlines(block)), strict=True
    ):
        label = " ".join(scheme.name_of(class_id).split())
        roi = _polygon(parts[0][0]) if len(parts) == len(parts[0]) == 1 else _composite(parts)
        roi.name = f"{number} {_basic(label)}"
        roi.stroke_color = bytes((255, *scheme.color_of(class_id)))
        properties = {"class": _escaped(label), "id": str(number)}
        if np.isfinite(score):
            properties["score"] = f"{score:.4f}"
        roi.props = "".join(f"{key}: {value}\n" for key, value in properties.items())
        yield roi


def _polygon(xy: NDArray) -> ImagejRoi:
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    roi = ImagejRoi(roitype=ROI_TYPE.POLYGON, n_coordinates=len(xy))
    corner = _bounded(roi, xy)
    roi.integer_coordinates = np.rint(xy - corner).astype(np.int32)
    if xy.dtype.kind == "f" or xy.max() > LARGEST_SHORT:
        roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.subpixel_coordinates = xy.astype(np.float32)
    return roi


def _composite(parts: list[Rings]) -> ImagejRoi:
    from roifile import ROI_TYPE, ImagejRoi

    rings = [ring for part in parts for ring in part]
    path: list[float] = []
    for ring in rings:
        first, *others = ring.tolist()
        path += [MOVE, *first]
        for corner in others:
            path += [LINE, *corner]
        path.append(CLOSE)
    roi = ImagejRoi(roitype=ROI_TYPE.RECT, shape_roi_size=len(path))
    roi.multi_coordinates = np.array(path, np.float32)
    _bounded(roi, np.concatenate(rings))
    return roi


def _bounded(roi: ImagejRoi, xy: NDArray) -> NDArray[np.int64]:
    """Give a region its box, and return where it begins."""
    low, high = np.floor(xy.min(axis=0)), np.ceil(xy.max(axis=0))
    roi.left, roi.top = int(low[0]), int(low[1])
    roi.right, roi.bottom = int(high[0]), int(high[1])
    return low.astype(np.int64)


def _basic(text: str) -> str:
    """Return a text of characters of 16 bits, as roifile counts them."""
    return "".join(c if ord(c) < 0x10000 else "�" for c in text)


def _escaped(text: str) -> str:
    """Return a value as Java writes properties: other than ASCII as ``\\uXXXX``."""
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(
        "\\\\" if c == 0x5C else chr(c) if 32 <= c < 127 else f"\\u{c:04X}" for c in codes
    )


def _unescaped(text: str) -> str:
    units = re.sub(
        r"\\(?:u([0-9A-Fa-f]{4})|(.))",
        lambda m: chr(int(m[1], 16)) if m[1] else m[2],
        text,
    )
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(slots=True)
class _Found:
    """What the regions say, one by one."""

    outlines: list[list[Rings]] = field(default_factory=list)
    ids: list[int | None] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    colors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def read_imagej(path: Path) -> AnnotationFile:
    """Read regions of ImageJ, a zip of them or one alone.

    Ids, classes and scores are taken from properties, else from names of the form ``ID CLASS`` or
    ``ID``; without another class, ImageJ's groups are classes. Rectangles and ovals are outlines
    too; lines, points and texts are left out and noted.

    Raises
    ------
    AnnotationError
        If it is damaged, locked, or unpacks to more than nuclei can be.
    """
    found, text = _Found(), b""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            text = archive.comment
            for member, data in _members(archive, path.name, found):
                _take(data, path.name, member, found)
    else:
        if path.stat().st_size > MOST_BYTES:
            raise AnnotationError(f"{path.name}: is larger than {MOST_BYTES:,} bytes.")
        data = path.read_bytes()
        if not data.startswith(MAGIC):
            raise AnnotationError(f"{path.name}: is neither a zip nor a region of ImageJ.")
        _take(data, path.name, path.stem, found)
    notes = [f"{path.name}: {n:,} {kind}; left out." for kind, n in found.others.items()]
    stated = Stated(
        ids=found.ids if any(i is not None for i in found.ids) else None,
        classes=found.classes,
        colors=found.colors,
        scores=found.scores,
        notes=notes,
        **stated_in_text(text, path.name),
    )
    return of_polygons(path.name, polygons_of_parts(found.outlines), stated)


def _members(archive: zipfile.ZipFile, name: str, found: _Found) -> Iterator[tuple[str, bytes]]:
    """Yield the regions of a zip, by the names of their members without the ending."""
    left = MOST_BYTES
    for info in archive.infolist():
        if info.is_dir():
            continue
        if info.flag_bits & 1:
            raise AnnotationError(f"{name}: is locked with a password; unlock it, then try again.")
        try:
            with archive.open(info) as member:
                data = member.read(len(MAGIC))
                if data != MAGIC:
                    found.others["members of the zip that are no regions"] += 1
                    continue
                data += member.read(left)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise AnnotationError(
                f"{name}: its member {info.filename[:80]!r} is damaged ({error})."
            ) from error
        left -= len(data)
        if left < 0:
            raise AnnotationError(f"{name}: unpacked it is larger than {MOST_BYTES:,} bytes.")
        yield info.filename.rpartition("/")[2].removesuffix(".roi"), data


def _take(data: bytes, name: str, member: str, found: _Found) -> None:
    """Add what a region says to what was found."""
    from roifile import ImagejRoi

    where = f"region {member[:80]!r}"
    try:
        roi = ImagejRoi.frombytes(data)
    except Exception as error:  # numpy's and struct's, of headers that claim too much
        raise AnnotationError(f"{name}: {where} is damaged ({error}).") from error
    outline = _outline(roi, name, where)
    if outline is None:
        found.others["regions that are lines, points, texts or pictures"] += 1
        return
    properties = _properties(roi.props)
    number, label = whole_in(properties.get("id")), properties.get("class")
    named = re.fullmatch(r"(\d{1,10})(?: (.+))?", roi.name or member)
    if named and number is None:
        number = int(named[1])
        label = named[2] if label is None else label
    if label is None and roi.group:
        label = f"group {roi.group}"
    found.outlines.append(outline)
    found.ids.append(number)
    found.classes.append(label)
    found.scores.append(_score(properties))
    color = roi.stroke_color
    if label and color[0]:
        found.colors.setdefault(label, (color[1], color[2], color[3]))


def _outline(roi: ImagejRoi, name: str, where: str) -> list[Rings] | None:
    """Return the outline of a region, None for one without an area."""
    from roifile import ROI_SUBTYPE, ROI_TYPE

    kind = roi.roitype
    if kind in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        corners = roi.subpixel_coordinates
        if corners is None and roi.integer_coordinates is not None:
            corners = roi.integer_coordinates + np.array([roi.left, roi.top])
        return nested([ring_of(corners_in(corners, name, where))])
    if kind == ROI_TYPE.RECT and roi.composite and roi.multi_coordinates is not None:
        path = corners_in(np.column_stack([roi.multi_coordinates] * 2), name, where)[:, 0]
        return nested([ring_of(ring) for ring in _rings_of_path(path.tolist(), name, where)])
    if kind not in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        return None
    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE):
        return None
    x0, y0, x1, y1 = roi.left, roi.top, roi.right, roi.bottom
    if roi.subpixelrect:
        x0, y0, x1, y1 = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
    corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    if kind == ROI_TYPE.OVAL and np.isfinite(corners).all():
        corners = ellipse((x0, y0, x1, y1))
    return nested([ring_of(corners_in(corners, name, where))])


def _rings_of_path(path: list[float], name: str, where: str) -> Iterator[NDArray[np.float64]]:
    """Yield the rings of a composite's path; curves become their chords."""
    ring: list[list[float]] = []
    place = 0
    points = {MOVE: 1, LINE: 1, CURVE: 2, CURVE_3: 3, CLOSE: 0}
    while place < len(path):
        count = points.get(int(path[place]))
        end = place + 1 + 2 * (count or 0)
        if count is None or end > len(path):
            raise AnnotationError(f"{name}: {where} has a path that is cut or none of ImageJ.")
        if int(path[place]) == MOVE:
            yield np.array(ring).reshape(-1, 2)
            ring = []
        if count:
            ring.append(path[end - 2 : end])
        place = end
    yield np.array(ring).reshape(-1, 2)


def _properties(text: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): _unescaped(value.strip()) for key, _, value in pairs}


def _score(properties: Mapping[str, Any]) -> float:
    try:
        return float(properties.get("score", "nan"))
    except ValueError:
        return float("nan")


IMAGEJ = Format(
    "imagej",
    "ImageJ ROIs (zip)",
    "_RoiSet.zip",
    Keeps(),
    write_imagej,
    read_imagej,
    endings=(".zip", ".roi"),
    note="ImageJ's ROI Manager becomes slow above 50,000 nuclei.",
)
"""ImageJ's regions of interest."""
