"""Measuring from the command line: a label map and its classes, or a project, into files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import shapely

from napari_nucleus import __version__
from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL, Cells, cells_of_labels
from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.schemes import SCHEMES
from napari_nucleus.core.tme import TmeSettings
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder
from napari_nucleus.core.tme_live import measure_cells
from napari_nucleus.core.tme_words import merging_note
from napari_nucleus.errors import AnnotationError, ImageError, LabelsError, ProjectError
from napari_nucleus.io.class_files import count_strangers, read_classes
from napari_nucleus.io.drawn_regions import read_regions
from napari_nucleus.io.labels import provenance_in, read_labels
from napari_nucleus.io.measurements import measurement_files, write_measurements
from napari_nucleus.io.results import Provenance
from napari_nucleus.models import zoo
from napari_nucleus.session.cell_book import CellBook
from napari_nucleus.session.document import MPP_FACT, Document
from napari_nucleus.session.project import SUFFIX
from napari_nucleus.session.provenance import known_models, provenance_of
from napari_nucleus.session.reading import reading
from napari_nucleus.session.recoding import scheme_in
from napari_nucleus.session.regions import RegionKind

__all__ = ["MeasureOrder", "measure_file"]

WHOLE = "whole image"

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Input:
    """What is measured: cells of an image of a shape, what is excluded, where they come from."""

    cells: Cells
    shape: tuple[int, int]
    excluded: shapely.Geometry
    not_told_apart: tuple[int, ...]
    provenance: Provenance


@dataclass(frozen=True)
class MeasureOrder:
    """What to measure.

    Parameters
    ----------
    labels, classes
        A label map and the classes of its nuclei, or a project alone.
    out
        Folder for the results.
    mpp
        µm per pixel; by default what the file states.
    scheme
        Name of the scheme of the classes; by default see `read_classes`.
    thresholds
        See `TmeSettings.thresholds_px`.
    tumour_known
        Whether neoplastic and benign epithelial nuclei were told apart; None to go by the scheme
        and the model.
    regions, border, exclude
        GeoJSON: regions to measure beside the whole image, what the tumour border goes around,
        what is left out.
    """

    labels: Path
    classes: Path | None
    out: Path
    mpp: float | None = None
    scheme: str | None = None
    thresholds: Literal["equivalent", "native"] = "equivalent"
    tumour_known: bool | None = None
    regions: Path | None = None
    border: Path | None = None
    exclude: Path | None = None


def measure_file(order: MeasureOrder, say: Say) -> list[Path]:
    """Measure the nuclei of a file and write the results; return the files.

    Raises
    ------
    NucleusError
        If a file cannot be read or does not fit the others; nothing is then written.
    """
    check_mpp(order.mpp, "--mpp")
    labels = order.labels
    if labels.suffix == SUFFIX:
        given = _of_project(labels, order.classes, order.mpp)
    else:
        given = _of_labels(order, say)
    not_told_apart = given.not_told_apart
    if order.tumour_known is not None:
        not_told_apart = () if order.tumour_known else NEOPLASTIC_OR_EPITHELIAL
    settings = TmeSettings(not_told_apart, order.thresholds)
    excluded = given.excluded
    if order.exclude is not None:
        drawn = [region.geometry for region in read_regions(order.exclude)]
        excluded = shapely.union_all([excluded, *drawn])
    whole = MeasuredArea.of(WHOLE, given.shape, excluded=excluded)
    areas = [whole, *_areas(order.regions, given.shape, excluded)]
    drawn_border = None if order.border is None else _border(order.border, whole, given.cells.mpp)
    measured = [
        measure_cells(given.cells, area, settings, drawn_border if area is whole else None)
        for area in areas
    ]
    _check_targets(order, measurement_files(measured, labels.stem))
    facts = {
        **given.provenance,
        "program": f"napari-nucleus {__version__}",
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "nuclei": len(given.cells),
        "nuclei_without_class": int((~given.cells.counted).sum()),
    }
    written = write_measurements(measured, order.out, labels.stem, facts)
    first = measured[0]
    say(
        f"{labels.name}: {counted(len(given.cells))}, {facts['nuclei_without_class']} without a "
        f"class, on {first.area_mm2:.4g} mm² at {given.cells.mpp:g} µm/px -> "
        f"{len(written)} files, {labels.stem}_tme.*"
    )
    say(", ".join(first.phenotypes.labels.values()))
    if settings.merged:
        say(merging_note(settings))
    return written


def _of_labels(order: MeasureOrder, say: Say) -> _Input:
    """Read a label map and the file of its classes."""
    labels, classes = order.labels, order.classes
    scheme = _scheme_named(order.scheme)
    if classes is None:
        raise LabelsError(
            f"{labels.name}: a label map has no classes; state a file of them with --classes."
        )
    file = read_labels(labels)
    provenance = provenance_in(labels)
    mpp = _known_mpp(order.mpp or file.mpp, labels, file.pixel_size.note)
    stated = read_classes(classes, file.labels, scheme)
    cells = cells_of_labels(file.labels, stated.class_of_id, mpp, labels.name)
    strangers = count_strangers(stated, cells.ids, classes.name)
    if strangers:
        say(f"{classes.name}: {strangers} of its nuclei are not in {labels.name}; left out.")
    made = {k: v for k, v in provenance.items() if k in ("model", "weights", "made")}
    models = str(provenance.get("model", "")).split(", ")
    return _Input(
        cells,
        (int(file.labels.shape[0]), int(file.labels.shape[1])),
        shapely.Polygon(),
        stated.not_told_apart or _not_told_apart(models),
        {**made, "class_scheme": stated.scheme.name},
    )


def _of_project(path: Path, classes: Path | None, mpp: float | None) -> _Input:
    """Read the nuclei and the excluded regions of a project, as they are at this moment."""
    if classes is not None:
        raise LabelsError(f"{path.name}: a project has classes of its own; leave out --classes.")
    with reading(path) as store:
        document = Document(store, scheme_in(store) or PANNUKE)
        mpp = _known_mpp(mpp or _mpp_in(store.fact(MPP_FACT), path.name), path)
        rows = document.rows()
        excluded = [
            region.shape for region in document.regions if region.kind is RegionKind.EXCLUDED
        ]
        book = CellBook()
        book.put(rows)
        cells, not_told_apart = book.cells(document.scheme, mpp)
        made = provenance_of(known_models(store), {row.source for row in rows})
        return _Input(
            cells,
            document.shape,
            shapely.union_all(excluded) if excluded else shapely.Polygon(),
            not_told_apart or _not_told_apart(book.models),
            {**made, "class_scheme": document.scheme.name},
        )


def _mpp_in(text: str | None, name: str) -> float | None:
    """Return the pixel size that a project notes."""
    try:
        return check_mpp(float(text), name) if text else None
    except ValueError as error:
        raise ProjectError(f"{name}: its pixel size is {text!r}, which cannot be.") from error


def _known_mpp(mpp: float | None, file: Path, note: str = "") -> float:
    if mpp is None:
        raise ImageError(note or f"{file.name}: states no pixel size; state it with --mpp.")
    return mpp


def _not_told_apart(models: Iterable[str]) -> tuple[int, ...]:
    """Return what any of the models, as far as they are known, does not tell apart."""
    known = [zoo.describe(name) for name in models if name in zoo.names()]
    return next((info.not_told_apart for info in known if info.not_told_apart), ())


def _scheme_named(name: str | None) -> ClassScheme | None:
    if name is None:
        return None
    found = next((s for s in SCHEMES.values() if s.name.casefold() == name.casefold()), None)
    if found is None:
        raise LabelsError(f"No class scheme {name!r}; there is {', '.join(SCHEMES)}.")
    return found


def _areas(
    file: Path | None, shape: tuple[int, int], excluded: shapely.Geometry
) -> list[MeasuredArea]:
    areas = []
    for region in read_regions(file) if file is not None else ():
        area = MeasuredArea.of(region.name, shape, region.geometry, excluded)
        if not area.pixels:
            raise AnnotationError(
                f"{file.name if file else ''}: region {region.name!r} lies outside of the image "
                f"({shape[1]} x {shape[0]} px), or in what is excluded."
            )
        areas.append(area)
    return areas


def _border(file: Path, area: MeasuredArea, mpp: float) -> TumourBorder:
    inside = shapely.union_all([region.geometry for region in read_regions(file)])
    try:
        return TumourBorder.of(inside, area, mpp)
    except ValueError as error:
        raise AnnotationError(f"{file.name}: {error}.") from error


def _check_targets(order: MeasureOrder, names: Iterable[str]) -> None:
    """Raise if a result would take the place of a file that it is made of."""
    inputs = (order.labels, order.classes, order.regions, order.border, order.exclude)
    read = {file.resolve(): file for file in inputs if file is not None}
    for name in names:
        file = read.get((order.out / name).resolve())
        if file is not None:
            raise AnnotationError(
                f"{file.name}: a result would take the place of this file; choose another folder "
                "with --out."
            )
