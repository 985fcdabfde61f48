"""Changes of a training crop: geometry for picture and labels, colour and optics for the picture.

Ranges follow what is known to help on unseen scanners and organs: scale first, then stain, then
optics. Every function takes the random generator it draws from.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy import ndimage

from napari_nucleus.core.stain import (
    LabStatistics,
    hed_jitter,
    lab_statistics,
    od_to_rgb,
    restain,
    rgb_to_od,
)

__all__ = [
    "AppearanceConfig",
    "change_appearance",
    "cover_with_dirt",
    "crop_affine",
    "paste_nuclei",
]


@dataclass(frozen=True, slots=True)
class AppearanceConfig:
    """Probabilities and ranges of colour and optics."""

    hed: float = 0.85
    hed_factor: tuple[float, float] = (0.6, 1.5)
    hed_offset: float = 0.03
    rotation: float = 0.4
    rotation_degrees: float = 6.0
    restain: float = 0.3
    grey: float = 0.05
    gamma: float = 0.5
    gamma_range: tuple[float, float] = (0.7, 1.4)
    blur: float = 0.25
    blur_sigma: float = 1.5
    resample: float = 0.25
    resample_range: tuple[float, float] = (0.4, 1.0)
    jpeg: float = 0.25
    jpeg_quality: tuple[int, int] = (30, 95)
    sharpen: float = 0.25
    noise: float = 0.2


def crop_affine(
    rgb: NDArray[np.uint8],
    labels: NDArray[np.int32],
    centre_yx: tuple[float, float],
    size: int,
    scale: float,
    angle: float,
    mirror: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cut a ``size`` square around a point, scaled, rotated and mirrored.

    Parameters
    ----------
    rgb, labels
        The image and its label map; what lies outside is mirrored.
    scale
        Output pixels per image pixel.
    angle
        Rotation in radians; multiples of a right angle at scale 1 copy pixels exactly.
    """
    # Outward from the crop's centre: output offset -> image offset.
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.array([[cos, -sin], [sin, cos]])
    if mirror:
        matrix[:, 1] *= -1
    exact = scale == 1 and abs(np.sin(2 * angle)) < 1e-9
    if exact:
        matrix = np.rint(matrix)
        centre = np.floor(centre_yx) + (0.0 if size % 2 == 0 else 0.5)
    else:
        centre = np.asarray(centre_yx, float)
    # Pixel centres: image index = M (output index + 0.5 - size / 2) + centre - 0.5.
    offset = matrix @ np.full(2, 0.5 - size / 2) + centre - 0.5
    reach = np.abs(matrix) @ np.full(2, size / 2) + 3
    low = np.floor(centre - reach).astype(int)
    high = np.ceil(centre + reach).astype(int)
    rows = _mirror_index(np.arange(low[0], high[0]), rgb.shape[0])
    cols = _mirror_index(np.arange(low[1], high[1]), rgb.shape[1])
    patch, patch_labels = rgb[np.ix_(rows, cols)], labels[np.ix_(rows, cols)]
    offset = offset - low
    out_labels = ndimage.affine_transform(
        patch_labels, matrix, offset, (size, size), order=0, mode="nearest"
    )
    if exact:
        planes = [
            ndimage.affine_transform(patch[..., c], matrix, offset, (size, size), order=0)
            for c in range(3)
        ]
    else:
        patch = patch.astype(np.float32)
        if scale < 0.8:
            patch = ndimage.gaussian_filter(patch, (0.45 / scale, 0.45 / scale, 0))
        planes = [
            ndimage.affine_transform(
                patch[..., c], matrix, offset, (size, size), order=1, mode="nearest"
            )
            for c in range(3)
        ]
    out = np.clip(np.rint(np.stack(planes, -1)), 0, 255).astype(np.uint8)
    return out, out_labels


def _mirror_index(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    if n == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * n - 2)
    return np.where(index >= n, 2 * n - 2 - index, index)


def paste_nuclei(
    rgb: NDArray[np.uint8],
    labels: NDArray[np.int32],
    class_target: NDArray[np.uint8],
    donor_rgb: NDArray[np.uint8],
    donor_labels: NDArray[np.int32],
    donor_class: NDArray[np.uint8],
    rng: np.random.Generator,
    count: int,
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8]]:
    """Paste up to ``count`` nuclei of a donor crop with feathered borders, where there is room.

    A nucleus is pasted at the place it has in the donor, on background only, so that both crops
    must have one shape. Returns the new picture, labels and class targets.
    """
    slices = ndimage.find_objects(donor_labels)
    ids = [i + 1 for i, s in enumerate(slices) if s is not None]
    rng.shuffle(ids)
    out, out_labels = rgb.astype(np.float32), labels.copy()
    targets = list(class_target)
    for donor_id in ids[:count]:
        box = slices[donor_id - 1]
        padded = tuple(
            slice(max(s.start - 3, 0), min(s.stop + 3, n))
            for s, n in zip(box, labels.shape, strict=True)
        )
        mask = donor_labels[padded] == donor_id
        if mask.sum() < 20 or (out_labels[padded][ndimage.binary_dilation(mask)] > 0).any():
            continue
        alpha = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)[..., None]
        out[padded] = out[padded] * (1 - alpha) + donor_rgb[padded] * alpha
        out_labels[padded][mask] = len(targets)
        targets.append(donor_class[donor_id])
    return np.rint(out).astype(np.uint8), out_labels, np.array(targets, np.uint8)


def cover_with_dirt(
    rgb: NDArray[np.uint8], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cover parts of a crop with ink, pigment or debris, which are dark but no nuclei.

    Blobs of black, brown, grey or a marker's blue or green, even or mottled, larger than most
    nuclei: smaller or purple ones would teach that nuclei are none. To be laid over the stained
    picture, whose jitter would turn black to purple. A nucleus that is covered by more than a third
    is taken off the labels.
    """
    shape = labels.shape
    scale = float(np.exp(rng.uniform(np.log(6.0), np.log(shape[0] / 4))))
    relief = ndimage.gaussian_filter(rng.standard_normal(shape), scale, mode="wrap")
    covered = relief > np.quantile(relief, rng.uniform(0.6, 0.97))
    kind = rng.integers(4)
    if kind == 0:
        color = rng.uniform(0, 45, 3)
    elif kind == 1:
        color = np.array([90, 60, 35]) * rng.uniform(0.4, 1.6)
    elif kind == 2:
        color = np.array([[20, 60, 140], [20, 110, 70]])[rng.integers(2)] * rng.uniform(0.5, 1.3)
    else:
        color = rng.uniform(30, 120) + rng.uniform(-8, 8, 3)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(0.5, 2.5))
    grain = grain / max(float(grain.std()), 1e-6) * rng.uniform(0, 22)
    paint = np.clip(color + grain[..., None], 0, 255)
    alpha = ndimage.gaussian_filter(covered.astype(np.float32), rng.uniform(0.5, 2.0))[..., None]
    out = rgb * (1 - alpha) + paint * alpha
    size = np.bincount(labels.ravel())
    lost = np.bincount(labels[covered].ravel(), minlength=len(size)) > size / 3
    lost[0] = False
    return np.rint(out).astype(np.uint8), np.where(lost[labels], 0, labels)


def change_appearance(
    rgb: NDArray[np.uint8], rng: np.random.Generator, config: AppearanceConfig
) -> NDArray[np.uint8]:
    """Return the crop as another stain, scanner and compression might show it."""
    if rng.random() < config.restain:
        rgb = _random_restain(rgb, rng)
    if rng.random() < config.rotation:
        rgb = _rotate_stains(rgb, rng, np.deg2rad(config.rotation_degrees))
    if rng.random() < config.hed:
        factors = rng.uniform(*config.hed_factor, 3)
        offsets = rng.uniform(-config.hed_offset, config.hed_offset, 3)
        rgb = hed_jitter(rgb, factors, offsets)
    if rng.random() < config.gamma:
        table = (np.arange(256) / 255.0) ** rng.uniform(*config.gamma_range) * 255
        rgb = np.rint(table).astype(np.uint8)[rgb]
    if rng.random() < config.grey:
        grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
        rgb = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
    return _change_optics(rgb, rng, config)


def _change_optics(
    rgb: NDArray[np.uint8], rng: np.random.Generator, config: AppearanceConfig
) -> NDArray[np.uint8]:
    if rng.random() < config.blur:
        sigma = rng.uniform(0.2, config.blur_sigma)
        rgb = ndimage.gaussian_filter(rgb, (sigma, sigma, 0))
    if rng.random() < config.resample:
        picture = Image.fromarray(rgb)
        factor = rng.uniform(*config.resample_range)
        w, h = (max(int(n * factor), 8) for n in picture.size)
        rgb = np.asarray(
            picture.resize((w, h), Image.Resampling.BILINEAR).resize(
                picture.size, Image.Resampling.BICUBIC
            )
        )
    if rng.random() < config.sharpen:
        picture = ImageEnhance.Sharpness(Image.fromarray(rgb)).enhance(rng.uniform(1.2, 3.0))
        rgb = np.asarray(picture)
    if rng.random() < config.noise:
        noise = rng.normal(0, rng.uniform(1, 7), rgb.shape).astype(np.float32)
        rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if rng.random() < config.jpeg:
        buffer = io.BytesIO()
        quality = int(rng.integers(*config.jpeg_quality))
        Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
        rgb = np.asarray(Image.open(buffer))
    return rgb


def _random_restain(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    source = lab_statistics(rgb)
    if source is None:
        return rgb
    mean = (rng.uniform(45, 80), rng.uniform(8, 38), rng.uniform(-32, 2))
    std = tuple(s * rng.uniform(0.7, 1.4) for s in source.std)
    return restain(rgb, source, LabStatistics(mean, std), rng.uniform(0.3, 1.0))  # type: ignore[arg-type]


def _rotate_stains(
    rgb: NDArray[np.uint8], rng: np.random.Generator, sigma: float
) -> NDArray[np.uint8]:
    """Turn optical density about a random axis, which changes the hues of both stains."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = rng.normal(0, sigma)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return od_to_rgb(np.maximum(rgb_to_od(rgb) @ turn.T.astype(np.float32), 0))
