"""Converting from the command line: annotation files and projects into each other."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus import __version__
from napari_nucleus.cli.bars import shown_progress
from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.nuclei import counted
from napari_nucleus.errors import AnnotationError, ProjectError
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.annotation_result import result_of_annotations
from napari_nucleus.io.atomic import replacing_together
from napari_nucleus.io.drawn_regions import read_regions
from napari_nucleus.io.folders import make_folder
from napari_nucleus.io.formats import (
    Export,
    Format,
    format_named,
    format_of_path,
    read_annotations,
)
from napari_nucleus.io.formats.base import NUCLEI_NAMESPACE
from napari_nucleus.io.images import ImageFile, open_image
from napari_nucleus.io.importing import SAME_MPP, check_size, import_annotations
from napari_nucleus.io.results import SegmentationResult, result_of_rows
from napari_nucleus.session.document import MPP_FACT, Document
from napari_nucleus.session.import_policy import ImportPolicy
from napari_nucleus.session.project import SUFFIX, ImageReference, Project
from napari_nucleus.session.provenance import known_models, provenance_of
from napari_nucleus.session.reading import reading
from napari_nucleus.session.recoding import scheme_in

__all__ = ["ConvertOrder", "convert_file"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class ConvertOrder:
    """What to convert.

    Parameters
    ----------
    source
        An annotation file or a project.
    target
        The file to write, a folder for it where ``to`` names the format, or a project.
    to
        Name of the format; by default the ending of ``target`` tells.
    image
        The image that the nuclei lie on.
    mpp
        µm per pixel; by default what the image says, else what the source says.
    classes
        Names of classes; nuclei of others are left out, none if there are no names.
    region
        GeoJSON; nuclei whose centroids lie in none of its regions are left out.
    simplify
        See `formats.Export`.
    policy
        What becomes of nuclei that a project has already.
    """

    source: Path
    target: Path
    to: str | None = None
    image: Path | None = None
    mpp: float | None = None
    classes: tuple[str, ...] = ()
    region: Path | None = None
    simplify: bool = False
    policy: ImportPolicy = ImportPolicy.ADD


def convert_file(order: ConvertOrder, say: Say, complain: Say) -> list[Path]:
    """Convert a file; return the files that were written.

    Raises
    ------
    NucleusError
        If something cannot be read or written, or does not fit together; whatever was there is
        then as it was.
    """
    check_mpp(order.mpp, "--mpp")
    if order.to is None and order.target.suffix == SUFFIX:
        return _into_project(order, say, complain)
    one = format_of_path(order.target) if order.to is None else format_named(order.to)
    target, stem = _target(order, one)
    image = _opened_image(order, complain)
    with _given(order, image, complain) as given:
        result = given if order.mpp is None else replace(given, mpp=order.mpp)
        result = result.select(_wanted(order, result))
        written = _write(one, result, target, stem, order, image)
    names = ", ".join(path.name for path in written)
    say(f"{order.source.name}: {counted(len(result))} -> {names} ({one.title})")
    return written


def _opened_image(order: ConvertOrder, complain: Say) -> ImageFile | None:
    if order.image is None:
        return None
    image = open_image(order.image, order.mpp)
    if image.pixel_size.note:
        complain(image.pixel_size.note)
    return image


# ---- what is converted


@contextmanager
def _given(
    order: ConvertOrder, image: ImageFile | None, complain: Say
) -> Iterator[SegmentationResult]:
    """Give the nuclei of the source, with the size and the pixel size of the image if there is."""
    shape, mpp = (None, None) if image is None else (image.shape, image.mpp)
    if order.source.suffix != SUFFIX:
        annotations = _read(order, complain)
        if shape is not None:
            check_size(annotations.name, annotations.shape, shape)
        _tell_of_scale(order.source.name, annotations.mpp, mpp, complain)
        result, notes = result_of_annotations(annotations, shape, mpp)
        for note in notes:
            complain(note)
        yield result
        return
    with reading(order.source) as store:
        document = Document(store, scheme_in(store) or PANNUKE)
        if shape is not None:
            check_size(order.source.name, document.shape, shape)
        own_mpp = _mpp_in(store.fact(MPP_FACT), order.source.name)
        _tell_of_scale(order.source.name, own_mpp, mpp, complain)
        rows = document.rows()
        made = {
            "program": f"napari-nucleus {__version__}",
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance_of(known_models(store), {row.source for row in rows}),
        }
        yield result_of_rows(
            rows, document.shape, document.labels, document.scheme, mpp or own_mpp, made
        )


def _read(order: ConvertOrder, complain: Say) -> AnnotationFile:
    annotations = read_annotations(order.source)
    for note in annotations.notes:
        complain(note)
    return annotations


def _mpp_in(text: str | None, name: str) -> float | None:
    """Return the pixel size that a project notes."""
    try:
        return check_mpp(float(text), name) if text else None
    except ValueError as error:
        raise ProjectError(f"{name}: its pixel size is {text!r}, which cannot be.") from error


def _tell_of_scale(name: str, theirs: float | None, ours: float | None, complain: Say) -> None:
    if theirs and ours and abs(theirs / ours - 1) > SAME_MPP:
        complain(
            f"{name}: states {theirs:.4g} µm per pixel, while {ours:.4g} is used; coordinates are "
            "taken as they are."
        )


def _wanted(order: ConvertOrder, result: SegmentationResult) -> NDArray[np.bool_]:
    """Return which nuclei ``(n,)`` are of the classes and in the regions that were asked for."""
    return _of_classes(order, result.scheme, result.class_ids) & _in_region(
        order, result.table.centroids_yx
    )


def _of_classes(
    order: ConvertOrder, scheme: ClassScheme, class_ids: NDArray[np.int32]
) -> NDArray[np.bool_]:
    if not order.classes:
        return np.ones(len(class_ids), np.bool_)
    none = scheme.name_of(0)
    ids = []
    for name in order.classes:
        found = scheme.by_name(name)
        if found is None and name.casefold() != none:
            raise AnnotationError(
                f"{order.source.name}: has no class {name!r}; there is "
                f"{', '.join((*scheme.names, none))}."
            )
        ids.append(0 if found is None else found.id)
    known = np.where(np.isin(class_ids, scheme.ids), class_ids, 0)
    return np.isin(known, ids)


def _in_region(order: ConvertOrder, centroids_yx: NDArray[np.float64]) -> NDArray[np.bool_]:
    if order.region is None:
        return np.ones(len(centroids_yx), np.bool_)
    region = _region(order.region)
    shapely.prepare(region)
    return shapely.contains_xy(region, centroids_yx[:, 1], centroids_yx[:, 0])


def _region(path: Path) -> shapely.Geometry:
    return shapely.union_all([region.geometry for region in read_regions(path)])


# ---- into an annotation file


def _target(order: ConvertOrder, one: Format) -> tuple[Path, str]:
    """Return the file or folder to write, and what to call the image in it."""
    if one.write is None:
        raise AnnotationError(f"Format {one.name!r} is only read; it cannot be written.")
    target = order.target
    in_folder = target.is_dir() or not target.suffix
    if order.to is not None and in_folder and not one.fits(target.name):
        target = target / f"{_stem(order.source)}{one.ending}"
    if target.is_dir():
        kind = "a folder of that name" if one.is_folder else "a folder, no file, of that name"
        raise AnnotationError(
            f"{target.name}: there is {kind} already; take another name, or remove it."
        )
    _check_not_read(order, target)
    matched = one.matched(target.name)
    return target, target.name[:-matched] if 0 < matched < len(target.name) else target.stem


def _stem(path: Path) -> str:
    """Return a file's name without the ending that its format has."""
    try:
        return path.name[: -format_of_path(path).matched(path.name)] or path.stem
    except AnnotationError:
        return path.stem


def _check_not_read(order: ConvertOrder, target: Path) -> None:
    """Refuse a target that is one of the files that are read."""
    for read in (order.source, order.image, order.region):
        if read is not None and read.resolve() == target.resolve():
            raise AnnotationError(
                f"{read.name}: what is written would take the place of this file; take another "
                "name."
            )


def _write(
    one: Format,
    result: SegmentationResult,
    target: Path,
    stem: str,
    order: ConvertOrder,
    image: ImageFile | None,
) -> list[Path]:
    assert one.write is not None
    namespace = uuid.uuid5(NUCLEI_NAMESPACE, stem)
    with (
        shown_progress(target.name, "nuclei") as show,
        # Whatever ends it early, an interrupt too, nothing is left behind.
        replacing_together(target.parent, target.name) as part,
    ):
        export = Export(stem, namespace, image, order.simplify, show)
        one.write(part / target.name, result, export)
        written = sorted(target.parent / path.name for path in part.iterdir())
        for path in written:
            _check_not_read(order, path)
    return written


# ---- into a project


def _into_project(order: ConvertOrder, say: Say, complain: Say) -> list[Path]:
    target = order.target
    _check_not_read(order, target)
    image = _opened_image(order, complain)
    annotations = _annotations(order, complain)
    keep = _of_classes(order, annotations.scheme, annotations.class_ids)
    annotations = _selected(annotations, keep)
    within = None if order.region is None else _region(order.region)
    if target.exists():
        project = Project.open(target)
        try:
            _check_project(project, image)
            message = import_annotations(
                project.document, annotations, order.policy, within=within
            ).message
        finally:
            project.close()
    else:
        if image is None or order.image is None:
            raise AnnotationError(
                f"{target.name}: a new project needs the image that its nuclei lie on; name it "
                "with --image."
            )
        reference = ImageReference(order.image.stem, image_key(image), str(order.image.resolve()))
        make_folder(target.parent)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=target.parent) as folder:
            file = Path(folder) / target.name
            mpp = image.mpp or order.mpp or annotations.mpp
            project = Project.create(file, reference, image.shape, annotations.scheme, mpp)
            try:
                message = import_annotations(project.document, annotations, within=within).message
            finally:
                project.close()
            os.replace(file, target)
    say(f"{order.source.name} -> {target.name}: {message}")
    return [target]


def _annotations(order: ConvertOrder, complain: Say) -> AnnotationFile:
    """Return the nuclei of the source as those of an annotation file."""
    if order.source.suffix != SUFFIX:
        return _read(order, complain)
    with reading(order.source) as store:
        document = Document(store, scheme_in(store) or PANNUKE)
        rows, nuclei = document.rows(), document.nuclei()
        return AnnotationFile(
            order.source.name,
            replace(nuclei, logits=(), source="import"),
            np.array([row.id for row in rows], np.int64),
            np.array([row.class_id for row in rows], np.int32),
            nuclei.score,
            document.scheme,
            shape=document.shape,
            mpp=_mpp_in(store.fact(MPP_FACT), order.source.name),
        )


def _selected(annotations: AnnotationFile, keep: NDArray[np.bool_]) -> AnnotationFile:
    return replace(
        annotations,
        nuclei=annotations.nuclei.select(keep),
        ids=annotations.ids[keep],
        class_ids=annotations.class_ids[keep],
        scores=annotations.scores[keep],
    )


def _check_project(project: Project, image: ImageFile | None) -> None:
    """Refuse a project that cannot be changed, or is about another image than the one named."""
    if project.read_only:
        raise ProjectError(f"{project.path.name}: {project.why_read_only} Nothing was changed.")
    if image is not None and image_key(image) != project.image.fingerprint:
        raise ProjectError(
            f"{project.path.name}: it is about another image than {image.name}; nothing was "
            "changed."
        )
