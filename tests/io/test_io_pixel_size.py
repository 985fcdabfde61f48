from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nucleus.io.images import open_image
from napari_nucleus.io.pixel_size import PixelSize

RGB = np.full((32, 48, 3), 200, np.uint8)


def of_tiff(path, **kwargs) -> PixelSize:
    tifffile.imwrite(path, RGB, photometric="rgb", **kwargs)
    return open_image(path).pixel_size


def aperio(path, description: str) -> PixelSize:
    return of_tiff(path, description=description, metadata=None)


def ome(path, **metadata) -> PixelSize:
    return of_tiff(path, ome=True, metadata={"axes": "YXS", **metadata})


def test_aperio_states_micrometres_per_pixel(tmp_path):
    found = aperio(
        tmp_path / "a.svs", "Aperio Image Library v11\r\n2220x2967|AppMag = 20|MPP = 0.499"
    )
    assert found == PixelSize(0.499, "Aperio MPP")


@pytest.mark.parametrize(("objective", "mpp"), [("40", 0.25), ("20", 0.5), ("63", None)])
def test_without_it_the_objective_tells(tmp_path, objective, mpp):
    found = aperio(tmp_path / "a.svs", f"Aperio Image Library v11\r\n1x1|AppMag = {objective}")
    assert found.mpp == mpp


def test_an_unreadable_number_of_aperio_counts_as_nothing(tmp_path):
    assert aperio(tmp_path / "a.svs", "Aperio Image Library v11|MPP = 0.2.5") == PixelSize()


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [(0.25, "µm", 0.25), (250, "nm", 0.25), (0.0005, "mm", 0.5), (2.5e-5, "cm", 0.25)],
)
def test_ome_states_a_size_with_its_unit(tmp_path, size, unit, mpp):
    found = ome(
        tmp_path / "a.ome.tif",
        PhysicalSizeX=size,
        PhysicalSizeY=size,
        PhysicalSizeXUnit=unit,
        PhysicalSizeYUnit=unit,
    )
    assert found.mpp == pytest.approx(mpp)
    assert found.source == "OME PhysicalSize"


def test_ome_without_a_unit_means_micrometres(tmp_path):
    assert ome(tmp_path / "a.ome.tif", PhysicalSizeX=0.3, PhysicalSizeY=0.3).mpp == 0.3


def test_ome_axes_that_differ_a_little_are_averaged(tmp_path):
    found = ome(tmp_path / "a.ome.tif", PhysicalSizeX=0.25, PhysicalSizeY=0.26)
    assert found.mpp == pytest.approx(np.sqrt(0.25 * 0.26))


@pytest.mark.parametrize(
    ("metadata", "note"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, "0.25 µm across but 0.5 µm down"),
        ({"PhysicalSizeX": 25.0, "PhysicalSizeY": 25.0}, "25 µm per pixel is outside"),
        ({"PhysicalSizeX": 0.0, "PhysicalSizeY": 0.0}, "0 x 0 µm"),
        (
            {"PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeXUnit": "pixel",
             "PhysicalSizeYUnit": "pixel"},
            "unit 'pixel'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_true_counts_as_unknown_with_the_reason(tmp_path, metadata, note):
    found = ome(tmp_path / "a.ome.tif", **metadata)
    assert found.mpp is None
    assert "a.ome.tif" in found.note
    assert note in found.note


@pytest.mark.parametrize(("unit", "per_mm"), [(3, 10), (2, 25.4)])
def test_the_resolution_of_a_tiff_is_in_its_unit(tmp_path, unit, per_mm):
    found = of_tiff(
        tmp_path / "a.tif", resolution=(per_mm * 4000, per_mm * 4000), resolutionunit=unit
    )
    assert found.mpp == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("dpi", [1, 72, 96, 300, 1200])
def test_the_resolution_of_a_printer_says_nothing(tmp_path, dpi):
    assert of_tiff(tmp_path / "a.tif", resolution=(dpi, dpi), resolutionunit=2) == PixelSize()


def test_a_resolution_without_unit_says_nothing(tmp_path):
    assert of_tiff(tmp_path / "a.tif", resolution=(40_000, 40_000), resolutionunit=1) == PixelSize()


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m"])
def test_imagej_counts_pixels_per_its_own_unit(tmp_path, unit):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB[..., 0], imagej=True, resolution=(4, 4), metadata={"unit": unit})
    assert open_image(path).pixel_size == PixelSize(0.25, "ImageJ unit")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_small_formats_can_carry_a_microscope_resolution(tmp_path, name):
    Image.fromarray(RGB).save(tmp_path / name, dpi=(50_800, 50_800))
    assert open_image(tmp_path / name).mpp == pytest.approx(0.5, rel=1e-3)
    Image.fromarray(RGB).save(tmp_path / name, dpi=(72, 72))
    assert open_image(tmp_path / name).pixel_size == PixelSize()


def test_an_absurd_resolution_is_noted(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", dpi=(2_540_000, 2_540_000))
    found = open_image(tmp_path / "a.png").pixel_size
    assert found.mpp is None
    assert "a.png: 0.01 µm per pixel" in found.note
    assert "PNG resolution" in found.note


def test_the_user_knows_better_than_the_file(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", dpi=(50_800, 50_800))
    assert open_image(tmp_path / "a.png", 0.23).pixel_size == PixelSize(0.23, "user")
