"""Models by name: what there is, what it can do, and how to load it.

Weights are bundled, or the user's own: those are adopted once, into the user's data folder.
Describing a model needs no torch; loading it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import ModelInfo

__all__ = [
    "DEFAULT_MODEL",
    "adopt",
    "available",
    "card",
    "describe",
    "guessing",
    "load_model",
    "names",
    "weights_file",
]

DEFAULT_MODEL = "uninuc-nano"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A model of the zoo: what is said of it, its folder, its card, and what loads it.

    ``adopt`` makes a weights file of ours from another program's, where no weights are bundled; its
    name ends with ``suffix``, ``".json"`` where it only names the folder of a checkpoint.
    """

    info: ModelInfo
    folder: str
    load: Callable[[ModelInfo, Path, str], Any]
    card: str = "card.md"
    adopt: Callable[[Path, Path, tuple[int, ...]], Any] | None = None
    suffix: str = ".safetensors"


def _late(module: str, function: str, *first: Any) -> Callable[..., Any]:
    """Return a function of a system's package, imported when it is called: torch is there.

    ``first`` are arguments that go before those of the call.
    """

    def call(*arguments: Any) -> Any:
        found = getattr(import_module(f"napari_nucleus.models.{module}"), function)
        return found(*first, *arguments)

    return call


def _sam(name: str, title: str, licence: str, limits: str) -> _Entry:
    """Return a model of SAM's kind, of the user's weights."""
    info = ModelInfo(
        name=name,
        title=title,
        capabilities=("promptable",),
        classes=None,
        working_mpp=0.25,
        tile=256,
        halo=32,
        click_tile=256,
        licence=licence,
        source=f"not bundled: napari-nucleus adopt {name} FILE",
        limits=limits,
    )
    return _Entry(
        info,
        "sam",
        _late("sam.build", "load_predictor"),
        "card_sam.md",
        _late("sam.build", "adopt_checkpoint", name),
    )


_EPITHELIAL_EITHER = (
    "Its training data tell too little of neoplastic and benign epithelium: "
    "read both as epithelial."
)

_PHOTOGRAPHS = (
    "It was made for photographs, and finds no nuclei by itself: it answers clicks and boxes."
)
_ANSWERS_ONLY = "It finds no nuclei by itself: it answers clicks and boxes."
_APACHE = "of the weights you adopt; the published ones are Apache-2.0"
_MIXED = "of the weights you adopt; some of the published ones' training data are non-commercial"

_SAMS: Mapping[str, _Entry] = {
    entry.info.name: entry
    for entry in (
        *(
            _sam(f"sam-vit-{s.lower()}", f"SAM ViT-{s}: clicks and boxes", _APACHE, _PHOTOGRAPHS)
            for s in "BLH"
        ),
        *(
            _sam(f"sam2.1-{s}", f"SAM2.1 {s}: clicks and boxes", _APACHE, _PHOTOGRAPHS)
            for s in ("tiny", "small", "base-plus", "large")
        ),
        *(
            _sam(
                f"pathosam-vit-{s.lower()}",
                f"PathoSAM ViT-{s}: SAM taught on histopathology, clicks and boxes",
                _MIXED,
                _ANSWERS_ONLY,
            )
            for s in "BLH"
        ),
        _sam(
            "medsam",
            "MedSAM: SAM ViT-B taught on medical images, boxes",
            _APACHE,
            "It was taught boxes alone: what it makes of clicks is a guess. It finds no nuclei by "
            "itself.",
        ),
    )
}

_ZOO: Mapping[str, _Entry] = {
    "uninuc-nano": _Entry(
        ModelInfo(
            name="uninuc-nano",
            title="UniNuc nano: every nucleus, and one-click corrections, on any laptop",
            capabilities=("automatic", "promptable"),
            classes=PANNUKE,
            working_mpp=0.25,
            tile=512,
            halo=32,
            click_tile=256,
            licence="BSD-3-Clause",
            source="bundled",
            limits=_EPITHELIAL_EITHER,
            not_told_apart=NEOPLASTIC_OR_EPITHELIAL,
        ),
        "uninuc",
        _late("uninuc.build", "load_predictor"),
    ),
    "uperhover-nano": _Entry(
        ModelInfo(
            name="uperhover-nano",
            title="UperHoVer nano: every nucleus with its class, parted by a watershed",
            capabilities=("automatic",),
            classes=PANNUKE,
            working_mpp=0.25,
            tile=640,
            halo=32,
            click_tile=640,
            licence="BSD-3-Clause",
            source="bundled",
            limits=_EPITHELIAL_EITHER,
            not_told_apart=NEOPLASTIC_OR_EPITHELIAL,
        ),
        "uperhover",
        _late("uperhover.build", "load_predictor"),
    ),
    "uperhover-uni2h": _Entry(
        ModelInfo(
            name="uperhover-uni2h",
            title="UperHoVer on UNI2-h, as published: five classes, for a GPU",
            capabilities=("automatic",),
            classes=PANNUKE,
            working_mpp=0.314,
            tile=608,
            halo=32,
            click_tile=608,
            licence="of the weights you adopt; UNI2-h itself is CC BY-NC-ND 4.0",
            source="not bundled: napari-nucleus adopt uperhover-uni2h FILE",
        ),
        "uperhover",
        _late("uperhover.build", "load_predictor"),
        "card_uni2h.md",
        _late("uperhover.build", "adopt_checkpoint"),
    ),
    "promptgroup-nano": _Entry(
        ModelInfo(
            name="promptgroup-nano",
            title="Prompt-group nano: nuclei asked for in words, all or of a class",
            capabilities=("text",),
            classes=PANNUKE,
            working_mpp=0.25,
            tile=640,
            halo=32,
            click_tile=256,
            licence="BSD-3-Clause",
            source="bundled",
            limits=_EPITHELIAL_EITHER,
            not_told_apart=NEOPLASTIC_OR_EPITHELIAL,
        ),
        "promptgroup",
        _late("promptgroup.build", "load_predictor"),
    ),
    **_SAMS,
    "sam3": _Entry(
        ModelInfo(
            name="sam3",
            title="SAM3: whatever a text names, for a GPU",
            capabilities=("text",),
            classes=None,
            working_mpp=0.25,
            tile=512,
            halo=32,
            click_tile=256,
            licence="of the weights you adopt; SAM3's own is the SAM License",
            source="not bundled: napari-nucleus adopt sam3 FILE",
            limits="It was made for photographs; what it knows of tissue depends on your weights.",
        ),
        "promptgroup",
        _late("promptgroup.sam3_build", "load_predictor"),
        "card_sam3.md",
        _late("promptgroup.sam3_build", "adopt_checkpoint"),
    ),
    "nunext-nano": _Entry(
        ModelInfo(
            name="nunext-nano",
            title="NuNext nano: points to every nucleus, one after the other, on any laptop",
            capabilities=("automatic", "points"),
            classes=PANNUKE,
            working_mpp=0.25,
            tile=512,
            halo=32,
            click_tile=256,
            licence="BSD-3-Clause",
            source="bundled",
            limits=_EPITHELIAL_EITHER,
            not_told_apart=NEOPLASTIC_OR_EPITHELIAL,
        ),
        "nunext",
        _late("nunext.build", "load_predictor"),
    ),
    "nunext-3b": _Entry(
        ModelInfo(
            name="nunext-3b",
            title="NuNext on Qwen2.5-VL: a language model points to every nucleus, for a GPU",
            capabilities=("automatic", "points"),
            classes=PANNUKE,
            working_mpp=0.25,
            tile=576,
            halo=32,
            click_tile=256,
            licence="of the weights you adopt; Qwen2.5-VL-3B's own is for research",
            source="not bundled: napari-nucleus adopt nunext-3b FOLDER",
            limits="What it knows of nuclei, and which classes it tells, depends on your weights.",
        ),
        "nunext",
        _late("nunext.qwen_build", "load_predictor"),
        "card_3b.md",
        _late("nunext.qwen_build", "adopt_folder"),
        ".json",
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all models."""
    return tuple(_ZOO)


def available() -> tuple[str, ...]:
    """Return the names of the models whose weights are here, the default first."""
    found = [name for name in _ZOO if weights_file(name).is_file()]
    return tuple(sorted(found, key=lambda name: name != DEFAULT_MODEL))


def describe(name: str, weights: Path | None = None) -> ModelInfo:
    """Return what is known of a model without loading it.

    Raises
    ------
    ModelError
        If there is no model of that name.
    """
    info = _entry(name).info
    return info if weights is None else replace(info, source=str(weights))


def guessing(infos: Iterable[ModelInfo] | None = None) -> set[str]:
    """Return the names of models that do not tell neoplastic from epithelial nuclei.

    Parameters
    ----------
    infos
        The models to look at; by default all.
    """
    told = (describe(name) for name in _ZOO) if infos is None else infos
    return {i.name for i in told if set(NEOPLASTIC_OR_EPITHELIAL) <= set(i.not_told_apart)}


def card(name: str) -> str:
    """Return a model's card: data, licences, recipe, scores, what it is bad at (Markdown).

    Raises
    ------
    ModelError
        If there is no model of that name, or it came without a card.
    """
    file = _resource(_entry(name), _entry(name).card)
    try:
        return file.read_text("utf-8")
    except FileNotFoundError as error:
        raise ModelError(
            f"{file}: {name} came without its card; install the package anew."
        ) from error


def load_model(
    name: str,
    device: str = "auto",
    weights: str | Path | None = None,
    segmenter: str | None = None,
) -> Any:
    """Load a model onto a device; one that finds points comes with one that outlines them.

    Parameters
    ----------
    name
        One of `names`.
    device
        ``"auto"`` (a CUDA GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    weights
        A file, or the folder of a checkpoint, in place of the bundled or adopted weights.
    segmenter
        Name of the model that makes masks of points, by default `DEFAULT_MODEL`.

    Raises
    ------
    ModelError, WeightsError
        If the model is unknown, the device is not there, or the weights are missing or do not fit;
        if a segmenter is named that takes no clicks, or for a model that finds no points.
    """
    entry = _entry(name)
    file = Path(weights) if weights is not None else weights_file(name)
    if weights is None and entry.adopt is not None and not file.is_file():
        what = "FOLDER" if entry.suffix == ".json" else "FILE"
        raise ModelError(
            f"{name} comes without weights; adopt yours: napari-nucleus adopt {name} {what}."
        )
    info = describe(name, None if weights is None else Path(weights))
    if "points" in info.capabilities:
        partner = _segmenter(segmenter or DEFAULT_MODEL, device)
        detector = entry.load(info, file, device)
        return _late("point_segmenter", "PointSegmenter")(detector, partner)
    if segmenter is not None:
        raise ModelError(f"{name} makes its own masks; --segmenter is for models that find points.")
    return entry.load(info, file, device)


def _segmenter(name: str, device: str) -> Any:
    """Load the model that outlines points."""
    if "promptable" not in describe(name).capabilities:
        raise ModelError(f"{name} does not take clicks, so it cannot outline points.")
    return load_model(name, device)


def adopt(name: str, file: Path, class_order: tuple[int, ...] = ()) -> Any:
    """Make another program's weights those of a model that comes without any.

    They are written to `weights_file`; the returned `checkpoints.LoadReport` says what became of
    their names. ``class_order`` is the class id of each output of the model, where they are not in
    the order of the ids.

    Raises
    ------
    ModelError, WeightsError
        If there is no such model, it has weights, or the file does not fit.
    """
    entry = _entry(name)
    if entry.adopt is None:
        raise ModelError(f"{name} has weights; --weights takes others for a run.")
    return entry.adopt(file, weights_file(name), class_order)


def weights_file(name: str) -> Path:
    """Return where the weights of a model are, or belong once they are adopted."""
    entry = _entry(name)
    if entry.adopt is None:
        return _resource(entry, "nano.safetensors")
    return Path(user_data_path("napari-nucleus")) / "weights" / f"{name}{entry.suffix}"


def _entry(name: str) -> _Entry:
    if name not in _ZOO:
        raise ModelError(f"No model {name!r}; there is {', '.join(names())}.")
    return _ZOO[name]


def _resource(entry: _Entry, name: str) -> Path:
    return Path(str(resources.files("napari_nucleus.models") / entry.folder / name))
