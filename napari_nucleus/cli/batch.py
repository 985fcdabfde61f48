"""Segmenting files from the command line: one after the other, with progress, bad ones named."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_nucleus.cli.asking import ask_image, facts_of_run, read_question
from napari_nucleus.cli.bars import shown_progress
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ArraySource, ImageSource, check_mpp
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.points import Points
from napari_nucleus.errors import AnnotationError, ImageError, ModelError, NucleusError
from napari_nucleus.hosting.local import calibrate_source, segment_source, segment_with_points
from napari_nucleus.io.export import USUAL, write_all
from napari_nucleus.io.folders import make_folder
from napari_nucleus.io.formats import FORMATS
from napari_nucleus.io.images import open_image
from napari_nucleus.io.points import check_points_file, write_points
from napari_nucleus.io.results import SegmentationResult, result_of_nuclei
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.point_segmenter import PointSegmenter

__all__ = ["run_demo", "screen_available", "segment_files", "segment_image"]

Say = Callable[[str], None]


def segment_files(
    images: Sequence[Path],
    out: Path,
    model: str,
    mpp: float | None,
    device: str,
    weights: Path | None,
    say: Say,
    complain: Say,
    text: str | None = None,
    segmenter: str | None = None,
    points: Path | None = None,
) -> list[Path]:
    """Segment files and write their results; return those that failed.

    Parameters
    ----------
    text
        Only the nuclei that it asks for, by a model that understands words; all by default.
    segmenter
        The model that outlines the points of a model that finds points.
    points
        File for those points, of one image.

    Raises
    ------
    NucleusError
        If nothing can be done at all: unknown model, bad weights, bad pixel size, no folder, no
        points to write, or a result would replace an image or another result.
    """
    check_mpp(mpp, "--mpp")
    _check_stems(images)
    _check_targets(images, out)
    question = None if text is None else read_question(text, zoo.describe(model))
    if points is not None:
        _check_points(points, images, zoo.describe(model))
    loaded = zoo.load_model(model, device, weights, segmenter)
    make_folder(out)
    failed: list[Path] = []
    for file in images:
        try:
            source = open_image(file, mpp)
            if source.pixel_size.note:
                complain(source.pixel_size.note)
            sentence = ""
            if points is not None:
                result, calibration, found = segment_by_points(loaded, source, file.name)
                write_points(points, found, loaded.info.classes, calibration.mpp)
                sentence = f"{len(found):,} points -> {points.name}"
            elif question is None:
                result, calibration = segment_image(loaded, source, file.name)
            else:
                result, calibration, sentence = ask_image(loaded, source, file.name, question)
            written = write_all(result, source, out, file.stem)
        except AnnotationError:
            raise
        except NucleusError as error:
            complain(str(error))
            failed.append(file)
            continue
        say(
            f"{file.name}: {counted(len(result))}{_scale_note(calibration)} -> "
            f"{', '.join(p.name for p in written)}"
        )
        if sentence:
            say(sentence)
    return failed


def segment_image(
    model: Any, source: ImageSource, name: str
) -> tuple[SegmentationResult, Calibration]:
    """Segment one image with a progress bar; return the result and the scale that was used."""
    calibration = calibrate_source(model, source)
    with shown_progress(name, "tiles") as show:
        nuclei = segment_source(model, source, calibration, on_progress=show)
    made = facts_of_run(model, calibration)
    result = result_of_nuclei(nuclei, source.shape, model.info.classes, calibration.mpp, made)
    return result, calibration


def segment_by_points(
    model: PointSegmenter, source: ImageSource, name: str
) -> tuple[SegmentationResult, Calibration, Points]:
    """Segment one image as `segment_image` does; return the points as well."""
    calibration = calibrate_source(model, source)
    with shown_progress(name, "tiles") as show:
        nuclei, points = segment_with_points(model, source, calibration, on_progress=show)
    made = facts_of_run(model, calibration)
    scheme = model.info.classes or PANNUKE
    result = result_of_nuclei(nuclei, source.shape, scheme, calibration.mpp, made)
    return result, calibration, points


def run_demo(out: Path, field: str, device: str, say: Say) -> ImageSource:
    """Segment a bundled field, write its results, and say how they compare with its truth."""
    from napari_nucleus.sample_data.fields import FIELD_NAMES, load_field
    from napari_nucleus.training.evaluation import compare_labels

    if field not in FIELD_NAMES:
        raise ImageError(f"No bundled field {field!r}; there is {', '.join(FIELD_NAMES)}.")
    make_folder(out)
    truth = load_field(field)
    source = ArraySource(truth.rgb, truth.spec.mpp, f"{field} (bundled)")
    model = zoo.load_model(zoo.DEFAULT_MODEL, device)
    result, _ = segment_image(model, source, field)
    written = write_all(result, source, out, field)
    scores = compare_labels(truth.labels, result.labels, truth.spec.mpp)
    say(
        f"{field}: {len(result)} nuclei found, {scores.n_true} drawn by the generator, "
        f"PQ {scores.pq:.2f}, detection F1 {scores.detection_f1:.2f}"
    )
    say("written: " + ", ".join(str(out / file.name) for file in written))
    return source


def screen_available() -> bool:
    """Return whether a window can be opened here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _check_points(points: Path, images: Sequence[Path], info: ModelInfo) -> None:
    """Raise if the model finds no points, or they cannot be written there."""
    if "points" not in info.capabilities:
        raise ModelError(
            f"{info.name} finds no points; choose a model that does, such as nunext-nano."
        )
    check_points_file(points)
    if len(images) != 1:
        raise AnnotationError(
            f"{points.name}: --points takes the points of one image, {len(images)} are given."
        )
    if points.resolve() == images[0].resolve():
        raise AnnotationError(f"{points.name}: it would take the place of the image; rename it.")


def _check_stems(images: Sequence[Path]) -> None:
    """Raise if two images would write the same files, on file systems that ignore case as well."""
    seen: dict[str, Path] = {}
    for file in images:
        stem = file.stem.casefold()
        if stem in seen:
            raise ImageError(
                f"{seen[stem]} and {file} would both be written as {file.stem}.*; "
                "segment them into different folders."
            )
        seen[stem] = file


def _check_targets(images: Sequence[Path], out: Path) -> None:
    """Raise if a result would take the place of an image."""
    by_place = {file.resolve(): file for file in images}
    for file in images:
        for name in USUAL:
            target = out / f"{file.stem}{FORMATS[name].ending}"
            image = by_place.get(target.resolve())
            if image is not None:
                raise ImageError(
                    f"{image}: the results of {file.name} would take the place of this image; "
                    "choose another folder with --out."
                )


def _scale_note(calibration: Calibration) -> str:
    if not calibration.mpp_estimated:
        return ""
    return f" (no pixel size in the file; {calibration.mpp:.3f} µm/px estimated from nuclei)"
