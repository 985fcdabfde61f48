"""Predictors of `segment_anything` and `sam2` that the user made, as promptable models.

Neither package is imported here: a predictor is known by what it has. It is shown square pieces of
tiles, and asked, through its own ``set_image`` and ``predict``; what it encoded is taken out of it
and put back before it is asked again, so that an embedding is a value like every other model's.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.squares import SquarePredictor
from napari_nucleus.models.uninuc.crops import PromptBatch
from napari_nucleus.models.uninuc.prompt_encoder import PADDING

__all__ = ["LivePredictor", "adapt", "live_info"]

MEAN_COLOUR = (124, 116, 104)
"""What both packages take for 0; beyond the border of an image there is nothing else."""


def adapt(predictor: Any, *, mpp: float = 0.25, name: str = "live") -> LivePredictor:
    """Return a promptable model that asks a predictor.

    Parameters
    ----------
    predictor
        A ``segment_anything.SamPredictor`` or a ``sam2.sam2_image_predictor.SAM2ImagePredictor``,
        or a subclass's, on any device. From then on it belongs to the model: the image that it
        holds changes with each call.
    mpp
        Working pixel size, µm: squares of 256 such pixels are stretched to the predictor's input.
    name
        What nuclei are said to come from.

    Raises
    ------
    ModelError
        If it is neither's, or the pixel size is not a positive number.

    Examples
    --------
    >>> model = adapt(SamPredictor(sam_model_registry["vit_b"]("mine.pth")))  # doctest: +SKIP
    >>> embedding = model.embed(Tile(rgb, Frame(mpp=0.25)))  # doctest: +SKIP
    >>> model.refine(embedding, Prompts([[120.5, 80.5]], [True])).mask  # doctest: +SKIP
    """
    if not (np.isfinite(mpp) and mpp > 0):
        raise ModelError(f"{name}: {mpp} µm is no size of a pixel.")
    if not all(callable(getattr(predictor, m, None)) for m in ("set_image", "predict")):
        raise ModelError(f"{name}: a {type(predictor).__name__} has no set_image and predict.")
    if hasattr(predictor, "features") and not hasattr(predictor, "interm_features"):
        return _LiveSam(predictor, mpp, name)
    if hasattr(predictor, "_features"):
        return _LiveSam2(predictor, mpp, name)
    raise ModelError(
        f"{name}: a {type(predictor).__name__} is no predictor of segment_anything or sam2."
    )


def live_info(name: str = "live", mpp: float = 0.25) -> ModelInfo:
    """Return what is said of the model that `adapt` makes, before it is made."""
    settings = SamInference(mpp=mpp)
    return ModelInfo(
        name=name,
        title=f"{name}: a predictor in use, for clicks and boxes",
        capabilities=("promptable",),
        classes=None,
        working_mpp=mpp,
        tile=settings.window,
        halo=(settings.largest - settings.window) // 2,
        click_tile=settings.window,
        licence="of its weights",
        source="a predictor in use",
    )


class LivePredictor(SquarePredictor):
    """A predictor in use; made by `adapt`."""

    def __init__(self, predictor: Any, mpp: float, name: str) -> None:
        self._predictor = predictor
        self._size = self._side_of_input()
        super().__init__(
            live_info(name, mpp), _digest(predictor.model), SamInference(mpp=mpp), self._size // 4
        )

    @property
    def device(self) -> str:
        """The device in words."""
        return str(self._predictor.device)

    @abstractmethod
    def _side_of_input(self) -> int:
        """Return the side of the images that the network sees, in pixels."""

    @abstractmethod
    def _held(self) -> dict[str, Tensor]:
        """Return the maps of the image that the predictor holds."""

    @abstractmethod
    def _hold(self, maps: dict[str, Tensor], side: int) -> None:
        """Let the predictor hold the image of ``side`` pixels that these maps are of."""

    def _encode(self, rgb: NDArray[np.uint8], side: int) -> dict[str, NDArray]:
        square = np.empty((side, side, 3), np.uint8)
        square[:] = MEAN_COLOUR
        square[: rgb.shape[0], : rgb.shape[1]] = rgb
        self._predictor.set_image(square)
        return {name: m[0].half().cpu().numpy() for name, m in self._held().items()}

    def _decode(self, maps: Mapping[str, NDArray], batch: PromptBatch) -> tuple[Tensor, Tensor]:
        origin = batch.windows[0, :2]
        side = round(float(batch.windows[0, 2] - origin[0]))
        device = self._predictor.device
        self._hold({k: torch.tensor(v, device=device).float()[None] for k, v in maps.items()}, side)
        # Both packages add half a pixel of their input to what they take for an index.
        shift = origin + 0.5 * side / self._size
        logits = torch.empty((len(batch), self._grid, self._grid))
        iou = torch.empty(len(batch))
        for i in range(len(batch)):
            asked: dict[str, Tensor] = {}
            real = batch.labels[i] != PADDING
            if bool(real.any()):
                asked["point_coords"] = (batch.points_yx[i, real] - shift).flip(-1)
                asked["point_labels"] = batch.labels[i, real]
            if bool(batch.has_box[i]):
                asked["box"] = (batch.boxes[i].view(2, 2) - shift).flip(-1).flatten()
            if bool(batch.has_logits[i]):
                asked["mask_input"] = batch.logits[i : i + 1]
            _, scores, low = self._predictor.predict(
                **{name: value.numpy() for name, value in asked.items()},
                multimask_output=bool(batch.lone[i]),
            )
            best = int(np.argmax(scores))
            logits[i] = torch.as_tensor(np.asarray(low[best], np.float32))
            iou[i] = float(scores[best])
        return logits, iou


class _LiveSam(LivePredictor):
    """A ``SamPredictor`` in use."""

    def _side_of_input(self) -> int:
        return int(self._predictor.model.image_encoder.img_size)

    def _held(self) -> dict[str, Tensor]:
        return {"f0": self._predictor.features}

    def _hold(self, maps: dict[str, Tensor], side: int) -> None:
        predictor = self._predictor
        predictor.features = maps["f0"]
        predictor.original_size = (side, side)
        predictor.input_size = (self._size, self._size)
        predictor.is_image_set = True


class _LiveSam2(LivePredictor):
    """A ``SAM2ImagePredictor`` in use."""

    def _side_of_input(self) -> int:
        return int(self._predictor.model.image_size)

    def _held(self) -> dict[str, Tensor]:
        held = self._predictor._features
        maps = [*held["high_res_feats"], held["image_embed"]]
        return {f"f{i}": m for i, m in enumerate(maps)}

    def _hold(self, maps: dict[str, Tensor], side: int) -> None:
        predictor = self._predictor
        *finer, coarsest = (maps[name] for name in sorted(maps))
        predictor._features = {"image_embed": coarsest, "high_res_feats": finer}
        predictor._orig_hw = [(side, side)]
        predictor._is_batch, predictor._is_image_set = False, True


def _digest(model: torch.nn.Module) -> str:
    """Return the SHA-256 of a model's weights in hex."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
