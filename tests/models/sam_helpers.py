"""SAMs in small: their checkpoints in the original layouts, without the original programs."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sam_oracle import TINY_SAM, TINY_SAM2, tissue, values
from torch import Tensor

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.models import zoo
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.convert import load_checkpoint
from napari_nucleus.models.sam.network import SamNetwork
from napari_nucleus.models.sam.predictor import SamSegmenter
from napari_nucleus.models.sam.presets import SamPreset

ANSWERS = Path(__file__).with_name("sam_answers")

PRESETS = {"tiny-sam": SamPreset(TINY_SAM), "tiny-sam2": SamPreset(TINY_SAM2)}

SMALL = SamInference(window=64, stride=48, largest=80)


@cache
def kept(name: str) -> dict[str, np.ndarray]:
    """What the original program made of a picture and of prompts."""
    with np.load(ANSWERS / f"{name}.npz") as file:
        return dict(file)


def state_of(name: str) -> dict[str, Tensor]:
    """The weights that those answers were made with, under the original names."""
    shapes = json.loads(str(kept(name)["shapes"]))
    return {key: values(key, tuple(shape)) for key, shape in shapes.items()}


def write_checkpoint(name: str, folder: Path, **changes: Any) -> Path:
    """Write a checkpoint as the original program does; ``changes`` replace tensors."""
    state = state_of(name) | changes
    state = {k: v for k, v in state.items() if v is not None}
    file = folder / f"{name}.pt"
    torch.save(state if name == "tiny-sam" else {"model": state}, file)
    return file


def make_network(name: str, folder: Path) -> SamNetwork:
    network = SamNetwork(PRESETS[name].config)
    load_checkpoint(network, write_checkpoint(name, folder))
    return network


def make_segmenter(network: SamNetwork, **settings: Any) -> SamSegmenter:
    info = replace(zoo.describe("sam-vit-b"), name="tiny")
    return SamSegmenter(network, info, "digest", replace(SMALL, **settings))


def make_tile(height: int = 80, width: int = 64, mpp: float = 0.25) -> Tile:
    return Tile(tissue(height, width), Frame(mpp=mpp))
