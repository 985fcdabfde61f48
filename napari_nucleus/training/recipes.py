"""``napari-nucleus train``: a model by name, from a data folder to a packed weights file.

The run folder holds one folder a stage (see `loop`), the synthetic fields that were drawn for it,
and at the end ``MODEL.safetensors``.
"""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from napari_nucleus import __version__
from napari_nucleus.core.stain import LabStatistics, lab_statistics
from napari_nucleus.errors import ImageError, ModelError, WeightsError
from napari_nucleus.io.folders import make_folder
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.uninuc.build import restore_network, save_network
from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.uninuc.presets import NANO
from napari_nucleus.sample_data.generator import generate_field, random_spec
from napari_nucleus.training.batches import StagePlan, TrainingImages
from napari_nucleus.training.click_targets import ObjectConfig
from napari_nucleus.training.clicks import ClickConfig
from napari_nucleus.training.data import (
    CONSEP_DEVELOPMENT,
    AnnotatedImage,
    load_consep,
    load_dsb2018,
    load_nucls,
    nuclei_count,
)
from napari_nucleus.training.detection import TeachingConfig
from napari_nucleus.training.loop import RunConfig, load_matching, save_weights
from napari_nucleus.training.sampler import SamplerConfig
from napari_nucleus.training.uninuc import train_clicks, train_dense, train_detector

__all__ = ["NanoRecipe", "load_training_images", "pack", "train_model"]

STAGES = ("dense", "clicks", "detector", "pack")


@dataclass(frozen=True, slots=True)
class NanoRecipe:
    """Everything that decides how ``uninuc-nano`` comes about.

    Steps and batches are those of two CPU cores; a GPU takes the same code with larger batches.
    """

    config: UniNucConfig
    dense: StagePlan
    clicks: StagePlan
    detector: StagePlan
    click_training: ClickConfig
    objects: ObjectConfig
    teaching: TeachingConfig
    synthetic_fields: int
    synthetic_size: int


def nano_recipe(device: torch.device, steps: int | None, workers: int, seed: int) -> NanoRecipe:
    """Return the recipe for a device; ``steps`` replaces the length of every stage."""
    gpu = device.type == "cuda"

    def run(default: int, rate: float, **more: float) -> RunConfig:
        length = steps or default
        every = max(length // 10, 1)
        return RunConfig(
            steps=length,
            learning_rate=rate,
            score_every=every,
            checkpoint_every=min(500, every),
            **more,  # type: ignore[arg-type]
        )

    all_sources = SamplerConfig()
    outlined = replace(all_sources, consep=0.65, dsb2018=0.20, synthetic=0.15, points=0.0)
    return NanoRecipe(
        config=NANO,
        dense=StagePlan(
            run(10_000 if gpu else 7_000, 2e-3 if gpu else 1e-3, ema=0.999),
            sizes=((1.0, 256, 64),) if gpu else ((0.8, 128, 8), (1.0, 256, 4)),
            sampler=all_sources,
            workers=workers,
            seed=seed,
        ),
        clicks=StagePlan(
            run(8_000 if gpu else 11_500, 8e-4),
            sizes=((1.0, 256, 16),) if gpu else ((1.0, 192, 3),),
            sampler=outlined,
            workers=workers,
            seed=seed,
        ),
        detector=StagePlan(
            run(8_000 if gpu else 7_500, 6e-4, clip=1.0),
            sizes=((1.0, 256, 16),) if gpu else ((1.0, 256, 3),),
            sampler=outlined,
            workers=workers,
            seed=seed,
        ),
        click_training=ClickConfig()
        if gpu
        else ClickConfig(encoder_from=5_500, encoder_rate=0.4, dense_weight=0.5),
        objects=ObjectConfig(),
        teaching=TeachingConfig(),
        synthetic_fields=2_000 if gpu else 300,
        synthetic_size=320,
    )


def train_model(
    model: str,
    data: Path,
    out: Path,
    stage: str,
    steps: int | None,
    device: str,
    workers: int,
    seed: int,
    say: Callable[[str], None],
    start: Path | None = None,
) -> None:
    """Train a bundled model, or one stage of it.

    ``start`` is a weights file of the model: every stage goes on from it in place of new weights.

    Raises
    ------
    ModelError
        If there is no recipe for the model.
    ImageError, LabelsError
        If the data folder lacks something.
    AnnotationError
        If the run folder cannot be made.
    WeightsError
        If a stage is asked for before the one that it starts from, or ``start`` does not fit.
    """
    if model != "uninuc-nano":
        raise ModelError(f"No recipe for {model!r}; there is one for uninuc-nano.")
    on = resolve_device(device)
    recipe = nano_recipe(on, steps, workers, seed)
    begin = []
    if start is not None:
        network = restore_network(start, recipe.config)
        begin = [make_folder(out) / "start.safetensors"]
        save_weights(network, begin[0])
        # There are no new heads whose first gradients could harm the encoder.
        learning = replace(recipe.click_training, encoder_from=0)
        recipe = replace(recipe, click_training=learning)
    make_folder(out)
    wanted = STAGES if stage == "all" else (stage,)
    if wanted != ("pack",):
        images = load_training_images(data, recipe, seed, out / "synthetic.npz", say)
    if "dense" in wanted:
        train_dense(images, recipe.config, out / "dense", recipe.dense, on, begin, say)
    if "clicks" in wanted:
        train_clicks(
            images,
            recipe.config,
            out / "clicks",
            recipe.clicks,
            on,
            begin + _before(out, "dense", begin),
            recipe.click_training,
            recipe.objects,
            say,
        )
    if "detector" in wanted:
        train_detector(
            images,
            recipe.config,
            out / "detector",
            recipe.detector,
            on,
            begin + _before(out, "clicks", begin),
            recipe.teaching,
            say,
        )
    if "pack" in wanted:
        file = out / f"{model}.safetensors"
        pack(recipe.config, _best(out, "detector"), data, file)
        say(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)")


def load_training_images(
    data: Path, recipe: NanoRecipe, seed: int, cache: Path, say: Callable[[str], None]
) -> TrainingImages:
    """Read the data sets and draw the synthetic fields, which are kept in ``cache``.

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
    if len(synthetic) != recipe.synthetic_fields:
        say(f"drawing {recipe.synthetic_fields} synthetic fields")
        synthetic = draw_fields(recipe.synthetic_fields, recipe.synthetic_size, seed)
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


def pack(config: UniNucConfig, trained: Path, data: Path, file: Path) -> None:
    """Write the weights file that ships, from the last stage's best weights."""
    network = UniNuc(config)
    missing = load_matching(network, trained)
    if missing:
        raise WeightsError(f"{trained}: lacks {missing[0]} and {len(missing) - 1} more tensors.")
    provenance = {"version": __version__, "commit": _commit(), "recipe": "uninuc-nano"}
    save_network(network, file, training_stain(load_consep(data)), provenance)


def training_stain(images: list[AnnotatedImage]) -> LabStatistics | None:
    """Return the LAB statistics of the training tissue, to which other stains are moved."""
    return lab_statistics(np.concatenate([i.rgb[::4, ::4].reshape(-1, 3) for i in images]))


def _before(out: Path, stage: str, begin: list[Path]) -> list[Path]:
    """Return the weights of the stage before; none is needed where training starts from a file."""
    if begin and not (out / stage / "best.safetensors").exists():
        return []
    return [_best(out, stage)]


def _best(out: Path, stage: str) -> Path:
    file = out / stage / "best.safetensors"
    if not file.exists():
        raise WeightsError(f"{file}: not there; train the {stage} stage first.")
    return file


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
