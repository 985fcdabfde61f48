"""Micrometres per pixel, as the headers of image files state it.

Follows Aperio's image description, OME-XML (2016-06), the resolution tags of TIFF 6.0 with
ImageJ's unit, and the resolution of PNG, JPEG and BMP. A header that says something no microscope
can mean counts as unknown, and what it said is kept as a note for the user.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from xml.etree import ElementTree

import tifffile

from napari_nucleus.core.image import check_mpp
from napari_nucleus.errors import ImageError

__all__ = ["PixelSize", "pixel_size_of_dpi", "pixel_size_of_lengths", "pixel_size_of_tiff"]

UM_PER_INCH = 25_400.0
PRINT_DPI = 1200.0
"""Up to here a resolution is meant for paper or a screen (72, 96, 300) and says nothing."""

UM_PER_UNIT = {
    "pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0,
    "microns": 1.0, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6, "inch": UM_PER_INCH,
    "in": UM_PER_INCH,
}  # fmt: skip
"""Length units of OME-XML and of ImageJ, whose µ comes as either of two characters."""

OBJECTIVE_MPP = {40.0: 0.25, 20.0: 0.5}
"""Nominal pixel sizes of Aperio's scanners by objective."""

LARGEST_RATIO = 1.1
"""Pixels longer than wide by more than this are a mistake in the header."""


@dataclass(frozen=True, slots=True)
class PixelSize:
    """What a file says of its pixel size.

    Parameters
    ----------
    mpp
        Micrometres per pixel, None when unknown.
    source
        Where it was found, such as ``"Aperio MPP"``; empty when nothing was said.
    note
        Why what was found was not used, as a sentence for the user; empty otherwise.
    """

    mpp: float | None = None
    source: str = ""
    note: str = ""


def pixel_size_of_dpi(dpi: tuple[float, float] | None, name: str, source: str) -> PixelSize:
    """Take dots per inch ``(x, y)`` as pixel size, unless they are those of a printer."""
    if dpi is None or not all(math.isfinite(d) and d > PRINT_DPI for d in dpi):
        return PixelSize()
    return pixel_size_of_lengths(UM_PER_INCH / dpi[0], UM_PER_INCH / dpi[1], name, source)


def pixel_size_of_tiff(tiff: tifffile.TiffFile, name: str) -> PixelSize:
    """Return the pixel size of the first image of a TIFF; the first header that tells wins."""
    page = tiff.pages.first
    for found in (_aperio(tiff, page, name), _ome(tiff, name), _imagej(tiff, page, name)):
        if found.source:
            return found
    unit = {2: UM_PER_INCH, 3: 1e4}.get(int(page.resolutionunit))
    if unit is None:
        return PixelSize()
    x, y = (UM_PER_INCH * value / unit for value in page.resolution)
    return pixel_size_of_dpi((x, y), name, "TIFF resolution")


def pixel_size_of_lengths(x: float, y: float, name: str, source: str) -> PixelSize:
    """Take micrometres per pixel as pixel size: their mean, or unknown with a note if they cannot
    be true."""
    if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
        return PixelSize(None, source, f"{name}: {source} is {x:g} x {y:g} µm; not used.")
    if max(x / y, y / x) > LARGEST_RATIO:
        said = f"{name}: {source} is {x:g} µm across but {y:g} µm down"
        return PixelSize(None, source, f"{said}; state the pixel size by hand.")
    try:
        return PixelSize(check_mpp(math.sqrt(x * y), name), source)
    except ImageError as error:
        return PixelSize(None, source, f"{error} ({source} was not used.)")


def _aperio(tiff: tifffile.TiffFile, page: tifffile.TiffPage, name: str) -> PixelSize:
    """Read ``|MPP = 0.2498`` or else ``|AppMag = 40`` of Aperio's description."""
    if not tiff.is_svs:
        return PixelSize()
    said = {
        key: float(value)
        for key, value in re.findall(r"\|\s*(MPP|AppMag)\s*=\s*([0-9.eE+-]+)", page.description)
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value)
    }
    if "MPP" in said:
        return pixel_size_of_lengths(said["MPP"], said["MPP"], name, "Aperio MPP")
    if said.get("AppMag") in OBJECTIVE_MPP:
        return PixelSize(OBJECTIVE_MPP[said["AppMag"]], "Aperio objective")
    return PixelSize()


def _ome(tiff: tifffile.TiffFile, name: str) -> PixelSize:
    """Read ``PhysicalSizeX`` and ``Y`` of the first image; the unit is µm unless stated."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return PixelSize()
    try:
        root = ElementTree.fromstring(tiff.ome_metadata)
    except ElementTree.ParseError:
        return PixelSize()
    pixels = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None or not {"PhysicalSizeX", "PhysicalSizeY"} & set(pixels.keys()):
        return PixelSize()
    sizes = []
    for axis, other in ("XY", "YX"):
        size = pixels.get(f"PhysicalSize{axis}") or pixels.get(f"PhysicalSize{other}", "")
        unit = pixels.get(f"PhysicalSize{axis}Unit", pixels.get(f"PhysicalSize{other}Unit", "µm"))
        if unit not in UM_PER_UNIT:
            return PixelSize(
                None, "OME PhysicalSize", f"{name}: OME PhysicalSize {size} has the unit {unit!r}, "
                "which is no length; state the pixel size by hand."
            )  # fmt: skip
        try:
            sizes.append(float(size) * UM_PER_UNIT[unit])
        except ValueError:
            note = f"{name}: OME PhysicalSize is {size!r}, which is no number."
            return PixelSize(None, "OME PhysicalSize", note)
    return pixel_size_of_lengths(sizes[0], sizes[1], name, "OME PhysicalSize")


def _imagej(tiff: tifffile.TiffFile, page: tifffile.TiffPage, name: str) -> PixelSize:
    """Read the resolution in ImageJ's own unit, which it writes beside an empty TIFF unit."""
    unit = str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
    if unit not in UM_PER_UNIT or not all(page.resolution):
        return PixelSize()
    x, y = (UM_PER_UNIT[unit] / value for value in page.resolution)
    return pixel_size_of_lengths(x, y, name, "ImageJ unit")
