"""The command line: ``napari-nucleus segment | evaluate | train | models | doctor | demo | open``.

Knows files and words; the work is done elsewhere and imported when it is needed, so that ``--help``
is instant. Errors addressed to the user end with exit code 2 and one line each, never a traceback.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_nucleus import __version__
from napari_nucleus.errors import NucleusError

__all__ = ["app", "main"]

app = typer.Typer(
    name="napari-nucleus",
    help="Segment every nucleus of an H&E image, correct with single clicks, export the result. "
    "For research; not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
evaluate = typer.Typer(help="Score segmentations and corrections.", no_args_is_help=True)
app.add_typer(evaluate, name="evaluate")

Model = Annotated[str, typer.Option("--model", help="Model; see `napari-nucleus models`.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Weights = Annotated[Path | None, typer.Option(help="Weights file in place of the bundled one.")]
Mpp = Annotated[
    float | None,
    typer.Option(help="µm per pixel. By default what the file says, else an estimate."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Names = Annotated[
    list[str] | None, typer.Option("--name", help="Only images of this stem; may be repeated.")
]


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


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        app()
    except NucleusError as error:
        _complain(str(error))
        sys.exit(2)


def _complain(message: str) -> None:
    """Say what is wrong in one line, whatever a decoder's own message looks like."""
    typer.echo(f"napari-nucleus: {' '.join(message.split())}", err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="Images to segment.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: Model = "uninuc-nano",
    mpp: Mpp = None,
    device: Device = "auto",
    weights: Weights = None,
) -> None:
    """Segment images: STEM.tif, STEM.geojson, STEM.csv and STEM_overlay.png for each.

    A bad image is named and skipped, the others are still done; the exit code is then 2.
    """
    from napari_nucleus.cli.batch import segment_files

    failed = segment_files(images, out, model, mpp, device, weights, _report, _complain)
    if failed:
        raise typer.Exit(2)


def _report(message: str) -> None:
    typer.echo(message)


@evaluate.command("segmentation")
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


@evaluate.command("automatic")
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


@evaluate.command("classes")
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


@evaluate.command("interactive")
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


@evaluate.command("correction")
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


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Model to train, such as uninuc-nano.")],
    data: Annotated[Path, typer.Option(help="Folder with the training data sets.")],
    out: Annotated[Path, typer.Option(help="Run folder: checkpoints, log, weights.")],
    stage: Annotated[str, typer.Option(help="Only this stage of the recipe.")] = "all",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each stage, in place of the recipe's.")
    ] = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of weights, crops and clicks.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="Weights file of the model to go on from.")
    ] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(help="Folder of images that stages label themselves.")
    ] = None,
) -> None:
    """Train a bundled model by its recipe; a run that was interrupted is resumed."""
    from napari_nucleus.training.recipes import TrainingOrder, train_model

    order = TrainingOrder(data, out, stage, steps, device, workers, seed, start, unlabelled)
    train_model(model, order, _report)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models: what they can do, their licence, where they come from."""
    from dataclasses import asdict

    from napari_nucleus.models import zoo

    infos = [zoo.describe(name) for name in zoo.names()]
    if as_json:
        rows = [
            {**asdict(info), "classes": None if info.classes is None else info.classes.names}
            for info in infos
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    for info in infos:
        typer.echo(f"{info.name}: {info.title}")
        classes = ", ".join(info.classes.names) if info.classes else "none"
        typer.echo(f"  can: {', '.join(info.capabilities)}; classes: {classes}")
        typer.echo(f"  works at {info.working_mpp} µm/px; {info.licence}; {info.source}")
        if info.limits:
            typer.echo(f"  {info.limits}")


@app.command()
def card(model: Annotated[str, typer.Argument(help="Name of the model.")] = "uninuc-nano") -> None:
    """Print a model's card: data, licences, recipe, scores, what it is bad at."""
    from napari_nucleus.models import zoo

    typer.echo(zoo.card(model))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation: versions, devices, weights, folders, screen."""
    from napari_nucleus.cli.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([f.as_dict() for f in findings], indent=1))
    else:
        for finding in findings:
            typer.echo(str(finding))
    if any(not finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo_output"),
    field: Annotated[str, typer.Option(help="crypts, tumour or lymphoid.")] = "crypts",
    device: Device = "auto",
    show: Annotated[
        bool | None, typer.Option(help="Open the app; by default where there is a screen.")
    ] = None,
) -> None:
    """Segment a bundled field, write the results, score them, open the app."""
    from napari_nucleus.cli.batch import run_demo, screen_available

    if show:
        _check_screen()
    image = run_demo(out, field, device, _report)
    if show or (show is None and screen_available()):
        _open_app(image, field)


@app.command("open")
def open_image(
    image: Annotated[Path, typer.Argument(help="Image, folder of images, or project to open.")],
    mpp: Mpp = None,
) -> None:
    """Open an image, the images of a folder, or a project in napari with the dock.

    Where the image of a project was moved or changed, the app asks what to do.
    """
    from napari_nucleus.core.image import check_mpp
    from napari_nucleus.io.images import IMAGE_SUFFIXES
    from napari_nucleus.io.images import open_image as read
    from napari_nucleus.session.project import SUFFIX
    from napari_nucleus.session.series import Series

    path = image.resolve()
    if image.is_dir():
        Series.of_folder(path, IMAGE_SUFFIXES)  # whoever has none is told before a window opens
        stated = check_mpp(mpp, image.name)
        _launcher().launch_folder(path, stated)
    elif image.suffix == SUFFIX:
        _check_project(path)
        _launcher().launch_project(path)
    else:
        source = read(image, mpp)
        _open_app(source, image.stem, str(path), source.pixel_size.note)


def _check_project(path: Path) -> None:
    """Refuse a project that cannot be opened with its image; say what the app will ask about."""
    from napari_nucleus.session.reading import peek
    from napari_nucleus.widgets.project_images import locate_image

    found = locate_image(peek(path))
    if not isinstance(found, Path):
        _complain(found.sentence)


def _open_app(source: Any, name: str, path: str = "", note: str = "") -> None:
    _launcher().launch(source, name, path, note)


def _launcher() -> Any:
    """Return the module that opens the app, where it can be opened."""
    from importlib import import_module

    _check_screen()
    try:
        return import_module("napari_nucleus.widgets.launch")
    except ImportError as error:
        raise NucleusError(
            f"The app needs napari and Qt ({error.name} is missing); "
            "install them with: pip install 'napari-nucleus[app]'"
        ) from error


def _check_screen() -> None:
    """Refuse in words where Qt would end the process."""
    from napari_nucleus.cli.batch import screen_available

    if not screen_available():
        raise NucleusError(
            "There is no screen to open a window on; `napari-nucleus segment` works without one."
        )
