"""Fits, on training crops, what tells whether anything that a text asks for is there.

A logistic regression for each class on features of the answer (`network.Evidence`); its threshold
is put where the given share of the crops that have the class are found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.promptgroup.network import PromptGroup, Seen
from napari_nucleus.models.promptgroup.words import plain_text
from napari_nucleus.training.prompt_batches import SeenCrops
from napari_nucleus.training.prompt_targets import wanted_mask

__all__ = ["fit_evidence", "fit_line"]

LEAST = 10
"""Crops with and without a class from which on it is fitted."""

LEAST_AREA = 200
"""Pixels of a class that count as its being there: most of a nucleus."""


@torch.inference_mode()
def fit_evidence(
    network: PromptGroup,
    crops: SeenCrops,
    seed: int,
    say: Callable[[str], None],
    count: int = 400,
    found: float = 0.92,
) -> None:
    """Fit the lines of ``network.evidence`` on ``count`` crops; those of all nuclei are left."""
    network.eval()
    device = next(network.parameters()).device
    rng = np.random.default_rng([seed, 1])
    ids = range(1, 1 + network.config.vision.n_classes)
    read = network.read_texts([plain_text((c,)) for c in ids])
    rows: dict[int, list[tuple[Tensor, int]]] = {c: [] for c in ids}
    for number in rng.permutation(len(crops))[:count]:
        seen, class_map = crops.piece(int(number), 0, 0, crops.class_map.shape[1])
        truth = {c: _present(class_map, c) for c in ids}
        kept = [c for c in ids if truth[c] >= 0]
        if not kept:
            continue
        same = read.repeated(torch.tensor([c - 1 for c in kept], device=device))
        one = Seen(*(v[None].to(device).float().expand(len(kept), -1, -1, -1) for v in seen))
        features = network.evidence.features(network(one, same), one, same.wanted).cpu()
        for c, row in zip(kept, features, strict=True):
            rows[c].append((row, truth[c]))
    for class_id, examples in rows.items():
        target = torch.tensor([float(t) for _, t in examples])
        if min(float(target.sum()), float((1 - target).sum())) < LEAST:
            say(f"class {class_id}: too few crops with or without it to fit its presence")
            continue
        x = torch.stack([row for row, _ in examples])
        weight, bias = fit_line(x, target, found)
        network.evidence.weight[class_id] = weight.to(device)
        network.evidence.bias[class_id] = bias.to(device)
        empty = float(((x @ weight + bias)[target == 0] < 0).float().mean())
        say(f"class {class_id}: {empty:.2f} empty where absent, {found} found, {len(x)} answers")


def fit_line(x: Tensor, target: Tensor, found: float) -> tuple[Tensor, Tensor]:
    """Return weights and bias of a balanced logistic regression, moved to find a share.

    ``x`` ``(n, F)``, ``target`` ``(n,)`` 0 or 1; of the examples with 1 the share ``found`` gets
    more than 0.
    """
    mean, std = x.mean(0), x.std(0).clamp(min=1e-3)
    z = (x - mean) / std
    with torch.inference_mode(False), torch.enable_grad():
        z, t = z.clone(), target.clone()
        line = torch.zeros(x.shape[1] + 1, requires_grad=True)
        balance = torch.where(t > 0, 0.5 / t.mean(), 0.5 / (1 - t).mean())
        optimizer = torch.optim.LBFGS([line], max_iter=100)

        def loss() -> Tensor:
            optimizer.zero_grad()
            logits = z @ line[1:] + line[0]
            value = F.binary_cross_entropy_with_logits(logits, t, balance)
            value = value + 0.01 * line[1:].square().sum()
            value.backward()
            return value

        optimizer.step(loss)  # type: ignore[arg-type]
    weight = line.detach()[1:] / std
    logits = x @ weight
    return weight, -torch.quantile(logits[target > 0], 1 - found)


def _present(class_map: np.ndarray, class_id: int) -> int:
    """Return 1 or 0, −1 where it is not known or too little of the class is seen."""
    nuclei, unknown = class_map > 0, class_map == 255
    if not nuclei.any() or unknown.sum() > 0.5 * nuclei.sum():
        return -1
    wanted = wanted_mask(class_map, (class_id,))
    return -1 if wanted.present == 1 and wanted.mask.sum() < LEAST_AREA else wanted.present
