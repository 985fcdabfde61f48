"""Nuclei of network maps, ours and by plain code: ``python -m benchmarks watershed``.

The plain implementations do the same steps on the whole frame at once, as the published programs
do them, with OpenCV and one nucleus after the other; the nuclei must be the same, pixel by pixel.
Each runs in a process of its own, for its memory.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.fields import nuclei_field
from benchmarks.timing import cpu_seconds, row
from napari_nucleus.core.watershed import (
    HoverNetConstants,
    WatershedConfig,
    instances_of_maps,
    map_limits,
)

N_CLASSES = 5
MPP = 0.25

Divided: TypeAlias = tuple[NDArray, dict[int, int]]
"""Labels, and the class by label."""


class Maps(NamedTuple):
    """What a network says of a field: HV ``(2, H, W)``, probabilities ``(C + 1, H, W)``."""

    hv: NDArray[np.float32]
    class_prob: NDArray[np.float32]

    @property
    def foreground(self) -> NDArray[np.float32]:
        """Probability of being in a nucleus."""
        return 1 - self.class_prob[0]


class Outcome(NamedTuple):
    """Labels, class by label, CPU seconds, and MiB over what was there before."""

    labels: NDArray[np.int32]
    types: dict[int, int]
    seconds: float
    mib: float


def maps_of_field(size: int = 2048) -> Maps:
    """Return noisy maps of 2,025 nuclei on three quarters of a field; one in five touches some."""
    labels = np.zeros((size, size), np.int32)
    inner = size * 3 // 4
    begin = (size - inner) // 2
    labels[begin : begin + inner, begin : begin + inner] = nuclei_field(inner, pitch=34)
    rng = np.random.default_rng(0)
    flat, n = labels.ravel(), int(labels.max())
    area = np.maximum(np.bincount(flat, minlength=n + 1), 1)
    hv = np.zeros((2, size, size), np.float32)
    for plane, position in enumerate(np.indices(labels.shape)[::-1]):
        centre = np.bincount(flat, position.ravel(), n + 1) / area
        hv[plane] = np.where(labels > 0, ((position - centre[labels]) / 10).clip(-1, 1), 0)
    hv += rng.normal(0, 0.15, hv.shape)
    class_of = rng.integers(1, N_CLASSES + 1, n + 1)
    class_of[0] = 0
    prob = np.full((N_CLASSES + 1, size, size), 0.04, np.float32)
    np.put_along_axis(prob, class_of[labels][None], 0.8, 0)
    prob += rng.normal(0, 0.08, prob.shape)
    prob = prob.clip(1e-3, None)
    return Maps(hv, prob / prob.sum(axis=0))


def published_hovernet(maps: Maps) -> NDArray[np.int32]:
    """Divide the foreground by HoVer-Net's published steps."""
    import cv2
    from scipy import ndimage
    from skimage.segmentation import watershed

    blobs = np.array(maps.foreground >= 0.5, np.int32)
    blobs = _without_small(ndimage.label(blobs)[0], 10)
    blobs[blobs > 0] = 1
    slopes = []
    for plane, order in ((maps.hv[0], (1, 0)), (maps.hv[1], (0, 1))):
        slope = cv2.Sobel(_stretched(plane), cv2.CV_64F, *order, ksize=21)
        slopes.append(1 - _stretched(slope))
    borders = np.maximum(*slopes) - (1 - blobs)
    borders[borders < 0] = 0
    surface = -cv2.GaussianBlur((1.0 - borders) * blobs, (3, 3), 0)
    markers = blobs - np.array(borders >= 0.4, np.int32)
    markers[markers < 0] = 0
    markers = ndimage.binary_fill_holes(markers).astype("uint8")
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    markers = cv2.morphologyEx(markers, cv2.MORPH_OPEN, kernel)
    markers = _without_small(ndimage.label(markers)[0], 10)
    return watershed(surface, markers, mask=blobs)


def plain_energy(maps: Maps) -> NDArray[np.int32]:
    """Divide the foreground by the offsets' energy, seeds of distances and compactness."""
    import cv2
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    constants = WatershedConfig().energy
    mask = maps.class_prob.argmax(axis=0) > 0
    mask = ~(_without_small(ndimage.label(~mask)[0], 10) > 0)
    components = ndimage.label(_without_small(ndimage.label(mask)[0], 10) > 0)[0]
    mask = components > 0
    scale = 0.5 ** (2 * constants.sobel - 3)
    slope_x = cv2.Sobel(maps.hv[0], cv2.CV_64F, 1, 0, ksize=constants.sobel) * scale
    slope_y = cv2.Sobel(maps.hv[1], cv2.CV_64F, 0, 1, ksize=constants.sobel) * scale
    energy = np.clip(np.maximum(-slope_x, -slope_y) / constants.drop, 0, 1)
    surface = ndimage.distance_transform_edt(mask) * (1 - energy)
    binomial = np.array([1, 4, 6, 4, 1]) / 16
    surface = ndimage.correlate1d(surface, binomial, 0, mode="mirror")
    surface = ndimage.correlate1d(surface, binomial, 1, mode="mirror") * mask
    distance = math.ceil(constants.seed_distance_um / MPP)
    points = peak_local_max(surface, min_distance=distance, labels=components, exclude_border=False)
    markers = np.zeros(mask.shape, np.int32)
    for number, (y, x) in enumerate(_seeds(points, surface, components), 1):
        markers[y, x] = number
    compactness: Any = constants.compactness  # scikit-image's stub has int
    return watershed(-surface, markers, mask=mask, compactness=compactness)


def _seeds(points: NDArray, surface: NDArray, components: NDArray) -> list[tuple[int, int]]:
    """Return the peaks that no straight way along a ridge joins to a higher one."""
    constants = WatershedConfig().energy
    length = math.ceil(constants.length_um / MPP)
    share = np.arange(length + 1) / length
    by_component: dict[int, list[tuple[int, int]]] = {}
    for y, x in points.tolist():
        by_component.setdefault(int(components[y, x]), []).append((y, x))
    seeds = []
    for number, own in by_component.items():
        ordered = sorted(own, key=lambda p: (-surface[p], p))
        for i, low in enumerate(ordered):
            for high in ordered[:i]:
                away = np.subtract(high, low)
                if np.hypot(*away) > length:
                    continue
                y, x = np.array(low)[:, None] + np.rint(away[:, None] * share).astype(int)
                way = np.where(components[y, x] == number, surface[y, x], 0)
                if way.min() > constants.saddle * surface[low]:
                    break
            else:
                seeds.append(low)
    for number in set(range(1, components.max() + 1)) - set(by_component):
        inside = np.where(components == number, surface, -1)
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        seeds.append((int(y), int(x)))
    return seeds


def _stretched(plane: NDArray) -> NDArray:
    import cv2

    nothing: Any = None
    return cv2.normalize(plane, nothing, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)


def _without_small(parts: NDArray, least: int) -> NDArray:
    small = np.bincount(parts.ravel()) < least
    parts[small[parts]] = 0
    return parts


def one_after_the_other(labels: NDArray, types: NDArray) -> dict[int, int]:
    """Return the class of each nucleus, and take box, moments and contour, as HoVer-Net does."""
    import cv2

    class_of = {}
    for number in np.unique(labels)[1:]:
        mask = labels == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        crop = mask[box].astype(np.uint8)
        cv2.moments(crop)
        cv2.findContours(crop, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        found, votes = np.unique(types[box][crop > 0], return_counts=True)
        ranked = sorted(zip(found, votes, strict=True), key=lambda v: v[1], reverse=True)
        first = ranked[0][0]
        class_of[int(number)] = int(ranked[1][0] if first == 0 and len(ranked) > 1 else first)
    return class_of


def plain(postproc: str, maps: Maps) -> Callable[[], Divided]:
    """Return the plain work: instances, contours and types."""
    divide = published_hovernet if postproc == "hovernet" else plain_energy

    def work() -> Divided:
        labels = divide(maps)
        return labels, one_after_the_other(labels, maps.class_prob.argmax(axis=0))

    return work


def ours(postproc: str, maps: Maps) -> Callable[[], Divided]:
    """Return our work: the same, with the constants that HoVer-Net takes from the map."""
    config = WatershedConfig()
    foreground = None
    if postproc == "hovernet":
        limits = map_limits(maps.hv, MPP)
        constants = replace(HoverNetConstants(), limits=limits)
        config = WatershedConfig("hovernet", hovernet=constants)
        foreground = maps.foreground

    def work() -> Divided:
        found = instances_of_maps(maps.hv, foreground, maps.class_prob, MPP, config)
        found.polygons()
        return found.labels, dict(enumerate(found.classes.tolist(), 1))

    return work


def measure(which: str, postproc: str) -> Outcome:
    """Do the work on a corner to load what it needs, and then for its memory and its time."""
    maps = maps_of_field()
    make = ours if which == "ours" else plain
    make(postproc, Maps(maps.hv[:, :400, :400], maps.class_prob[:, :400, :400]))()
    work = make(postproc, maps)
    begin = time.process_time()
    (labels, types), mib = _with_peak(work)
    seconds = time.process_time() - begin
    if which == "ours":
        seconds = cpu_seconds(work, 3)
    return Outcome(labels.astype(np.int32), types, seconds, mib)


def _with_peak(work: Callable[[], Divided]) -> tuple[Divided, float]:
    """Return what a work returns, and how many MiB this process grew meanwhile at the most."""
    process = psutil.Process()
    before = process.memory_info().rss
    peak = before
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work()
    finally:
        done.set()
        watcher.join()
    return result, (peak - before) / 2**20


def same_nuclei(a: Outcome, b: Outcome) -> bool:
    """Return whether two outcomes have the same pixels and classes, whatever the numbers."""
    if not np.array_equal(a.labels > 0, b.labels > 0) or len(a.types) != len(b.types):
        return False
    pairs = np.unique(np.stack([a.labels[a.labels > 0], b.labels[a.labels > 0]]), axis=1)
    one_to_one = pairs.shape[1] == len(a.types)
    return one_to_one and all(a.types[i] == b.types[j] for i, j in pairs.T.tolist())


def main() -> int:
    """Print two rows for each way, and whether the nuclei are the same."""
    differ = 0
    for postproc in ("energy", "hovernet"):
        outcomes = []
        for which in ("ours", "plain"):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                outcomes.append(pool.submit(measure, which, postproc).result())
        own, other = outcomes
        same = same_nuclei(own, other)
        differ += not same
        what = f"nuclei, contours, classes of maps, 2048 x 2048, {postproc}"
        row(what, own.seconds, "CPU-s", 0.6, f"{len(own.types):,} nuclei")
        row("  by plain code", other.seconds, "CPU-s", note=_ratio(other.seconds, own.seconds))
        row("  memory over the maps", own.mib, "MiB", 150)
        row("  by plain code", other.mib, "MiB", note=_ratio(other.mib, own.mib))
        print("  the nuclei are the same" if same else "  THE NUCLEI DIFFER", flush=True)
    return 1 if differ else 0


def _ratio(plain: float, own: float) -> str:
    return f"{plain / own:.1f} x"


if __name__ == "__main__":
    sys.exit(main())
