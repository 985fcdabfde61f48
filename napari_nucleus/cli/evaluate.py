"""``napari-nucleus evaluate``: scores of segmentations, classes, points, texts, corrections."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_nucleus.cli.options import Device, Json, Model, Mpp, Names, Weights

__all__ = ["app"]

app = typer.Typer(
    help="Score segmentations, classes, points, texts and corrections.", no_args_is_help=True
)


class StartChoice(StrEnum):
    """Where simulated corrections start from."""

    POINT = "point"
    BOX = "box"
    AUTOMATIC = "automatic"


class MeansChoice(StrEnum):
    """What a simulated user corrects with."""

    ALL = "all"
    BOXES = "boxes"
    CLICKS = "clicks"


@app.command("segmentation")
def evaluate_segmentation(
    pred: Annotated[Path, typer.Argument(help="Predicted label map, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(help="True label map, or a folder (NAME_inst.png).")],
    mpp: Annotated[float, typer.Option(help="µm per pixel, for the 3 µm of detection.")] = 0.25,
    as_json: Json = False,
) -> None:
    """Compare label maps: PQ, AJI, AJI+, mSA, detection F1, Dice."""
    from napari_nucleus.training.evaluation import evaluate_segmentation as run

    scores = run(pred, truth, mpp)
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    for name, row in scores["images"].items():
        typer.echo(f"{name}: " + _numbers(row))
    typer.echo("mean: " + _numbers(scores["mean"]))
    _report_worst(scores["worst"])


def _report_worst(worst: dict[str, Any] | None) -> None:
    """Name the worst image; there is none where no image has a nucleus on either side."""
    if worst is not None:
        typer.echo(f"worst: {worst['name']} (PQ {worst['pq']})")


def _numbers(row: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
    )


@app.command("automatic")
def evaluate_automatic(
    images: Annotated[Path, typer.Argument(help="Folder of images with NAME_inst.png truth.")],
    model: Model = "uninuc-nano",
    mpp: Mpp = None,
    change: Annotated[
        list[str] | None,
        typer.Option(help="halved, doubled, restained or jpeg40: score changed images as well."),
    ] = None,
    name: Names = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Segment annotated images and score the result, on changed copies as well."""
    from napari_nucleus.training.robustness import evaluate_model

    scores = evaluate_model(
        images, model, mpp, tuple(change or ()), tuple(name or ()), device, weights
    )
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    for variant, result in scores.items():
        typer.echo(f"{variant}: {_numbers(result['mean'])}")
        _report_worst(result["worst"])


@app.command("classes")
def evaluate_classes(
    images: Annotated[
        Path, typer.Argument(help="Folder of images with NAME_cls.png or NAME_points.csv.")
    ],
    model: Model = "uperhover-nano",
    mpp: Annotated[float, typer.Option(help="µm per pixel of the images.")] = 0.25,
    name: Names = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Score the classes of nuclei: F1 where all are known, recall where points are."""
    from napari_nucleus.training.classes import evaluate_classes as run

    scores = run(images, model, mpp, tuple(name or ()), device, weights)
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    if scores["f1"]:
        typer.echo(f"F1: {_numbers(scores['f1'])}")
    for class_name, row in scores["points"].items():
        typer.echo(
            f"{class_name}: {row['points']} points, found {row['found']}, named "
            f"{_numbers(row['named'])}"
        )


@app.command("points")
def evaluate_points(
    images: Annotated[Path, typer.Argument(help="Folder of images with NAME_inst.png truth.")],
    model: Model = "nunext-nano",
    mpp: Mpp = None,
    segmenter: Annotated[
        str | None, typer.Option(help="Model that makes masks of points; by default uninuc-nano.")
    ] = None,
    name: Names = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Score nuclei found as points, and the masks that are made of them."""
    from napari_nucleus.training.point_scores import evaluate_points as run

    scores = run(images, model, mpp, tuple(name or ()), device, weights, segmenter)
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    for way, row in scores["detection"].items():
        typer.echo(f"{way}: {_numbers(row['pooled'])}  mean f1 {row['mean_f1']}")
        for image, numbers in row["images"].items():
            typer.echo(f"  {image}: {_numbers(numbers)}")
        for least, numbers in row["thresholds"].items():
            typer.echo(f"  from {least}: {_numbers(numbers)}")
    for what, row in scores["masks"].items():
        typer.echo(f"masks, {what}: {_numbers(row['mean'])}")


@app.command("text")
def evaluate_text(
    images: Annotated[Path, typer.Argument(help="Folder of images with NAME_cls.png.")],
    model: Model = "promptgroup-nano",
    mpp: Annotated[float, typer.Option(help="µm per pixel of the images.")] = 0.25,
    name: Names = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Ask texts that no model was trained on: Dice, its spread over wordings, presence."""
    from napari_nucleus.training.text_scores import evaluate_texts as run

    scores = run(images, model, mpp, tuple(name or ()), device, weights)
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    for concept, row in scores["texts"].items():
        worst = row.pop("worst")
        typer.echo(f"{concept}: {_numbers(row)}  worst {worst['dice']:.4f} ({worst['text']})")
    for concept, row in scores["quality"].items():
        typer.echo(f"{concept}, training bank: {_numbers(row)}")
    for concept, row in scores["presence"].items():
        typer.echo(f"{concept}, tiles: {_numbers(row)}")


@app.command("interactive")
def evaluate_interactive(
    images: Annotated[Path, typer.Argument(help="Folder of images.")],
    truth: Annotated[Path, typer.Argument(help="Folder of label maps (NAME_inst.png).")],
    model: Model = "uninuc-nano",
    start: Annotated[StartChoice, typer.Option(help="First prompt.")] = StartChoice.POINT,
    iterations: Annotated[int, typer.Option(min=1, help="Answers in all; I_0 is the first.")] = 8,
    mpp: Mpp = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated user.")] = 0,
    name: Names = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Simulate corrections: mSA after each round, and clicks to reach an IoU."""
    from napari_nucleus.training.interactive import evaluate_interactive as run

    scores = run(
        images, truth, model, start.value, iterations, mpp, seed, tuple(name or ()), device, weights
    )
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    typer.echo("mSA: " + "  ".join(f"I_{t} {v:.4f}" for t, v in enumerate(scores["msa"])))
    for key, value in scores["clicks"].items():
        typer.echo(f"{key}: {_numbers(value) if isinstance(value, dict) else value}")


@app.command("correction")
def evaluate_correction(
    images: Annotated[Path, typer.Argument(help="Folder of images.")],
    truth: Annotated[Path, typer.Argument(help="Folder of label maps (NAME_inst.png).")],
    model: Model = "uninuc-nano",
    means: Annotated[
        list[MeansChoice] | None,
        typer.Option(help="What the user uses; may be repeated. By default all, then clicks."),
    ] = None,
    mpp: Mpp = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated user.")] = 0,
    name: Names = None,
    device: Device = "auto",
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Count a simulated user's actions to correct the automatic result, and to redraw it."""
    from napari_nucleus.training.correction import MEANS
    from napari_nucleus.training.correction import evaluate_correction as run

    chosen = means or [MeansChoice.ALL, MeansChoice.CLICKS]
    scores = run(
        images,
        truth,
        model,
        [means for means in MEANS if MeansChoice(means) in chosen],
        mpp,
        seed,
        tuple(name or ()),
        device,
        weights,
    )
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    for entry in scores["runs"]:
        title = f"{entry['means']}, from {_START_WORDS[entry['start']]}"
        typer.echo(f"{title}: {_numbers(entry['total'])}")
        for image, row in entry["images"].items():
            typer.echo(f"  {image}: {_numbers(row)}")
        typer.echo(f"  actions: {_numbers(entry['kinds'])}")
        for tactic, row in entry["tactics"].items():
            typer.echo(f"  {tactic}: {_numbers(row)}")
    for used_means, ratio in scores["ratios"].items():
        typer.echo(f"{used_means}, automatic by nothing: {ratio}")
    if "all_to_clicks" in scores:
        typer.echo(f"all from automatic by clicks from nothing: {scores['all_to_clicks']}")


_START_WORDS = {"automatic": "the automatic result", "nothing": "nothing"}
