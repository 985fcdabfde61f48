"""An endless stream of augmented training crops from real, point-annotated and synthetic images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from skimage import measure

from napari_nucleus.training.augment import (
    AppearanceConfig,
    change_appearance,
    cover_with_dirt,
    crop_affine,
    paste_nuclei,
)
from napari_nucleus.training.data import AnnotatedImage, PointImage

__all__ = ["Crop", "CropSampler", "SamplerConfig", "compact_crop"]


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """Shares of the sources and ranges of the geometry.

    Parameters
    ----------
    consep, dsb2018, synthetic, points, pseudo
        Relative frequency of each source; a source without images is left out.
    scale
        Range of the magnification, drawn log-uniformly.
    exact
        Share of crops at scale 1 without interpolation, which keep the annotators' borders.
    dsb_diameter
        Range of the median nucleus, in pixels, to which Data Science Bowl images are brought,
        because their magnification is unknown.
    paste
        Share of real crops that get nuclei of another crop pasted in.
    pseudo_scale
        Magnification of tiles that a model has labelled, over that of the annotated images.
    dirt
        Share of crops that are partly covered with ink, pigment or debris.
    """

    consep: float = 0.60
    dsb2018: float = 0.16
    synthetic: float = 0.20
    points: float = 0.04
    pseudo: float = 0.5
    scale: tuple[float, float] = (0.55, 1.8)
    exact: float = 0.35
    dsb_diameter: tuple[float, float] = (13.0, 30.0)
    paste: float = 0.25
    pseudo_scale: float = 1.0
    dirt: float = 0.06
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)


@dataclass(frozen=True, eq=False)
class Crop:
    """One training crop.

    Parameters
    ----------
    rgb
        ``(S, S, 3)`` uint8.
    labels
        ``(S, S)`` int32, ids 1..n without gaps.
    class_target
        ``(n + 1,)`` uint8.
    known
        ``(S, S)`` bool, where the labels are the truth; False where nothing is known.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.int32]
    class_target: NDArray[np.uint8]
    known: NDArray[np.bool_]


class CropSampler:
    """Draws crops without end; the same seed gives the same crops.

    Parameters
    ----------
    images
        Fully annotated images by source name: ``"consep"``, ``"dsb2018"``, ``"synthetic"``, and
        ``"pseudo"`` for those that a model has labelled.
    points
        Images with points only.
    size
        Side of a crop in pixels.
    """

    def __init__(
        self,
        images: Mapping[str, Sequence[AnnotatedImage]],
        points: Sequence[PointImage],
        size: int,
        config: SamplerConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config or SamplerConfig()
        self.size = size
        self.rng = np.random.default_rng(seed)
        self._images = {name: list(group) for name, group in images.items() if len(group)}
        self._points = list(points)
        names = list(self._images) + (["points"] if self._points else [])
        share = np.array([getattr(self.config, name) for name in names], float)
        if not names or share.sum() <= 0:
            raise ValueError("no training images; check the data folder and the shares")
        self._names, self._share = names, share / share.sum()
        # A dense image holds more to learn, but one image must not drown the others, nor may
        # images with few nuclei (glass, pigment, mucin) be seen too rarely.
        self._weights = {
            name: _normalised([np.sqrt(image.count + 150) for image in group])
            for name, group in self._images.items()
        }
        self._diameters = {
            image.name: image.median_diameter for image in self._images.get("dsb2018", [])
        }

    def __iter__(self) -> Iterator[Crop]:
        while True:
            yield self.draw()

    def draw(self) -> Crop:
        """Return the next crop."""
        name = self._names[self.rng.choice(len(self._names), p=self._share)]
        crop = self._draw_points() if name == "points" else self._draw_annotated(name)
        rgb = change_appearance(crop.rgb, self.rng, self.config.appearance)
        labels, target = crop.labels, crop.class_target
        if name != "points" and self.rng.random() < self.config.dirt:
            rgb, labels = cover_with_dirt(rgb, labels, self.rng)
            labels, target = compact_crop(labels, target)
        return Crop(rgb, labels, target, crop.known)

    def _draw_annotated(self, name: str) -> Crop:
        rgb, labels, target = self._cut(name)
        if name != "synthetic" and self.rng.random() < self.config.paste:
            donor = self._cut(name)
            count = int(self.rng.integers(5, 21))
            rgb, labels, target = paste_nuclei(rgb, labels, target, *donor, self.rng, count)
        labels, target = compact_crop(labels, target)
        return Crop(rgb, labels, target, np.ones(labels.shape, bool))

    def _cut(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8]]:
        group = self._images[name]
        image = group[self.rng.choice(len(group), p=self._weights[name])]
        scale, angle, mirror = self._geometry()
        if name == "dsb2018" and self._diameters[image.name] > 0:
            scale = self.rng.uniform(*self.config.dsb_diameter) / self._diameters[image.name]
        if name == "pseudo":
            scale /= self.config.pseudo_scale
        centre = self._centre(image.rgb.shape[:2], scale)
        rgb, labels = crop_affine(image.rgb, image.labels, centre, self.size, scale, angle, mirror)
        return rgb, labels, image.class_target

    def _draw_points(self) -> Crop:
        """Mark a disk around each point as nucleus and leave the rest unknown."""
        image = self._points[self.rng.integers(len(self._points))]
        labels = np.zeros(image.rgb.shape[:2], np.int32)
        rows, cols = np.indices(labels.shape) + 0.5
        for i, (y, x) in enumerate(image.points_yx):
            labels[(rows - y) ** 2 + (cols - x) ** 2 < 9] = i + 1
        target = np.concatenate([[0], image.class_target]).astype(np.uint8)
        scale, angle, mirror = self._geometry()
        centre = self._centre(labels.shape, scale)
        rgb, labels = crop_affine(image.rgb, labels, centre, self.size, scale, angle, mirror)
        labels, target = compact_crop(labels, target)
        return Crop(rgb, labels, target, labels > 0)

    def _geometry(self) -> tuple[float, float, bool]:
        mirror = bool(self.rng.random() < 0.5)
        if self.rng.random() < self.config.exact:
            return 1.0, float(self.rng.integers(4)) * np.pi / 2, mirror
        low, high = np.log(self.config.scale)
        scale = float(np.exp(self.rng.uniform(low, high)))
        return scale, float(self.rng.uniform(0, 2 * np.pi)), mirror

    def _centre(self, shape: tuple[int, ...], scale: float) -> tuple[float, float]:
        half = self.size / 2 / scale
        y, x = (self.rng.uniform(half, n - half) if n > 2 * half else n / 2 for n in shape[:2])
        return float(y), float(x)


def compact_crop(
    labels: NDArray[np.int32], class_target: NDArray[np.uint8], min_area: int = 6
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Number the nuclei of a crop 1..n and drop specks that its border leaves over.

    Each connected part is a nucleus of its own: where a crop goes beyond its image and shows it
    mirrored, one id comes several times.
    """
    parts = measure.label(labels, background=0, connectivity=2)
    area = np.bincount(parts.ravel())
    id_of_part = np.zeros(len(area), np.int64)
    id_of_part[parts.ravel()] = labels.ravel()
    keep = area >= min_area
    keep[0] = False
    ids = np.flatnonzero(keep)
    renumber = np.zeros(len(area), np.int32)
    renumber[ids] = np.arange(1, len(ids) + 1)
    targets = class_target[id_of_part[ids]]
    return renumber[parts], np.concatenate([[0], targets]).astype(np.uint8)


def _normalised(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, float)
    return array / array.sum()
