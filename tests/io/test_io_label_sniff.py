"""What a file of instance ids looks like, and what only a picture does."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from napari_nucleus.io.label_sniff import holds_labels, tiff_shape
from napari_nucleus.sample_data.fields import crypts


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return crypts()[0][0][..., 1]


@pytest.fixture
def small_nuclei(grey) -> np.ndarray:
    """Squares of 5 pixels every 8, numbered."""
    labels = np.zeros(grey.shape, np.uint16)
    places = [(y, x) for y in range(5, 750, 8) for x in range(5, 750, 8)]
    for number, (y, x) in enumerate(places, 1):
        labels[y : y + 5, x : x + 5] = number
    return labels


@pytest.mark.parametrize("arguments", [{}, {"tile": (256, 256), "compression": "zlib"}])
def test_label_tiffs_are_told_from_grey_pictures(tmp_path, grey, small_nuclei, arguments):
    cases = {
        "grey": (grey, False),
        "smooth": (ndimage.gaussian_filter(grey, 3), False),
        "grey of 12 bit": (grey.astype(np.uint16) << 4, False),
        "ids of 8 bit": ((small_nuclei % 256).astype(np.uint8), True),
        "ids of 16 bit": (small_nuclei, True),
        "ids of 32 bit": (small_nuclei.astype(np.uint32), True),
        "signed ids": (small_nuclei.astype(np.int32), True),
        "one nucleus to a pixel": (np.arange(64 * 64, dtype=np.uint32).reshape(64, 64), True),
        "a mask": ((small_nuclei > 0).astype(np.uint8) * 255, True),
        "nothing": (np.zeros((300, 300), np.uint8), True),
    }
    for name, (pixels, expected) in cases.items():
        file = tmp_path / f"{name}.tif"
        tifffile.imwrite(file, pixels, **arguments)
        assert holds_labels(file) is expected, name
        assert tiff_shape(file) == pixels.shape, name


def test_colours_planes_and_fractions_are_no_labels(tmp_path, grey):
    for name, pixels in {
        "rgb": np.stack([grey] * 3, axis=-1),
        "stack": np.stack([grey] * 5),
        "fractions": grey / 255,
    }.items():
        file = tmp_path / f"{name}.tif"
        tifffile.imwrite(file, pixels)
        assert not holds_labels(file), name
        assert tiff_shape(file) is None, name


def test_png_and_npy_are_looked_into_as_well(tmp_path, grey, small_nuclei):
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "rgb.png")
    Image.fromarray(small_nuclei).save(tmp_path / "ids.png")
    np.save(tmp_path / "ids.npy", small_nuclei)
    np.save(tmp_path / "stack.npy", np.zeros((3, 4, 5), np.uint8))
    np.save(tmp_path / "fractions.npy", np.zeros((4, 5)))
    found = {path.name for path in tmp_path.iterdir() if holds_labels(path)}
    assert found == {"ids.png", "ids.npy"}


@pytest.mark.parametrize("begin", [b"", b"II*\0", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY", b"MM"])
def test_damaged_files_hold_no_labels(tmp_path, begin):
    file = tmp_path / "damaged.tif"
    file.write_bytes(begin + b"\xff" * 40)
    assert not holds_labels(file)
    assert not holds_labels(tmp_path / "missing.tif")
