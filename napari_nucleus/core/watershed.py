"""Nuclei out of a network's maps: foreground, offsets to the centre (HV) and classes.

Offsets rise from -1 to 1 across a nucleus and drop where two nuclei touch. The distance to the
background, lowered where offsets drop, is a landscape: its peaks are the seeds of a compact
watershed (SegTME-UNI2).

All constants are fixed, and a connected component of the foreground is worked on by itself. What
comes of it hence depends on the maps a few pixels around it and on nothing else: the same nuclei
in a tile and in the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from napari_nucleus.core.filters import (
    binomial_blur,
    blocks,
    distance_to_background,
    gradient,
    window,
)
from napari_nucleus.core.morphology import minimum_area
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.polygons import polygons_of_labels
from napari_nucleus.errors import ModelError

__all__ = ["Instances", "WatershedConfig", "instances_of_maps"]


@dataclass(frozen=True, slots=True)
class WatershedConfig:
    """Constants of the post-processing.

    Parameters
    ----------
    foreground
        Probability from which a pixel belongs to a nucleus.
    seed_distance_um
        Of two peaks nearer than this, only the higher is a seed.
    drop
        Fall of the offsets per pixel at which two nuclei are surely apart.
    compactness
        Of the watershed: how much a pixel's distance from the seed counts.
    """

    foreground: float = 0.5
    seed_distance_um: float = 1.5
    drop: float = 0.3
    compactness: float = 0.01


SOBEL = 7
SMOOTHING = 2


@dataclass(frozen=True, eq=False)
class Instances:
    """The nuclei of a field.

    Parameters
    ----------
    labels
        ``(H, W)`` int32, ids 1..n, 0 is background.
    boxes
        ``(n, 4)`` int32 tight boxes ``(y0, x0, y1, x1)``.
    classes
        ``(n,)`` uint8: the class map most of a nucleus's pixels voted for, 1..C; of equal votes
        the one with the higher summed probability. 0 where no class map is above 0.
    class_prob
        ``(n, C)`` float32: mean probability of each class inside, scaled to a sum of 1.
    score
        ``(n,)`` float32: mean probability of the foreground inside, 0–1.
    """

    labels: NDArray[np.int32]
    boxes: NDArray[np.int32]
    classes: NDArray[np.uint8]
    class_prob: NDArray[np.float32]
    score: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def nuclei(self, source: str = "") -> Nuclei:
        """Return the nuclei as a batch.

        A batch knows a class as the most probable one; where the vote went to another class, the
        probabilities of the two change places.
        """
        masks = tuple(
            self.labels[y0:y1, x0:x1] == i + 1 for i, (y0, x0, y1, x1) in enumerate(self.boxes)
        )
        prob = self.class_prob.copy()
        voted = np.flatnonzero(self.classes)
        if len(voted):
            place, likeliest = self.classes[voted].astype(np.int64) - 1, prob[voted].argmax(axis=1)
            highest = prob[voted, likeliest]
            prob[voted, likeliest] = prob[voted, place]
            prob[voted, place] = highest
        return Nuclei(self.boxes, masks, self.score, prob, (), source)

    def polygons(self) -> NDArray[np.object_]:
        """Return the exact outline of each nucleus, ``(n,)``, as `polygons_of_labels` does."""
        return polygons_of_labels(self.labels)[1]


def instances_of_maps(
    hv: NDArray[np.floating],
    foreground: NDArray[np.floating] | None = None,
    class_prob: NDArray[np.floating] | None = None,
    mpp: float | None = None,
    config: WatershedConfig | None = None,
) -> Instances:
    """Find the nuclei in a network's maps.

    Parameters
    ----------
    hv
        ``(2, H, W)`` offsets from the centre of the nucleus, x (to the right) then y (downwards).
    foreground
        ``(H, W)`` probability of being in a nucleus. Without it, a pixel is foreground where a
        class is more probable than the background.
    class_prob
        ``(C + 1, H, W)`` probabilities, background first.
    mpp
        Micrometres per pixel; 0.25 where it is not known.
    config
        Constants, by default those of `WatershedConfig`.

    Raises
    ------
    ModelError
        If maps do not fit each other, or a value is not finite.
    """
    config = config or WatershedConfig()
    _check(hv, foreground, class_prob)
    shape = hv.shape[1:]
    components = _components(
        _foreground(foreground, class_prob, config.foreground, shape), minimum_area(mpp)
    )
    pixels = np.flatnonzero(components)
    surface = _energy_surface(hv, components, config)
    distance = int(np.ceil(config.seed_distance_um / (mpp or 0.25)))
    seeds = _seeds(surface, components, distance)
    labels = _flood(components, pixels, surface, seeds, config.compactness)
    return _describe(labels, pixels, foreground, class_prob)


def _check(hv: NDArray, foreground: NDArray | None, class_prob: NDArray | None) -> None:
    if hv.ndim != 3 or hv.shape[0] != 2:
        raise ModelError(f"HV maps have the shape (2, H, W), these have {hv.shape}.")
    if foreground is None and class_prob is None:
        raise ModelError("Nuclei need a foreground map or class maps beside the HV maps.")
    if foreground is not None and foreground.shape != hv.shape[1:]:
        raise ModelError(
            f"The foreground map has the shape {foreground.shape}, the HV maps {hv.shape[1:]}."
        )
    if class_prob is not None and (
        class_prob.ndim != 3 or class_prob.shape[1:] != hv.shape[1:] or class_prob.shape[0] < 2
    ):
        raise ModelError(
            f"Class maps have the shape (classes + 1, {hv.shape[1]}, {hv.shape[2]}), "
            f"these have {class_prob.shape}."
        )
    named = {"HV maps": hv, "foreground map": foreground, "class maps": class_prob}
    for name, maps in named.items():
        if maps is None or not maps.size:
            continue
        if np.isfinite(maps.min()) and np.isfinite(maps.max()):
            continue
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(maps))[0])
        raise ModelError(f"The {name} hold {maps[place]} at {place}; all values must be finite.")


def _foreground(
    foreground: NDArray | None, class_prob: NDArray | None, least: float, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    if foreground is not None:
        return foreground >= least
    assert class_prob is not None
    return class_prob[1:].max(axis=0) > class_prob[0]


def _components(mask: NDArray[np.bool_], least: int) -> NDArray[np.int32]:
    """Return the 4-connected components of a mask with at least ``least`` pixels, as 1..n."""
    components = np.zeros(mask.shape, np.int32)
    found = ndimage.label(mask, output=components)
    pixels = np.flatnonzero(mask)
    component = components.reshape(-1)[pixels]
    kept = np.bincount(component, minlength=int(found) + 1) >= least
    kept[0] = False
    if not kept[1:].all():
        number = np.cumsum(kept) * kept
        components.reshape(-1)[pixels] = number[component]
    return components


def _energy_surface(
    hv: NDArray, components: NDArray[np.int32], config: WatershedConfig
) -> NDArray[np.float32]:
    """Return the landscape: high in the middle of a nucleus, low at borders; 0 outside."""
    distance = distance_to_background(components)
    surface = np.zeros(components.shape, np.float32)
    height, width = components.shape
    for box in blocks(components > 0):
        y0, x0, y1, x1 = box
        a, b = max(y0 - SMOOTHING, 0), max(x0 - SMOOTHING, 0)
        c, d = min(y1 + SMOOTHING, height), min(x1 + SMOOTHING, width)
        slope_x, slope_y = (
            gradient(window(plane, (a, b, c, d), SOBEL // 2, np.float32), SOBEL, axis)
            for plane, axis in ((hv[0], 1), (hv[1], 0))
        )
        slope = np.minimum(slope_x, slope_y)
        slope *= 1 / config.drop
        slope += 1
        np.clip(slope, 0, 1, out=slope)
        slope *= distance[a:c, b:d]
        inner = (y0 - a, x0 - b, y1 - a, x1 - b)
        smooth = binomial_blur(window(slope, inner, SMOOTHING, np.float32), SMOOTHING)
        np.multiply(smooth, components[y0:y1, x0:x1] > 0, out=surface[y0:y1, x0:x1])
    return surface


def _seeds(
    surface: NDArray[np.float32], components: NDArray[np.int32], distance: int
) -> NDArray[np.int64]:
    """Return the flat positions of the seeds, ordered by component and position.

    A seed is the highest pixel of its component within ``distance`` rows and columns; each
    component has at least one.
    """
    height, width = surface.shape
    peak = surface > 0
    peak[1:] &= surface[1:] >= surface[:-1]
    peak[:-1] &= surface[:-1] >= surface[1:]
    peak[:, 1:] &= surface[:, 1:] >= surface[:, :-1]
    peak[:, :-1] &= surface[:, :-1] >= surface[:, 1:]
    candidates = np.flatnonzero(peak)
    steps = np.arange(-distance, distance + 1)
    highest = []
    for begin in range(0, len(candidates), 4096):
        flat = candidates[begin : begin + 4096]
        rows = (flat // width)[:, None] + steps
        columns = (flat % width)[:, None] + steps
        np.clip(rows, 0, height - 1, out=rows)
        np.clip(columns, 0, width - 1, out=columns)
        around = rows[:, :, None] * width + columns[:, None, :]
        own = components.reshape(-1)[flat][:, None, None]
        near = np.where(components.reshape(-1)[around] == own, surface.reshape(-1)[around], 0)
        highest.append(near.max(axis=(1, 2)) == surface.reshape(-1)[flat])
    seeds = candidates[np.concatenate(highest)] if highest else candidates
    seeds = _spaced(seeds, surface, components, distance)
    component = components.reshape(-1)[seeds]
    n = int(components.max(initial=0))
    without = np.flatnonzero(np.bincount(component, minlength=n + 1)[1:] == 0) + 1
    if len(without):
        places = ndimage.find_objects(components)
        for number in without:
            place = places[number - 1]
            inside = np.where(components[place] == number, surface[place], -1)
            row, column = np.unravel_index(inside.argmax(), inside.shape)
            flat = (place[0].start + row) * width + place[1].start + column
            seeds = np.append(seeds, flat)
        component = components.reshape(-1)[seeds]
    return seeds[np.lexsort((seeds, component))]


def _spaced(
    seeds: NDArray[np.int64],
    surface: NDArray[np.float32],
    components: NDArray[np.int32],
    distance: int,
) -> NDArray[np.int64]:
    """Drop, of equally high seeds of a component that are too near each other, the later."""
    if len(seeds) < 2:
        return seeds
    points = np.column_stack(np.divmod(seeds, surface.shape[1]))
    pairs = cKDTree(points).query_pairs(distance - 0.5, p=np.inf, output_type="ndarray")
    component = components.reshape(-1)[seeds]
    pairs = np.sort(pairs[component[pairs[:, 0]] == component[pairs[:, 1]]], axis=1)
    kept = np.ones(len(seeds), bool)
    for first, second in pairs[np.lexsort(pairs.T[::-1])]:
        if kept[first]:
            kept[second] = False
    return seeds[kept]


def _flood(
    components: NDArray[np.int32],
    pixels: NDArray[np.int64],
    surface: NDArray[np.float32],
    seeds: NDArray[np.int64],
    compactness: float,
) -> NDArray[np.int32]:
    """Divide each component among its seeds; the labels are written over the components."""
    flat = components.reshape(-1)
    component = flat[seeds]
    n = int(components.max(initial=0))
    count = np.bincount(component, minlength=n + 1)
    first = np.cumsum(count) - count
    several = np.flatnonzero(count > 1)
    places = ndimage.find_objects(components) if len(several) else []
    label = np.where(count > 0, first + 1, 0).astype(np.int32)
    flat[pixels] = label[flat[pixels]]
    for number in several:
        place = places[number - 1]
        part = components[place]
        mask = part == label[number]
        rows, columns = np.divmod(
            seeds[first[number] : first[number] + count[number]], components.shape[1]
        )
        markers = np.zeros(part.shape, np.int32)
        markers[rows - place[0].start, columns - place[1].start] = np.arange(1, count[number] + 1)
        divided = watershed(-surface[place], markers, mask=mask, compactness=compactness)  # pyright: ignore[reportArgumentType]
        part[mask] = divided[mask] + (label[number] - 1)
    return components


def _describe(
    labels: NDArray[np.int32],
    pixels: NDArray[np.int64],
    foreground: NDArray | None,
    class_prob: NDArray | None,
) -> Instances:
    """Return the instances of a label map with their classes and scores."""
    place = ndimage.find_objects(labels)
    boxes = np.array(
        [(s[0].start, s[1].start, s[0].stop, s[1].stop) for s in place], np.int32
    ).reshape(-1, 4)
    n = len(boxes)
    number = labels.reshape(-1)[pixels] - 1
    pixels, number = (
        (pixels, number) if (number >= 0).all() else (pixels[number >= 0], number[number >= 0])
    )
    area = np.maximum(np.bincount(number, minlength=n), 1)
    n_classes = 0 if class_prob is None else len(class_prob) - 1
    sums = np.zeros((n, n_classes))
    classes = np.zeros(n, np.uint8)
    inside = np.zeros(0)
    if class_prob is not None:
        background = class_prob[0].reshape(-1)[pixels]
        best, vote = background.copy(), np.full(len(pixels), -1, np.int8)
        for c in range(n_classes):
            value = class_prob[c + 1].reshape(-1)[pixels]
            sums[:, c] = np.bincount(number, value, n)
            above = value > best
            vote[above] = c
            np.maximum(best, value, out=best)
        counts = np.bincount(
            number * np.int64(n_classes + 1) + (vote + 1), minlength=n * (n_classes + 1)
        ).reshape(n, n_classes + 1)[:, 1:]
        most = counts == counts.max(axis=1, keepdims=True)
        classes = np.where(most, sums, -1.0).argmax(axis=1).astype(np.uint8) + np.uint8(1)
        classes[sums.max(axis=1, initial=0) <= 0] = 0
        inside = 1 - background
    total = sums.sum(axis=1, keepdims=True)
    prob = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0).astype(np.float32)
    if foreground is not None:
        inside = foreground.reshape(-1)[pixels]
    score = np.bincount(number, inside, n) / area
    return Instances(labels, boxes, classes, prob, score.clip(0, 1).astype(np.float32))
