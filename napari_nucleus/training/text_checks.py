"""Quick scores of the text-prompted nano on the development split, which select its checkpoint.

Prompts are of the training bank; `text_scores` has the protocol with those that were kept out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from napari_nucleus.models.promptgroup.network import PromptGroup, Seen
from napari_nucleus.models.promptgroup.words import split_words
from napari_nucleus.training.batches import network_pixels_of
from napari_nucleus.training.data import AnnotatedImage
from napari_nucleus.training.prompt_bank import ALL_CLASSES
from napari_nucleus.training.prompt_targets import wanted_mask
from napari_nucleus.training.promptgroup import resized

__all__ = ["score_texts"]

ASKED = {
    "all": (ALL_CLASSES, ("nuclei", "find all hematoxylin stained nuclei")),
    "inflammatory": ((2,), ("inflammatory nuclei", "nuclei belonging to lymphocyte cells")),
    "connective": ((3,), ("connective nuclei", "nuclei belonging to fibroblast cells")),
    "epithelial": ((5,), ("epithelial nuclei", "nuclei belonging to tumor cells")),
}
"""What is asked for, and two texts for each."""


def score_texts(
    images: Sequence[AnnotatedImage], window: int = 256, every: int = 2
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores semantic answers on windows of the development images.

    ``dice_…`` are of the pixels of all windows together, those at which the class is known;
    ``told`` is the share of windows, over the classes, whose presence is told rightly; ``score``
    is their mean.
    """
    pieces = [
        (image.rgb[y : y + window, x : x + window], class_map[y : y + window, x : x + window])
        for image in images
        for class_map in [image.class_target[image.labels]]
        for i, (y, x) in enumerate(_corners(image.rgb.shape[:2], window))
        if i % every == 0
    ]
    kept: list[Seen] = []

    @torch.inference_mode()
    def score(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, PromptGroup)
        model.eval()
        device = next(model.parameters()).device
        if not kept:  # the encoder is frozen: it looks once
            kept.extend(model.see(network_pixels_of([rgb], device)) for rgb, _ in pieces)
        texts = [split_words(text) for _, texts in ASKED.values() for text in texts]
        read = model.read(texts)
        repeat = torch.zeros(len(texts), dtype=torch.long, device=device)
        common, areas = np.zeros(len(texts)), np.zeros(len(texts))
        told: list[bool] = []
        for seen, (_, class_map) in zip(kept, pieces, strict=True):
            answers = model(seen.of(repeat), read)
            found = (resized(answers.semantic.float(), window) > 0).cpu().numpy()
            there = (answers.presence > 0).cpu().numpy()
            for i, (classes, _) in enumerate(c for c in ASKED.values() for _ in c[1]):
                wanted = wanted_mask(class_map, classes)
                answer = found[i] & wanted.known & there[i]
                common[i] += (answer & wanted.mask).sum()
                areas[i] += answer.sum() + (wanted.mask & wanted.known).sum()
                if wanted.present >= 0:
                    told.append(bool(there[i]) == bool(wanted.present))
        dice = (2 * common / np.maximum(areas, 1)).reshape(len(ASKED), -1).mean(1)
        scores = {f"dice_{name}": float(d) for name, d in zip(ASKED, dice, strict=True)}
        scores["told"] = float(np.mean(told))
        scores["score"] = float(np.mean(list(scores.values())))
        return {name: round(value, 4) for name, value in scores.items()}

    return score


def _corners(shape: tuple[int, ...], window: int) -> list[tuple[int, int]]:
    """Return where windows that cover an image begin; the last of a row ends with it."""
    lines = [np.unique(np.linspace(0, n - window, -(-n // window)).astype(int)) for n in shape]
    return [(int(y), int(x)) for y in lines[0] for x in lines[1]]
