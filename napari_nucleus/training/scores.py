"""Quick scores on the development split, which select the checkpoint of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL
from napari_nucleus.core.metrics import OverlapTable, aji, panoptic_quality
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.network import Segmenter, UniNuc
from napari_nucleus.models.uninuc.postprocess import dense_instances
from napari_nucleus.models.uninuc.set_loss import iou_and_giou
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.models.uperhover.predictor import nuclei_of_maps
from napari_nucleus.models.uperhover.windows import predict_maps
from napari_nucleus.models.working import normalise, to_network, to_working
from napari_nucleus.training.batches import pixels_of
from napari_nucleus.training.classes import class_scores, classified_pairs
from napari_nucleus.training.click_targets import ObjectConfig, draw_objects
from napari_nucleus.training.clicks import simulate_corrections
from napari_nucleus.training.data import AnnotatedImage
from napari_nucleus.training.detection import boxes_of_crop
from napari_nucleus.training.sampler import Crop, compact_crop

__all__ = ["score_boxes", "score_clicks", "score_dense", "score_maps"]


def score_dense(
    images: Sequence[AnnotatedImage], device: torch.device, tile: int = 500
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores a dense network by its watershed instances.

    ``pq`` and ``aji`` are means over the images; ``worst`` is the lowest PQ.
    """

    def score(model: nn.Module) -> dict[str, float]:
        model.eval()
        qualities, ajis = [], []
        for image in images:
            labels = _segment_dense(model, image.rgb, device, tile)
            table = OverlapTable.of(image.labels, labels)
            qualities.append(panoptic_quality(table).pq)
            ajis.append(aji(table))
        return {
            "pq": round(float(np.mean(qualities)), 4),
            "aji": round(float(np.mean(ajis)), 4),
            "worst": round(float(np.min(qualities)), 4),
        }

    return score


@torch.inference_mode()
def _segment_dense(
    model: nn.Module, rgb: np.ndarray, device: torch.device, tile: int, halo: int = 32
) -> np.ndarray:
    """Return instances of a whole image from dense maps that are computed in tiles."""
    h, w = rgb.shape[:2]
    encoder: Any = model.encoder
    foreground, distance = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    for y in range(0, h, tile):
        for x in range(0, w, tile):
            y0, x0 = max(y - halo, 0), max(x - halo, 0)
            y1, x1 = min(y + tile + halo, h), min(x + tile + halo, w)
            piece = torch.tensor(rgb[y0:y1, x0:x1], device=device).permute(2, 0, 1)[None]
            maps = model(to_network(piece.float() / 255, encoder.config.multiple))
            core = np.s_[y - y0 : min(y + tile, h) - y0, x - x0 : min(x + tile, w) - x0]
            foreground[y : y + tile, x : x + tile] = maps.foreground[0, 0].sigmoid().cpu()[core]
            distance[y : y + tile, x : x + tile] = maps.distance[0, 0].cpu()[core]
    return dense_instances(foreground, distance)


def score_maps(
    images: Sequence[AnnotatedImage], device: torch.device, mpp: float = 0.25
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores a UperHoVer by the nuclei and classes it gives.

    ``pq`` and ``aji`` are means over the images, ``worst`` is the lowest PQ, ``f1_…`` are the F1 of
    each class over all images that is there, with neoplastic and epithelial nuclei as one.
    """

    def score(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, UperHover)
        model.eval()
        config = replace(model.config.inference, flips=1)
        qualities, ajis, found = [], [], []
        for image in images:
            calibration = Calibration(mpp / config.mpp, mpp)
            maps = predict_maps(
                model, to_working(image.rgb, calibration, 1, None, 0, device).rgb, config
            )
            classes, hv = maps.classes[0].cpu().numpy(), maps.hv[0].cpu().numpy()
            shape = (image.rgb.shape[0], image.rgb.shape[1])
            nuclei = nuclei_of_maps(classes, hv, shape, mpp, config, NEOPLASTIC_OR_EPITHELIAL)
            table = OverlapTable.of(image.labels, nuclei.to_labels(shape))
            qualities.append(panoptic_quality(table).pq)
            ajis.append(aji(table))
            found.append(classified_pairs(image, nuclei, mpp))
        return {
            "pq": round(float(np.mean(qualities)), 4),
            "aji": round(float(np.mean(ajis)), 4),
            "worst": round(float(np.min(qualities)), 4),
            **{
                f"f1_{name}": round(f1, 4)
                for name, f1 in class_scores(found).items()
                if np.isfinite(f1)
            },
        }

    return score


def score_clicks(
    images: Sequence[AnnotatedImage], config: UniNucConfig, device: torch.device, size: int = 256
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores the click head on fixed crops of the development split.

    ``point_0`` and ``box_0`` are mean IoUs of the first answer, ``point_7`` and ``box_7`` after
    seven rounds of corrections; ``score`` is their mean.
    """
    crops = [_piece(image, share, size) for image in images for share in (0.0, 1.0, 0.5)]
    starts = {
        name: draw_objects(
            crops,
            config.decoder,
            ObjectConfig(30, 0.0, float(name == "box"), 0.0, 0.0),
            np.random.default_rng(0),
        ).to(device)
        for name in ("point", "box")
    }

    @torch.inference_mode()
    def score(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Segmenter)
        model.eval()
        pixels = normalise(pixels_of(crops).to(device).float() / 255)
        features = [
            torch.cat(level)
            for level in zip(*(model.encoder(p[None]) for p in pixels), strict=True)
        ]
        projected = model.mask_decoder.project(features)
        scores = {}
        for name, objects in starts.items():
            cut = model.crop(projected, objects.windows, objects.tile_index)
            ious = simulate_corrections(model, cut, objects, 8, 0)
            scores |= {f"{name}_0": round(ious[0], 4), f"{name}_7": round(ious[-1], 4)}
        return {**scores, "score": round(float(np.mean(list(scores.values()))), 4)}

    return score


def score_boxes(
    images: Sequence[AnnotatedImage], device: torch.device, size: int = 512, threshold: float = 0.3
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores the detector's boxes on a crop of each development image.

    A box counts where its IoU with a true box is at least 0.5; each true box once. ``f1`` is at the
    score ``threshold``, ``recall`` over all queries.
    """
    crops = [_piece(image, 0.5, size) for image in images]

    @torch.inference_mode()
    def score(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, UniNuc)
        model.eval()
        hits, reached, found, true = 0, 0, 0, 0
        for crop in crops:
            pixels = normalise(pixels_of([crop]).to(device).float() / 255)
            features = model.segmenter.encoder(pixels)
            memory = model.detector.memory(pixels, features)
            probability, boxes = model.detector.detect(memory)
            confidence = probability.amax(1)
            order = confidence.argsort(descending=True)
            targets = boxes_of_crop(crop, model.config.n_classes).boxes.to(device)
            iou = iou_and_giou(boxes[order][:, None], targets[None])[0]
            sure = confidence[order] >= threshold
            hits += _greedy_hits(iou[sure])
            reached += _greedy_hits(iou)
            found += int(sure.sum())
            true += len(targets)
        return {
            "f1": round(2 * hits / max(found + true, 1), 4),
            "precision": round(hits / max(found, 1), 4),
            "recall": round(reached / max(true, 1), 4),
        }

    return score


def _piece(image: AnnotatedImage, share: float, size: int) -> Crop:
    """Return a crop from ``share`` of the way along the image's diagonal, as large as there is."""
    y, x = (round(share * max(n - size, 0)) for n in image.labels.shape)
    part = np.s_[y : y + size, x : x + size]
    labels, target = compact_crop(image.labels[part], image.class_target)
    return Crop(image.rgb[part], labels, target, np.ones(labels.shape, bool))


def _greedy_hits(iou: torch.Tensor) -> int:
    """Return how many true boxes are found when each row, best first, takes its best one."""
    if not iou.numel():
        return 0
    iou = iou.clone()
    hits = 0
    for row in range(len(iou)):
        value, column = iou[row].max(0)
        if float(value) >= 0.5:
            hits += 1
            iou[:, column] = -1
    return hits
