"""Aperio ImageScope's XML annotations, and MoNuSeg's ground truth, which is the same.

A layer for each class, named and coloured by it; a region for each part of a nucleus, and one more
for each hole, marked as negative. Vertices are level-0 pixels. The text of a region, which
ImageScope shows beside it, is the id of its nucleus. What concerns all nuclei is an attribute of
the first layer, because layers may have any.

Layers come one after the other while nuclei come block by block, so the layers are collected in
files of the system's temporary folder. Reading goes element by element without a tree; files with
a document type are refused, since entities can be made to unpack without end (XML 1.0, section 4).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_polygons
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.geojson_shapes import Rings, polygons_of_parts
from napari_nucleus.io.formats.members import class_types, whole_in
from napari_nucleus.io.formats.our_text import OUR_KEY, our_text, stated_in_text
from napari_nucleus.io.formats.rings import corners_in, ellipse, ring_of, rings_of
from napari_nucleus.io.results import ResultBlock, SegmentationResult

__all__ = ["IMAGESCOPE", "read_imagescope", "write_imagescope"]

POLYGON, RECTANGLE, ELLIPSE = "0", "1", "2"
"""Types of regions; there are arrows and rulers too."""

SCORE = "Score"
"""Name of the attribute of a region that has it."""


def write_imagescope(path: Path, result: SegmentationResult, export: Export = PLAIN) -> None:
    """Write the nuclei of an image as ImageScope's annotations.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    CancelledError
        If it was cancelled; a file that was there is as it was.
    """
    types = class_types(result)
    with ExitStack() as stack:
        file = stack.enter_context(replacing(path))
        layers: dict[int, BinaryIO] = {}
        for class_id in np.unique(types).tolist() or [0]:
            layers[class_id] = stack.enter_context(tempfile.TemporaryFile())
        counts = dict.fromkeys(layers, 0)
        for block in export.blocks(result):
            _add_regions(block, types[block.rows], export, layers, counts)
        mpp = "" if result.mpp is None else f' MicronsPerPixel="{result.mpp:.6g}"'
        file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<Annotations{mpp}>\n'.encode())
        for place, (class_id, layer) in enumerate(layers.items(), 1):
            file.write(_layer_head(result, class_id, place).encode())
            layer.seek(0)
            shutil.copyfileobj(layer, file, 2**20)
            file.write(b"</Regions><Plots/></Annotation>\n")
        file.write(b"</Annotations>\n")


def _layer_head(result: SegmentationResult, class_id: int, place: int) -> str:
    red, green, blue = result.scheme.color_of(class_id)
    facts = ""
    if place == 1:
        facts = f'<Attribute Id="0" Name="{OUR_KEY}" Value={_quoted(our_text(result).decode())}/>'
    return (
        f'<Annotation Id="{place}" Name={_quoted(result.scheme.name_of(class_id))} ReadOnly="0" '
        f'NameReadOnly="0" LineColorReadOnly="0" Incremental="0" Type="4" '
        f'LineColor="{red + 256 * green + 65536 * blue}" Visible="1" Selected="0" '
        f'MarkupImagePath="" MacroName=""><Attributes>{facts}</Attributes><Regions>\n'
    )


def _quoted(text: str) -> str:
    """Return an attribute; characters that XML does not have become question marks."""
    return quoteattr(re.sub("[^\t\n\r -\ud7ff\ue000-�\U00010000-\U0010ffff]", "?", text))


def _add_regions(
    block: ResultBlock,
    types: NDArray[np.int32],
    export: Export,
    layers: dict[int, BinaryIO],
    counts: dict[int, int],
) -> None:
    rows = zip(
        block.ids.tolist(),
        types.tolist(),
        block.scores.tolist(),
        rings_of(export.outlines(block)),
        strict=True,
    )
    for number, class_id, score, parts in rows:
        attribute = ""
        if np.isfinite(score):
            attribute = f'<Attribute Id="0" Name="{SCORE}" Value="{score:.4f}"/>'
        text = ""
        for part in parts:
            for place, ring in enumerate(part):
                counts[class_id] += 1
                vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in ring.tolist())
                text += (
                    f'<Region Id="{counts[class_id]}" Type="{POLYGON}" Zoom="1" Selected="0" '
                    f'ImageLocation="" ImageFocus="0" Text="{number}" '
                    f'NegativeROA="{int(place > 0)}" InputRegionId="0" Analyze="1" '
                    f'DisplayId="{counts[class_id]}"><Attributes>{attribute}</Attributes>'
                    f"<Vertices>{vertices}</Vertices></Region>\n"
                )
        layers[class_id].write(text.encode())


@dataclass(slots=True)
class _Region:
    """A region as it stands in the file."""

    layer: int
    number: str
    text: str
    kind: str
    is_hole: bool
    corners: list[tuple[str, str]] = field(default_factory=list)
    ring: Any = None
    score: float = float("nan")


@dataclass(slots=True)
class _Parsed:
    """What the parser has met so far."""

    name: str
    depth: int = 0
    root: str = ""
    mpp: float | None = None
    ours: str | None = None
    layers: list[tuple[str, str]] = field(default_factory=list)
    regions: list[_Region] = field(default_factory=list)
    region: _Region | None = None
    others: int = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.root:
            self.root = tag
            if tag != "Annotations":
                raise AnnotationError(
                    f"{self.name}: begins with <{tag[:40]}>, so it is no XML of ImageScope."
                )
            self.mpp = _number(attributes.get("MicronsPerPixel"))
        elif tag == "Annotation":
            self.layers.append((attributes.get("Name", ""), attributes.get("LineColor", "")))
        elif tag == "Region" and self.layers:
            get = attributes.get
            self.region = _Region(
                len(self.layers) - 1,
                get("Id", ""),
                get("Text", ""),
                get("Type", POLYGON),
                get("NegativeROA") == "1",
            )
        elif tag == "Vertex" and self.region is not None:
            self.region.corners.append((attributes.get("X", ""), attributes.get("Y", "")))
        elif tag == "Attribute":
            self._attribute(attributes.get("Name"), attributes.get("Value", ""))

    def _attribute(self, label: str | None, value: str) -> None:
        if self.region is not None and label == SCORE:
            score = _number(value)
            self.region.score = float("nan") if score is None else score
        elif self.region is None and label == OUR_KEY:
            self.ours = value

    def end(self, tag: str) -> None:
        region = self.region
        if tag != "Region" or region is None:
            return
        where = f"region {region.number[:20]} of layer {region.layer + 1}"
        region.ring = _ring(region, self.name, where)
        region.corners = []
        if region.ring is None:
            self.others += 1
        else:
            self.regions.append(region)
        self.region = None


def read_imagescope(path: Path) -> AnnotationFile:
    """Read the regions of ImageScope's annotations.

    Raises
    ------
    AnnotationError
        If it is no XML of ImageScope, is damaged, or has a document type.
    """
    found = _Parsed(path.name)
    parser = expat.ParserCreate()
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end

    def refuse(*_: Any) -> None:
        raise AnnotationError(
            f"{path.name}: has a document type, which can do harm and ImageScope does not write."
        )

    parser.StartDoctypeDeclHandler = refuse
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise AnnotationError(f"{path.name}: is damaged, or no XML ({error}).") from error
    return _annotations(found)


def _annotations(found: _Parsed) -> AnnotationFile:
    name, notes = found.name, []
    if found.others:
        notes.append(f"{name}: {found.others:,} regions are no outlines; left out.")
    stated = stated_in_text(found.ours, name)
    if stated:
        heads, outlines, ids = _joined(found.regions)
    else:
        heads, outlines, lost = _cut_out(found.regions)
        if lost:
            notes.append(f"{name}: {lost:,} negative regions lie in no other; left out.")
        # In several layers numbers begin anew.
        single = len({region.layer for region in heads}) == 1
        ids = [whole_in(region.number) for region in heads] if single else []
    colors = {label: color for label, text in found.layers if (color := _color(text)) is not None}
    if stated.get("mpp") is None:
        stated["mpp"] = found.mpp
    return of_polygons(
        name,
        polygons_of_parts(outlines),
        Stated(
            ids=ids if any(i is not None for i in ids) else None,
            classes=[found.layers[region.layer][0] for region in heads],
            colors=colors,
            scores=[region.score for region in heads],
            notes=notes,
            **stated,
        ),
    )


def _joined(regions: list[_Region]) -> tuple[list[_Region], list[list[Rings]], list[int | None]]:
    """Return the nuclei of a file of ours: a part is followed by its holes, all of one text."""
    rows: dict[str, int] = {}
    heads: list[_Region] = []
    outlines: list[list[Rings]] = []
    for region in regions:
        row = rows.setdefault(region.text, len(heads))
        if row == len(heads):
            heads.append(region)
            outlines.append([])
        if region.is_hole and outlines[row]:
            outlines[row][-1].append(region.ring)
        elif len(region.ring):
            outlines[row].append([region.ring])
    return heads, outlines, [whole_in(region.text) for region in heads]


def _cut_out(regions: list[_Region]) -> tuple[list[_Region], list[list[Rings]], int]:
    """Return a nucleus for each region, with the negative ones inside of it as holes.

    Also the number of negative ones that are inside of none.
    """
    heads = [region for region in regions if not region.is_hole]
    outlines: list[list[Rings]] = [[[r.ring]] if len(r.ring) else [] for r in heads]
    holes = [region for region in regions if region.is_hole and len(region.ring)]
    if not holes or not heads:
        return heads, outlines, len(holes)
    shells = polygons_of_parts(outlines)
    middles = shapely.point_on_surface(polygons_of_parts([[[h.ring]] for h in holes]))
    inner, outer = shapely.STRtree(shells).query(middles, predicate="within")
    areas = shapely.area(shells)
    smallest: dict[int, int] = {}
    for hole, row in zip(inner.tolist(), outer.tolist(), strict=True):
        same_layer = holes[hole].layer == heads[row].layer
        if same_layer and (hole not in smallest or areas[row] < areas[smallest[hole]]):
            smallest[hole] = row
    for hole, row in smallest.items():
        outlines[row][0].append(holes[hole].ring)
    return heads, outlines, len(holes) - len(smallest)


def _ring(region: _Region, name: str, where: str) -> NDArray[np.float64] | None:
    """Return the closed ring of a region, None for arrows and rulers."""
    if region.kind not in (POLYGON, RECTANGLE, ELLIPSE):
        return None
    xy = corners_in(region.corners, name, where)
    if len(xy) > 1 and (region.kind == ELLIPSE or (region.kind == RECTANGLE and len(xy) == 2)):
        (x0, y0), (x1, y1) = xy.min(axis=0), xy.max(axis=0)
        box = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        xy = ellipse((x0, y0, x1, y1)) if region.kind == ELLIPSE else box
    return ring_of(xy)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _color(text: str) -> tuple[int, int, int] | None:
    """Return a colour that is one number, red its lowest byte."""
    number = whole_in(text)
    if number is None or not 0 <= number < 2**24:
        return None
    return number & 255, (number >> 8) & 255, number >> 16


IMAGESCOPE = Format(
    "imagescope",
    "Aperio ImageScope XML",
    ".xml",
    Keeps(),
    write_imagescope,
    read_imagescope,
)
"""ImageScope's annotations."""
