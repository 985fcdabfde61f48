"""Nuclei out of a network's maps: foreground, offsets to the centre (HV) and classes.

Two ways to divide the foreground into nuclei. ``"energy"``: the distance to the background,
lowered where offsets drop, is a landscape whose peaks seed a compact watershed (SegTME-UNI2).
``"hovernet"``: HoVer-Net's published post-processing.

All constants are fixed and a connected component of the foreground is worked on by itself, so
that its nuclei depend on the maps `reach` pixels around it and on nothing else: they are the same
in a tile and in the whole image. What HoVer-Net takes from the whole map, the limits of the
slopes of its offsets, is a constant here; `map_limits` gives the published ones of a map.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from napari_nucleus.core.filters import bands
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.hv_maps import (
    GradientLimits,
    Markers,
    energy_surface,
    hover_borders,
    hover_limits,
    hover_markers,
    hover_surface,
    peaks,
)
from napari_nucleus.core.instances import Instances, describe_instances
from napari_nucleus.core.morphology import MINIMUM_AREA_UM2
from napari_nucleus.errors import ModelError

__all__ = [
    "EnergyConstants",
    "HoverNetConstants",
    "WatershedConfig",
    "instances_of_maps",
    "map_limits",
    "reach",
]

DEFAULT_MPP = 0.25
"""Micrometres per pixel where they are not known."""

TYPICAL_LIMITS = GradientLimits((-1.05, 0.65), (-1.05, 0.65))
"""Limits per micrometre near those of fields with touching nuclei."""


@dataclass(frozen=True, slots=True)
class EnergyConstants:
    """Constants of ``"energy"``.

    Parameters
    ----------
    sobel
        Size of the operator that takes the slope of the offsets, odd, in pixels: noise is of
        pixels, whatever their size. 7 is Sobel's 3 x 3 after a blur of variance 1.
    drop
        Fall of the offsets per pixel at which two nuclei are surely apart. Inside a nucleus
        offsets rise by about 0.1, where two of them touch they fall by up to 0.4.
    blur
        Radius in pixels of the binomial blur of the landscape; 2 has variance 1.
    seed_distance_um
        A seed is the highest pixel of its component within this distance.
    saddle
        Two peaks are seeds of one nucleus if the landscape between them stays above this share
        of the lower one: the ridge of a long nucleus goes up and down, a border goes to 0.
    length_um
        Peaks farther apart than this are never of one nucleus.
    compactness
        How much the distance from its seed counts when a pixel is given to a nucleus.
    """

    sobel: int = 7
    drop: float = 0.1
    blur: int = 2
    seed_distance_um: float = 0.75
    saddle: float = 0.65
    length_um: float = 10.0
    compactness: float = 0.01


@dataclass(frozen=True, slots=True)
class HoverNetConstants:
    """Constants of ``"hovernet"``; lengths are those of its pixels of 0.25 µm.

    Parameters
    ----------
    sobel_um
        Size of the operator that takes the slope of the offsets: 21 pixels at 0.25 µm, 11 at
        0.5 µm.
    limits
        Slopes per micrometre that count as no border at all (the greater) and as a sure one
        (the lesser), of x and of y.
    threshold
        Share of the way between the limits from which a pixel is a border.
    opening_um
        Size of the ellipse that opens markers: 5 pixels at 0.25 µm.
    """

    sobel_um: float = 5.25
    limits: GradientLimits = TYPICAL_LIMITS
    threshold: float = 0.4
    opening_um: float = 1.25


@dataclass(frozen=True, slots=True)
class WatershedConfig:
    """How nuclei are found.

    Parameters
    ----------
    postproc
        ``"energy"`` or ``"hovernet"``.
    foreground
        Probability from which a pixel belongs to a nucleus.
    minimum_area_um2
        What has a smaller area is noise: components of the foreground, pinholes in it (not in
        ``"hovernet"``) and HoVer-Net's markers. 10 pixels at 0.25 µm.
    energy, hovernet
        Constants of each way.
    """

    postproc: Literal["energy", "hovernet"] = "energy"
    foreground: float = 0.5
    minimum_area_um2: float = MINIMUM_AREA_UM2
    energy: EnergyConstants = field(default_factory=EnergyConstants)
    hovernet: HoverNetConstants = field(default_factory=HoverNetConstants)

    def __post_init__(self) -> None:
        if self.postproc not in ("energy", "hovernet"):
            raise ValueError(f"postproc is 'energy' or 'hovernet', not {self.postproc!r}")
        energy, hovernet = self.energy, self.hovernet
        if energy.sobel < 3 or energy.sobel % 2 == 0:
            raise ValueError(f"a Sobel operator has an odd size of 3 or more, not {energy.sobel}")
        for constants, names in (
            (energy, ("drop", "seed_distance_um", "length_um")),
            (hovernet, ("sobel_um", "opening_um")),
        ):
            for name in names:
                if not getattr(constants, name) > 0:
                    raise ValueError(f"{name} must be positive, not {getattr(constants, name)}")


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
        ``(C + 1, H, W)`` probabilities, background first; without them nuclei have no class.
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
    _check_shapes(hv, foreground, class_prob)
    for name, maps in (("HV", hv), ("foreground", foreground), ("class", class_prob)):
        if maps is not None:
            _check_finite(name, maps)
    least = _least_pixels(config, mpp)
    mask = _foreground(foreground, class_prob, config.foreground)
    if config.postproc == "energy":
        _fill_pinholes(mask, least)
    components = _components(mask, least)
    mask = components > 0
    if not mask.any():
        return describe_instances(components, foreground, class_prob)
    if config.postproc == "energy":
        constants = config.energy
        surface = energy_surface(hv, components, constants.sobel, constants.drop, constants.blur)
        pixel = mpp or DEFAULT_MPP
        markers = peaks(
            surface,
            components,
            math.ceil(constants.seed_distance_um / pixel),
            constants.saddle,
            math.ceil(constants.length_um / pixel),
        )
        labels = _flood(
            components, markers, lambda b: -surface[b[0] : b[2], b[1] : b[3]], constants.compactness
        )
    else:
        sobel, opening, limits = _hovernet_pixels(config.hovernet, mpp)
        borders = hover_borders(hv, components, sobel, limits)
        markers = hover_markers(borders, components, config.hovernet.threshold, opening, least)
        labels = _flood(components, markers, lambda b: hover_surface(borders, mask, b), 0.0)
    return describe_instances(labels, foreground, class_prob)


def map_limits(
    hv: NDArray[np.floating], mpp: float | None = None, config: WatershedConfig | None = None
) -> GradientLimits:
    """Return the limits of the slopes in a map, per micrometre, by which HoVer-Net scales them.

    With them as `HoverNetConstants.limits` nuclei are HoVer-Net's to the pixel, but those of one
    tile are no longer those of another.
    """
    _check_shapes(hv, np.empty(hv.shape[1:]), None)
    _check_finite("HV", hv)
    sobel, _, _ = _hovernet_pixels((config or WatershedConfig()).hovernet, mpp)
    return _scaled(hover_limits(hv, sobel), 1 / (mpp or DEFAULT_MPP))


def reach(mpp: float | None = None, config: WatershedConfig | None = None) -> int:
    """Return how many pixels around a component of the foreground its nuclei depend on.

    A tile that holds a component and this many pixels around it, or the edge of the image, gives
    the nuclei that the whole image gives.
    """
    config = config or WatershedConfig()
    if config.postproc == "energy":
        blur, sobel = config.energy.blur, config.energy.sobel
    else:
        blur, (sobel, _, _) = 1, _hovernet_pixels(config.hovernet, mpp)
    # Neighbours that the blur mixes in, and the gaps before them, must not become so small where
    # the tile cuts them that they go.
    near = blur + math.ceil(math.sqrt(2) * blur)
    return max(blur + sobel // 2, near + _least_pixels(config, mpp))


def _least_pixels(config: WatershedConfig, mpp: float | None) -> int:
    return max(round(config.minimum_area_um2 / (mpp or DEFAULT_MPP) ** 2), 1)


def _hovernet_pixels(
    constants: HoverNetConstants, mpp: float | None
) -> tuple[int, int, GradientLimits]:
    """Return size of the operator, size of the opening and limits per pixel."""
    pixel = mpp or DEFAULT_MPP
    sobel = max(_odd(constants.sobel_um / pixel), 3)
    return sobel, _odd(constants.opening_um / pixel), _scaled(constants.limits, pixel)


def _odd(length: float) -> int:
    """Return the odd number nearest to a length, the greater of two."""
    return 2 * math.floor(length / 2) + 1


def _scaled(limits: GradientLimits, by: float) -> GradientLimits:
    (low_x, high_x), (low_y, high_y) = limits
    return GradientLimits((low_x * by, high_x * by), (low_y * by, high_y * by))


def _check_shapes(hv: NDArray, foreground: NDArray | None, class_prob: NDArray | None) -> None:
    if hv.ndim != 3 or hv.shape[0] != 2:
        raise ModelError(f"HV maps have the shape (2, H, W); these have {hv.shape}.")
    if foreground is None and class_prob is None:
        raise ModelError("Beside HV maps there must be a foreground map or class maps.")
    shape = hv.shape[1:]
    if foreground is not None and foreground.shape != shape:
        raise ModelError(f"HV maps are {shape}, the foreground map is {foreground.shape}.")
    if class_prob is not None and (class_prob.ndim != 3 or len(class_prob) < 2):
        raise ModelError(f"Class maps have the shape (1 + C, H, W); these have {class_prob.shape}.")
    if class_prob is not None and class_prob.shape[1:] != shape:
        raise ModelError(f"HV maps are {shape}, the class maps are {class_prob.shape[1:]}.")


def _check_finite(name: str, maps: NDArray[np.floating]) -> None:
    """Refuse maps with NaN or infinite values; one sum tells whether there may be any."""
    if np.isfinite(maps.sum(dtype=np.result_type(maps.dtype, np.float32))):
        return
    places = np.argwhere(~np.isfinite(maps))
    if len(places):
        place = tuple(places[0].tolist())
        raise ModelError(f"The {name} maps hold {maps[place]} at {place}; values must be finite.")


def _foreground(
    foreground: NDArray | None, class_prob: NDArray | None, least: float
) -> NDArray[np.bool_]:
    if foreground is not None:
        return foreground >= least
    assert class_prob is not None
    _, height, width = class_prob.shape
    mask = np.zeros((height, width), bool)
    for rows in bands(mask.shape):
        np.greater(class_prob[1:, rows].max(axis=0), class_prob[0, rows], out=mask[rows])
    return mask


def _components(mask: NDArray[np.bool_], least: int) -> NDArray[np.int32]:
    """Return the 4-connected components of a mask with at least ``least`` pixels, as 1..n."""
    components = np.zeros(mask.shape, np.int32)
    n = int(ndimage.label(mask, output=components))
    flat, pixels = components.reshape(-1), np.flatnonzero(mask)
    number = flat[pixels]
    kept = np.bincount(number, minlength=n + 1) >= least
    kept[0] = False
    if np.count_nonzero(kept) < n:
        flat[pixels] = (np.cumsum(kept, dtype=np.int32) * kept)[number]
    return components


def _fill_pinholes(mask: NDArray[np.bool_], least: int) -> None:
    """Add parts of the background with fewer than ``least`` pixels to a mask."""
    parts = np.zeros(mask.shape, np.int32)
    n = int(ndimage.label(~mask, output=parts))
    # The first part is nearly always all there is.
    pixels = np.flatnonzero(parts > 1)
    part = parts.reshape(-1)[pixels]
    area = np.bincount(part, minlength=n + 1)
    area[1:2] = np.count_nonzero(parts == 1)
    mask.reshape(-1)[pixels[area[part] < least]] = True
    if n and area[1] < least:
        mask |= parts == 1


def _flood(
    components: NDArray[np.int32],
    markers: Markers,
    surface_of: Callable[[Box], NDArray[np.floating]],
    compactness: float,
) -> NDArray[np.int32]:
    """Give each pixel of a component to one of its markers, and return the labels 1..n.

    Components with one marker are a nucleus, those without are none. The labels take the place of
    the components.
    """
    n = int(components.max(initial=0))
    count = np.bincount(markers.component, minlength=n + 1)
    first = np.cumsum(count) - count
    several = np.flatnonzero(count > 1)
    places = ndimage.find_objects(components) if len(several) else []
    label = np.where(count > 0, first + 1, 0).astype(np.int32)
    labels = components
    for rows in bands(labels.shape):
        labels[rows] = label[components[rows]]
    weight: Any = compactness  # scikit-image's stub has int
    of_pixel = markers.component[markers.number]
    divided = np.flatnonzero((count > 1)[of_pixel])
    order = divided[np.argsort(of_pixel[divided], kind="stable")]
    begins = np.searchsorted(of_pixel[order], several)
    ends = np.searchsorted(of_pixel[order], several, side="right")
    for number, begin, end in zip(several, begins, ends, strict=True):
        place = places[number - 1]
        y0, x0 = place[0].start, place[1].start
        part = labels[place]
        mask = part == label[number]
        which = order[begin:end]
        rows, columns = np.divmod(markers.pixels[which], labels.shape[1])
        seeds = np.zeros(part.shape, np.int32)
        seeds[rows - y0, columns - x0] = markers.number[which] + 1
        surface = surface_of((y0, x0, place[0].stop, place[1].stop))
        part[mask] = watershed(surface, seeds, mask=mask, compactness=weight)[mask]
    return labels
