"""Opens the folder of a Qwen2.5-VL checkpoint of the user's, and remembers where it is.

Such a checkpoint is gigabytes and stays where it is: what is adopted is a small file that names the
folder and the digest of what is in it. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.checkpoints import LoadReport
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.nunext.qwen import CLIP_MEAN, CLIP_STD, MERGE, PATCH, QwenNetwork
from napari_nucleus.models.nunext.qwen_config import QwenSettings, read_settings
from napari_nucleus.models.nunext.qwen_predictor import QwenPredictor
from napari_nucleus.models.nunext.qwen_script import look_up, script_of
from napari_nucleus.models.nunext.tokens import TokenizerVocabulary

__all__ = ["Opened", "adopt_folder", "digest_of", "load_predictor", "open_folder"]

SYSTEM = "nunext-qwen"

HASHED = (".json", ".safetensors", ".txt")
"""Endings of the files of a checkpoint that its answers depend on."""


class Opened(NamedTuple):
    """A checkpoint: network, tokenizer, what its tokens are, and names in it that nobody needs."""

    network: QwenNetwork
    tokenizer: Any
    found: TokenizerVocabulary
    unexpected: tuple[str, ...]


def open_folder(folder: Path, settings: QwenSettings, append: bool = False) -> Opened:
    """Load a checkpoint's network and tokenizer.

    Parameters
    ----------
    folder
        Weights in safetensors, ``config.json``, the tokenizer's files, and
        ``preprocessor_config.json`` where the values of its pictures are not CLIP's.
    settings
        What the tokens are.
    append
        For training: add coordinate tokens that the tokenizer lacks, and rows for them. Else such
        a checkpoint is refused, since it never learned to point.

    Raises
    ------
    WeightsError
        If a file is missing, damaged, or another model's; if the network knows no coordinates.
    """
    _check_folder(folder)
    tokenizer = _tokenizer(folder)
    model, about = _model(folder)
    network = QwenNetwork(model, *_mean_and_std(folder))
    before = network.rows
    try:
        found = look_up(tokenizer, settings, before)
    except ModelError as error:
        raise WeightsError(f"{folder}: {error}") from error
    if not append:
        _check_taught(folder, found, before)
    elif found.rows > before:
        model.resize_token_embeddings(found.rows, mean_resizing=False)
    return Opened(network, tokenizer, found, tuple(sorted(about["unexpected_keys"])))


def adopt_folder(folder: Path, out: Path, class_order: tuple[int, ...] = ()) -> LoadReport:
    """Write a file that names the user's folder, once its checkpoint was loaded.

    Raises
    ------
    ModelError
        If a class order is given.
    WeightsError
        If the folder holds no checkpoint that can point.
    """
    if class_order:
        raise ModelError("NuNext's classes have tokens or phrases; leave --class-order out.")
    folder = folder.resolve()
    opened = open_folder(folder, read_settings(folder))
    content = {
        "system": SYSTEM,
        "folder": str(folder),
        "digest": digest_of(folder),
        "repurposed_rows": opened.found.repurposed,
        "rows": opened.found.rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    part.write_text(json.dumps(content, indent=1), "utf-8")
    os.replace(part, out)
    names = tuple(sorted(opened.network.model.state_dict()))
    return LoadReport(names, (), opened.unexpected)


def load_predictor(info: ModelInfo, file: Path, device: str) -> QwenPredictor:
    """Load a predictor.

    Parameters
    ----------
    info
        What is said of the model.
    file
        What `adopt_folder` wrote, or the folder of a checkpoint.
    device
        As for `resolve_device`.

    Raises
    ------
    ModelError, WeightsError
        If there is no such device, or vLLM is asked for and not there; if a file is missing,
        damaged, has changed since it was adopted, or is another model's.
    """
    on = resolve_device(device)
    folder, digest = _folder_of(file)
    settings = read_settings(folder)
    if settings.backend == "vllm":
        from napari_nucleus.models.nunext.vllm_backend import VllmWriter

        _check_folder(folder)
        tokenizer = _tokenizer(folder)
        found = look_up(tokenizer, settings, 0)
        _check_taught(folder, found, found.rows)
        writer: Any = VllmWriter(folder, tokenizer, settings)
    else:
        writer, tokenizer, found, _ = open_folder(folder, settings)
        writer.to(on)
    script = script_of(tokenizer, settings, found.vocabulary)
    return QwenPredictor(writer, script, info, digest, settings)


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of the files of a folder that its answers depend on."""
    whole = hashlib.sha256()
    for file in sorted(f for f in folder.iterdir() if f.suffix in HASHED and f.is_file()):
        with file.open("rb") as stream:
            whole.update(
                f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}".encode()
            )
    return whole.hexdigest()


def _folder_of(file: Path) -> tuple[Path, str]:
    """Return the folder that a file of ours names, or that it is, and its digest."""
    if file.is_dir():
        return file, digest_of(file)
    if not file.is_file():
        raise WeightsError(f"{file}: no such file or folder.")
    try:
        content = json.loads(file.read_text("utf-8"))
        system, folder, digest = content["system"], Path(content["folder"]), content["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file}: does not name the folder of a checkpoint.") from error
    if system != SYSTEM:
        raise WeightsError(f"{file}: names weights of {system!r}, not {SYSTEM!r}.")
    if not folder.is_dir():
        raise WeightsError(f"{folder}: this folder is not there any more; adopt it where it is.")
    if digest_of(folder) != digest:
        raise WeightsError(f"{folder}: has changed since it was adopted; adopt it again.")
    return folder, digest


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is no checkpoint of Qwen2.5-VL."""
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; NuNext takes the folder of a checkpoint.")
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text("utf-8"))
        kind, vision = config["model_type"], config.get("vision_config", {})
        patch = vision.get("patch_size", PATCH), vision.get("spatial_merge_size", MERGE)
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: not there; the folder is no whole checkpoint.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file}: no configuration of a model.") from error
    if kind != "qwen2_5_vl":
        raise WeightsError(f"{file}: a model of type {kind!r}, not 'qwen2_5_vl'.")
    if patch != (PATCH, MERGE):
        raise WeightsError(f"{file}: patches of {patch}, not {(PATCH, MERGE)}.")
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(f"{folder}: holds no safetensors; weights of other kinds are not read.")


def _check_taught(folder: Path, found: TokenizerVocabulary, rows: int) -> None:
    """Refuse coordinates that the network has never learned."""
    if found.appended:
        raise WeightsError(
            f"{folder}: its tokenizer has no {found.appended[0]}; this checkpoint was not trained "
            "to point."
        )
    if found.rows > rows:
        raise WeightsError(
            f"{folder}: its tokenizer has {found.rows} tokens, the network {rows}; this checkpoint "
            "was not trained with that tokenizer."
        )


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library has errors of any kind for what it cannot read
        raise WeightsError(f"{folder}: its tokenizer cannot be read ({_brief(error)}).") from error


def _model(folder: Path) -> tuple[Qwen2_5_VLForConditionalGeneration, dict[str, Any]]:
    """Return the network in the precision that it is stored in, and what the library says of it."""
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype="auto",
            output_loading_info=True,
        )
    except Exception as error:  # the library has errors of any kind for what it cannot read
        raise WeightsError(f"{folder}: its network cannot be read ({_brief(error)}).") from error
    finally:
        if bar:
            logging.enable_progress_bar()
    model, about = loaded
    missing = sorted(about["missing_keys"])
    if missing:
        raise WeightsError(
            f"{folder}: lacks {missing[0]} and {len(missing) - 1} more; a whole model has all."
        )
    for name, value in model.named_parameters():
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{folder}: {name} holds NaN or infinity; the file is damaged.")
    return model, about


def _mean_and_std(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of the values of pictures, CLIP's where nothing is said."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return CLIP_MEAN, CLIP_STD
    try:
        values = json.loads(file.read_text("utf-8"))
        mean, std = (
            tuple(float(v) for v in values.get(name, usual))
            for name, usual in (("image_mean", CLIP_MEAN), ("image_std", CLIP_STD))
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file}: cannot be read ({_brief(error)}).") from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise WeightsError(f"{file}: mean {mean} and deviation {std} are not of three channels.")
    return mean, std


def _brief(error: Exception) -> str:
    """Return the beginning of an error's message, on one line."""
    words = " ".join(str(error).split())
    return words if len(words) < 160 else f"{words[:157]}…"
