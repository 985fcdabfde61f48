"""Every nucleus of a tile: boxes from the detector and the dense heads, masks from the decoder.

Boxes of the detector, and watershed instances of the dense heads as earlier masks, become prompts
of the same prompt encoder and mask decoder that clicks use. A nucleus' score is the product of its
prompt's confidence, the predicted IoU, and the mean foreground under its mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.core.morphology import clean_mask, overlapping_pairs
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.models.uninuc.config import InferenceConfig
from napari_nucleus.models.uninuc.crops import (
    LOGIT_RANGE,
    PromptBatch,
    choose_windows,
    instance_logits,
)
from napari_nucleus.models.uninuc.decoding import (
    decode_all,
    logits_on_pixels,
    no_points,
    to_mask_logits,
)
from napari_nucleus.models.uninuc.dense import DenseMaps
from napari_nucleus.models.uninuc.network import UniNuc, empty_logits
from napari_nucleus.models.uninuc.postprocess import dense_instances
from napari_nucleus.models.working import FLIPS, Working, to_network

__all__ = ["Candidates", "find_candidates", "segment_tile", "without_padding"]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the first look at a tile gives.

    Parameters
    ----------
    boxes
        ``(n, 4)`` ``y0, x0, y1, x1`` in working pixels.
    score
        ``(n,)`` confidence of each box, 0–1.
    class_prob
        ``(n, C)`` of the detector; zeros for boxes of the dense heads.
    foreground
        ``(h, w)`` probability, working pixels.
    classes
        ``(C, h, w)`` probability of each class where there is a nucleus.
    instances
        ``(h', w')`` watershed instances of the dense heads, on their cells.
    instance
        ``(n,)`` the instance that a box is of; 0 for boxes of the detector.
    projected
        The decoder's features.
    """

    boxes: NDArray[np.float32]
    score: NDArray[np.float32]
    class_prob: NDArray[np.float32]
    foreground: NDArray[np.float32]
    classes: NDArray[np.float32]
    instances: NDArray[np.int32]
    instance: NDArray[np.int64]
    projected: tuple[Tensor, Tensor, Tensor]


@torch.inference_mode()
def find_candidates(network: UniNuc, working: Working, config: InferenceConfig) -> Candidates:
    """Encode a tile and return boxes, dense maps and the decoder's features."""
    segmenter = network.segmenter
    pixels = to_network(working.rgb, segmenter.config.encoder.multiple)
    features = segmenter.encoder(pixels)
    size = (working.rgb.shape[-2], working.rgb.shape[-1])
    boxes, probability = _detector_boxes(network, pixels, features, size)
    confidence = probability.max(axis=1, initial=0.0)
    kept = confidence >= config.score_threshold
    boxes, probability, confidence = boxes[kept], probability[kept], confidence[kept]
    n_classes = network.config.n_classes
    foreground = np.ones(size, np.float32)
    classes = np.zeros((n_classes, *size), np.float32)
    instances = np.zeros((0, 0), np.int32)
    instance = np.zeros(len(boxes), np.int64)
    stride = segmenter.config.encoder.strides[0]
    if segmenter.dense is not None:
        maps = _averaged_maps(network, pixels, features, config.flips)
        foreground = _full(maps.foreground.sigmoid(), stride, size)[0]
        classes = _full(maps.classes.softmax(1), stride, size)
        if config.peak_score > 0:
            instances, found, sure = _instances(maps, stride, size, config)
            new = ~_covered(found, boxes)
            boxes = np.concatenate([boxes, found[new]])
            instance = np.concatenate([instance, np.flatnonzero(new) + 1])
            confidence = np.concatenate([confidence, config.peak_score * sure[new]])
            probability = np.concatenate([probability, np.zeros((int(new.sum()), n_classes))])
    return Candidates(
        boxes.astype(np.float32),
        confidence.astype(np.float32),
        probability.astype(np.float32),
        foreground,
        classes,
        instances,
        instance,
        segmenter.mask_decoder.project(features),
    )


def _detector_boxes(
    network: UniNuc, pixels: Tensor, features: list[Tensor], size: tuple[int, int]
) -> tuple[NDArray, NDArray]:
    """Return boxes ``y0, x0, y1, x1`` clipped to the tile, and class probabilities."""
    detector = network.detector
    memory = detector.memory(pixels if detector.backbone is not None else None, features)
    probability, boxes = (t.cpu().numpy() for t in detector.detect(memory))
    centre, half = boxes[:, 1::-1], boxes[:, :1:-1] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)
    inside = ((centre >= 0) & (centre < np.array(size))).all(axis=1)
    corners = np.clip(corners, 0, np.tile(np.array(size), 2))
    return corners[inside], probability[inside]


def _averaged_maps(
    network: UniNuc, pixels: Tensor, features: list[Tensor], flips: int
) -> DenseMaps:
    """Return the dense maps, averaged over mirrored copies of the input."""
    segmenter = network.segmenter
    assert segmenter.dense is not None
    total = segmenter.dense(features[0])
    for axes in FLIPS[1:flips]:
        mirrored = segmenter.dense(segmenter.encoder(pixels.flip(axes))[0]).flipped(axes)
        total = DenseMaps(*(a + b for a, b in zip(total, mirrored, strict=True)))
    return DenseMaps(*(m / flips for m in total))


def _full(maps: Tensor, stride: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return ``(C, h, w)`` maps at working pixels, without the padding."""
    full = F.interpolate(maps.float(), scale_factor=stride, mode="bilinear", align_corners=False)
    return full[0, :, : size[0], : size[1]].cpu().numpy()


def _instances(
    maps: DenseMaps, stride: int, size: tuple[int, int], config: InferenceConfig
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Return watershed instances 1..n, their boxes, and the mean foreground of each."""
    foreground, distance = without_padding(maps, stride, size)
    labels = dense_instances(
        foreground,
        distance,
        sigma=1.0 / stride,
        min_area=max(config.min_area // stride**2, 2),
    )
    n = int(labels.max())
    slices = ndimage.find_objects(labels)
    boxes = np.array(
        [(s[0].start, s[1].start, s[0].stop, s[1].stop) for s in slices], np.float32
    ).reshape(-1, 4)
    boxes = np.clip(boxes * stride, 0, np.tile(np.array(size), 2)).astype(np.float32)
    sure = ndimage.mean(foreground, labels, np.arange(1, n + 1)) if n else np.zeros(0)
    return labels, boxes, np.asarray(sure, np.float32)


def without_padding(
    maps: DenseMaps, stride: int, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return foreground probability and distance of the first tile, on the cells that show it.

    ``size`` is that of the tile in working pixels; nuclei mirrored into the padding are none.
    """
    cells = np.s_[0, 0, : -(-size[0] // stride), : -(-size[1] // stride)]
    foreground = maps.foreground[cells].float().sigmoid().cpu().numpy()
    return foreground, maps.distance[cells].float().cpu().numpy()


def _covered(boxes: NDArray, by: NDArray, iou: float = 0.5) -> NDArray[np.bool_]:
    """Return which boxes overlap one of the others above ``iou``."""
    if not len(boxes) or not len(by):
        return np.zeros(len(boxes), bool)
    low = np.maximum(boxes[:, None, :2], by[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], by[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    other = (by[:, 2:] - by[:, :2]).prod(-1)
    union = area[:, None] + other[None] - common
    return (common / np.maximum(union, 1e-6) > iou).any(axis=1)


def segment_tile(
    network: UniNuc, working: Working, shape: tuple[int, int], config: InferenceConfig, source: str
) -> Nuclei:
    """Return the nuclei of a tile of ``shape``, in tile pixels."""
    found = find_candidates(network, working, config)
    n_classes = network.config.n_classes
    if not len(found.boxes):
        return Nuclei.empty(n_classes, source)
    prompts = _prompts(found, network)
    answers = decode_all(network.segmenter, found.projected, prompts)
    per = np.tile(working.per_tile_pixel, 2)
    windows = prompts.windows.numpy().astype(np.float64) / per
    confidence = found.score * answers.iou.numpy() * answers.present.numpy()
    foreground, classes = _on_tile(found.foreground[None], shape)[0], _on_tile(found.classes, shape)
    min_area = max(round(config.min_area / (per[0] * per[1])), 1)
    batches = []
    # Windows of one size have grids of one size.
    sizes = np.rint(prompts.windows[:, 2].numpy() - prompts.windows[:, 0].numpy())
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        logits, starts = logits_on_pixels(answers.logits[rows], windows[rows], shape)
        batches.append((rows, logits, starts))
    masks: list[NDArray[np.bool_]] = [np.zeros((0, 0), bool)] * len(found.boxes)
    values: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(found.boxes)
    offsets = np.zeros((len(found.boxes), 2), np.int64)
    for rows, logits, starts in batches:
        for row, grid, start in zip(rows, logits, starts, strict=True):
            masks[row], values[row], offsets[row] = _crop_mask(grid, start, min_area)
    score, probability = _judge(
        masks, offsets, confidence, found.class_prob, foreground, classes, config
    )
    good = np.flatnonzero((score > 0) & (score >= config.min_score))
    nuclei = Nuclei.from_masks(
        [masks[i] for i in good],
        offsets[good],
        score[good],
        probability[good],
        [to_mask_logits(answers.logits[i : i + 1], windows[i : i + 1])[0] for i in good],
        source,
    )
    return resolve(nuclei, [values[i] for i in good], shape, config, min_area)


def _prompts(found: Candidates, network: UniNuc) -> PromptBatch:
    """Return a box for each detection, and the mask of each watershed instance in place of one.

    Its mask says more of an instance than its box: a box of two nuclei that the watershed parted
    would be read as one nucleus again.
    """
    config = network.config.decoder
    boxes = torch.from_numpy(found.boxes)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    windows = choose_windows(centres, (boxes[:, 2:] - boxes[:, :2]).amax(1), config)
    points, labels = no_points(len(boxes))
    logits, has = empty_logits(len(boxes), config.crop_grid, torch.device("cpu"))
    masked = torch.from_numpy(found.instance > 0)
    if masked.any():
        logits[masked] = instance_logits(
            torch.from_numpy(found.instances),
            torch.from_numpy(found.instance)[masked],
            windows[masked],
            network.config.encoder.strides[0],
            config.crop_grid,
        )
        boxes = torch.where(masked[:, None], torch.nan, boxes)
    return PromptBatch(windows, points, labels, boxes, logits, has | masked)


def _on_tile(maps: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return maps ``(C, h, w)`` resized to tile pixels."""
    if maps.shape[1:] == shape:
        return maps
    tensor = torch.from_numpy(maps)[None]
    return F.interpolate(tensor, shape, mode="bilinear", align_corners=False)[0].numpy()


def _crop_mask(
    grid: NDArray[np.float32], start: NDArray[np.int64], min_area: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
    """Return the cleaned mask, its logits, and the tile pixel at which both begin."""
    mask = grid > 0
    if mask.any():
        mask = clean_mask(mask, min_area)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((0, 0), bool), np.zeros((0, 0), np.float32), start
    box = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    # Filled holes have negative logits but belong to the nucleus.
    value = np.where(mask[box], np.maximum(grid[box], 0.01), -LOGIT_RANGE)
    return mask[box], value, start + np.array([rows[0], cols[0]])


def _judge(
    masks: list[NDArray[np.bool_]],
    offsets: NDArray[np.int64],
    confidence: NDArray[np.float32],
    detector_prob: NDArray[np.float32],
    foreground: NDArray[np.float32],
    classes: NDArray[np.float32],
    config: InferenceConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return score and class probabilities of each mask; score 0 for those to drop."""
    score = np.zeros(len(masks), np.float32)
    probability = np.zeros((len(masks), classes.shape[0]), np.float32)
    for i, (mask, (y, x)) in enumerate(zip(masks, offsets, strict=True)):
        if not mask.any():
            continue
        box = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]]
        inside = float(foreground[box][mask].mean())
        if inside < config.foreground_threshold:
            continue
        score[i] = confidence[i] * inside
        dense = classes[(slice(None), *box)][:, mask].mean(axis=1)
        total = detector_prob[i].sum()
        both = dense if total <= 0 else dense + detector_prob[i] / total
        probability[i] = both / max(float(both.sum()), 1e-6)
    return score, probability


def resolve(
    nuclei: Nuclei,
    values: list[NDArray[np.float32]],
    shape: tuple[int, int],
    config: InferenceConfig,
    min_area: int,
) -> Nuclei:
    """Return nuclei that share no pixel.

    Of two that are one nucleus (IoU above ``overlap``, or the worse mostly inside the better) the
    better score stays; where others overlap, each pixel goes to the larger logit.
    """
    kept = _one_of_each(nuclei, config)
    values = [v for v, keep in zip(values, kept, strict=True) if keep]
    nuclei = nuclei.select(kept)
    best = np.zeros(shape, np.float32)
    owner = np.zeros(shape, np.int32)
    for i, (box, value) in enumerate(zip(nuclei.boxes, values, strict=True)):
        y0, x0, y1, x1 = box
        claim = value > best[y0:y1, x0:x1]
        best[y0:y1, x0:x1][claim] = value[claim]
        owner[y0:y1, x0:x1][claim] = i + 1
    masks = []
    for i, (y0, x0, y1, x1) in enumerate(nuclei.boxes):
        mine = owner[y0:y1, x0:x1] == i + 1
        whole = mine.sum() == nuclei.masks[i].sum()
        masks.append(mine if whole else _largest_part(mine, min_area))
    return Nuclei.from_masks(
        masks,
        nuclei.boxes[:, :2],
        nuclei.score,
        nuclei.class_prob,
        nuclei.logits,
        nuclei.source,
    )


def _largest_part(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """Return the largest part of a mask that lost pixels; its holes are the neighbours'."""
    parts = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=parts)
    area = np.bincount(parts.ravel(), minlength=2)
    largest = int(area[1:].argmax()) + 1
    return (parts == largest) & bool(area[largest] >= min_area)


def _one_of_each(nuclei: Nuclei, config: InferenceConfig) -> NDArray[np.bool_]:
    """Return which nuclei stay when duplicates go, best score first."""
    i, j, common = overlapping_pairs(nuclei, nuclei, 0.0)
    areas = nuclei.areas
    union = areas[i] + areas[j] - common
    same = (common > config.overlap * union) | (common > config.containment * areas[j])
    i, j = i[same & (i != j)], j[same & (i != j)]
    order = np.argsort(-nuclei.score, kind="stable")
    rank = np.empty(len(nuclei), np.int64)
    rank[order] = np.arange(len(nuclei))
    better = rank[i] < rank[j]
    i, j = i[better], j[better]
    kept = np.ones(len(nuclei), bool)
    for pair in np.argsort(rank[i], kind="stable"):
        if kept[i[pair]]:
            kept[j[pair]] = False
    return kept
