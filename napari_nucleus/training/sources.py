"""What recipes share: data sets and synthetic fields, and what packed weights tell of them."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from napari_nucleus import __version__
from napari_nucleus.core.stain import LabStatistics, lab_statistics
from napari_nucleus.errors import ImageError, WeightsError
from napari_nucleus.sample_data.generator import generate_field, random_spec
from napari_nucleus.training.batches import TrainingImages
from napari_nucleus.training.data import (
    CONSEP_DEVELOPMENT,
    AnnotatedImage,
    load_consep,
    load_dsb2018,
    load_nucls,
    nuclei_count,
)

__all__ = ["best_of", "draw_fields", "load_training_images", "provenance_of", "training_stain"]


def load_training_images(
    data: Path, fields: tuple[int, int, int], cache: Path, say: Callable[[str], None]
) -> TrainingImages:
    """Read the data sets and draw the synthetic fields, which are kept in ``cache``.

    ``fields`` are how many, their side in pixels, and the seed.

    Raises
    ------
    ImageError, LabelsError
        If the data folder lacks something; before anything is drawn.
    """
    annotated = {"consep": load_consep(data), "dsb2018": load_dsb2018(data)}
    points, development = load_nucls(data), load_consep(data, development=True)
    for name, images in annotated.items():
        if not images:
            raise ImageError(f"{data / name}: no image to train on; see training/data.py.")
    if not development:
        raise ImageError(
            f"{data / 'consep'}: none of the development images that select the weights is here "
            f"({', '.join(CONSEP_DEVELOPMENT)})."
        )
    synthetic = _cached_fields(cache)
    if len(synthetic) != fields[0]:
        say(f"drawing {fields[0]} synthetic fields")
        synthetic = draw_fields(*fields)
        _cache_fields(synthetic, cache)
    annotated["synthetic"] = synthetic
    for name, images in annotated.items():
        say(f"{name}: {len(images)} images, {nuclei_count(images):,} nuclei")
    return TrainingImages(annotated, points, development)


def draw_fields(count: int, size: int, seed: int) -> list[AnnotatedImage]:
    """Draw synthetic fields of ``size`` pixels a side at 0.25 µm per pixel; many on all cores."""
    draw = partial(_draw_field, size, seed)
    if count < 32:  # less work than starting processes
        return [draw(i) for i in range(count)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(draw, range(count), chunksize=4))


def _draw_field(size: int, seed: int, i: int) -> AnnotatedImage:
    rng = np.random.default_rng([seed, i])
    field = generate_field(random_spec(rng, (size, size), 0.25), rng)
    return AnnotatedImage(f"synthetic_{i}", "synthetic", field.rgb, field.labels, field.class_of_id)


def _cache_fields(fields: list[AnnotatedImage], cache: Path) -> None:
    arrays = {}
    for i, field in enumerate(fields):
        arrays |= {
            f"rgb_{i}": field.rgb,
            f"labels_{i}": field.labels,
            f"cls_{i}": field.class_target,
        }
    np.savez_compressed(cache, **arrays)  # type: ignore[arg-type]


def _cached_fields(cache: Path) -> list[AnnotatedImage]:
    if not cache.exists():
        return []
    with np.load(cache) as arrays:
        return [
            AnnotatedImage(
                f"synthetic_{i}",
                "synthetic",
                arrays[f"rgb_{i}"],
                arrays[f"labels_{i}"],
                arrays[f"cls_{i}"],
            )
            for i in range(len(arrays.files) // 3)
        ]


def training_stain(images: list[AnnotatedImage]) -> LabStatistics | None:
    """Return the LAB statistics of the training tissue, to which other stains are moved."""
    return lab_statistics(np.concatenate([i.rgb[::4, ::4].reshape(-1, 3) for i in images]))


def best_of(out: Path, stage: str) -> Path:
    """Return the weights that scored best in a stage of the run folder ``out``.

    Raises
    ------
    WeightsError
        If the stage was not trained yet.
    """
    file = out / stage / "best.safetensors"
    if not file.exists():
        raise WeightsError(f"{file}: not there; train the {stage} stage first.")
    return file


def provenance_of(recipe: str) -> dict[str, str]:
    """Return what packed weights say of their making."""
    return {"version": __version__, "commit": _commit(), "recipe": recipe}


def _commit() -> str:
    """Return the commit that this runs from, or that it is not known."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
