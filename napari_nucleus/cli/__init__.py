"""The command line: ``napari-nucleus segment | measure | convert | open`` and smaller commands.

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
from napari_nucleus.cli import evaluate
from napari_nucleus.cli.options import Device, Json, Mpp, Weights
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
app.add_typer(evaluate.app, name="evaluate")


class Thresholds(StrEnum):
    """Which pixels thresholds in pixels are meant for."""

    EQUIVALENT = "equivalent"
    NATIVE = "native"


class Policy(StrEnum):
    """What becomes of nuclei that a project has already; as `session.import_policy`."""

    ADD = "add"
    REPLACE = "replace"
    MERGE = "merge"


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
    model: Annotated[
        str | None,
        typer.Option(
            help="Model; see `napari-nucleus models`. By default uninuc-nano, and promptgroup-nano "
            "with --text."
        ),
    ] = None,
    mpp: Mpp = None,
    device: Device = "auto",
    weights: Weights = None,
    text: Annotated[
        str | None, typer.Option(help='Only the nuclei it asks for, such as "large lymphocytes".')
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="Model that outlines what a model finds as points; by default uninuc-nano."
        ),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="CSV or GeoJSON file for those points, of one image.")
    ] = None,
) -> None:
    """Segment images: STEM.tif, STEM.geojson, STEM.csv and STEM_overlay.png for each.

    A bad image is named and skipped, the others are still done; the exit code is then 2.
    """
    from napari_nucleus.cli.batch import segment_files

    model = model or ("uninuc-nano" if text is None else "promptgroup-nano")
    failed = segment_files(
        images, out, model, mpp, device, weights, _report, _complain, text, segmenter, points
    )
    if failed:
        raise typer.Exit(2)


def _report(message: str) -> None:
    typer.echo(message)


@app.command()
def measure(
    labels: Annotated[Path, typer.Argument(help="Label map (TIFF, PNG, NPY) or project.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    classes: Annotated[
        Path | None,
        typer.Option(help="Classes of the nuclei: CSV with id and class, JSON, or a class map."),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="µm per pixel; by default what the file says.")
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="Scheme of the classes: PanNuke, CoNSeP or MoNuSAC.")
    ] = None,
    thresholds: Annotated[
        Thresholds, typer.Option(help="Pixels of thresholds: of 0.25 µm, or those at hand.")
    ] = Thresholds.EQUIVALENT,
    tumour_known: Annotated[
        bool | None,
        typer.Option(
            "--tumour-known/--epithelium-merged",
            help="Whether neoplastic and benign epithelial nuclei were told apart; by default as "
            "the class scheme and the model say.",
            show_default=False,
        ),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="GeoJSON of regions to compare with the whole image.")
    ] = None,
    border: Annotated[
        Path | None, typer.Option(help="GeoJSON of what the tumour border goes around.")
    ] = None,
    exclude: Annotated[Path | None, typer.Option(help="GeoJSON of what is left out.")] = None,
) -> None:
    """Measure the microenvironment: JSON, tables, figures and a report, STEM_tme.*."""
    from napari_nucleus.cli.measure import MeasureOrder, measure_file

    order = MeasureOrder(
        labels, classes, out, mpp, scheme, thresholds.value, tumour_known, regions, border, exclude
    )
    measure_file(order, _report)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Annotation file, or project.")],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="File to write, a folder with --to, or a project."),
    ],
    to: Annotated[
        str | None,
        typer.Option(help="Format, see `napari-nucleus formats`; by default OUT's ending tells."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="The image that the nuclei lie on; new projects and overlays need it."),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="µm per pixel; by default what the image or IN says.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Only nuclei of this class; may be repeated."),
    ] = None,
    region: Annotated[
        Path | None, typer.Option(help="GeoJSON; only nuclei whose centroids lie in its regions.")
    ] = None,
    simplify: Annotated[
        bool, typer.Option(help="Outlines with fewer corners; exact by default.")
    ] = False,
    policy: Annotated[
        Policy, typer.Option(help="What becomes of nuclei that the project OUT has already.")
    ] = Policy.ADD,
) -> None:
    """Convert annotations between formats, out of a project, or into one."""
    from napari_nucleus.cli.convert import ConvertOrder, convert_file
    from napari_nucleus.session.import_policy import ImportPolicy

    order = ConvertOrder(
        source,
        target,
        to,
        image,
        mpp,
        tuple(classes or ()),
        region,
        simplify,
        ImportPolicy(policy.value),
    )
    convert_file(order, _report, _complain)


@app.command()
def formats(
    markdown: Annotated[bool, typer.Option(help="As a table for documentation.")] = False,
) -> None:
    """List the annotation formats, and what each keeps."""
    from napari_nucleus.io.formats.overview import markdown_table, text_table

    typer.echo(markdown_table() if markdown else text_table())


@app.command()
def query(
    project: Annotated[Path, typer.Argument(help="Project with the nuclei.")],
    text: Annotated[str, typer.Argument(help='Which nuclei, such as "small lymphocytes".')],
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Annotation file for them, such as found.geojson.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="µm per pixel; by default what the project says.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="The image; dark and pale nuclei are seen in it.")
    ] = None,
    border: Annotated[
        Path | None, typer.Option(help="GeoJSON of what the tumour border goes around.")
    ] = None,
) -> None:
    """Find nuclei of a project by words: class, size, shape, neighbours, place."""
    from napari_nucleus.cli.query import QueryOrder, query_project

    query_project(QueryOrder(project, text, as_json, out, mpp, image, border), _report)


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
def adopt(
    model: Annotated[str, typer.Argument(help="Model that comes without weights.")],
    file: Annotated[
        Path, typer.Argument(help="Your weights: safetensors, PyTorch's .bin, or a folder.")
    ],
    class_order: Annotated[
        str,
        typer.Option(help="Class id of each output, such as 1,2,3,4,5,0 for background last."),
    ] = "",
) -> None:
    """Make weights of another program those of a model, once and for all."""
    from napari_nucleus.models import zoo

    try:
        order = tuple(int(part) for part in class_order.split(",") if part.strip())
    except ValueError as error:
        raise NucleusError(f"--class-order {class_order!r}: not numbers with commas.") from error
    report = zoo.adopt(model, file, order)
    typer.echo(f"written: {zoo.weights_file(model)} ({len(report.loaded)} tensors)")
    for what in ("missing", "unexpected", "reshaped"):
        names = getattr(report, what)
        if names:
            typer.echo(f"  {what}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}")


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
