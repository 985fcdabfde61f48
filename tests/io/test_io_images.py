from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_nucleus.core.image import ImageSource
from napari_nucleus.errors import ImageError
from napari_nucleus.io.images import open_image

SHARED = Path(os.environ.get("NUCLEUS_SHARED", Path(__file__).parents[3] / "shared"))
SLIDES = SHARED / "data" / "wsi"
ALL = (0, 0, 9999, 9999)
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (70, 90, 3)).astype(np.uint8)
GREY16 = RNG.integers(0, 4096, (70, 90)).astype(np.uint16)
GREY16[0, 0] = 4095


def read_all(path) -> np.ndarray:
    return open_image(path).read(ALL)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF"])
def test_rgb_is_read_as_it_is(tmp_path, name):
    Image.fromarray(RGB).save(tmp_path / name)
    image = open_image(tmp_path / name)
    assert isinstance(image, ImageSource)
    assert image.name == name
    assert image.shape == (70, 90)
    assert image.mpp is None
    np.testing.assert_array_equal(image.read(ALL), RGB)
    np.testing.assert_array_equal(image.read((5, 7, 20, 30)), RGB[5:20, 7:30])


def test_jpeg_is_read(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", quality=95)
    assert read_all(tmp_path / "a.jpg").shape == (70, 90, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_upright(tmp_path, orientation):
    upright = np.full((40, 64, 3), 255, np.uint8)
    upright[:20, :24] = 0
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = open_image(tmp_path / "a.jpg")
    assert image.shape == (40, 64)
    np.testing.assert_allclose(image.read(ALL).astype(int), upright, atol=40)


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(RGB[..., 0]),
        Image.fromarray(RGB).quantize(16),
        Image.fromarray(np.dstack([RGB, np.full((70, 90), 255, np.uint8)])),
        Image.fromarray(RGB[..., 0]).convert("LA"),
        Image.fromarray(RGB[..., 0] > 99),
        Image.fromarray(GREY16),
    ],
    ids=["grey", "palette", "rgba", "grey with alpha", "black and white", "16 bit"],
)
def test_every_kind_of_png_becomes_rgb(tmp_path, picture):
    picture.save(tmp_path / "a.png")
    expected = (
        np.rint(GREY16 / 4095 * 255)[..., None].repeat(3, axis=2)
        if picture.mode.startswith("I")
        else np.asarray(picture.convert("RGB"))
    )
    np.testing.assert_array_equal(read_all(tmp_path / "a.png"), expected)


def test_transparent_palette_colours_become_white(tmp_path):
    picture = Image.fromarray(RGB).quantize(4)
    picture.save(tmp_path / "a.png", transparency=0)
    white = read_all(tmp_path / "a.png")[np.asarray(picture) == 0]
    assert (white == 255).all()


def test_cmyk_jpegs_become_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert (read_all(tmp_path / "a.jpg") > 250).all()


@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize(
    ("array", "options", "expected"),
    [
        (RGB, {"photometric": "rgb"}, RGB),
        (np.moveaxis(RGB, -1, 0), {"photometric": "minisblack"}, RGB),
        (np.moveaxis(RGB, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, RGB),
        (np.moveaxis(RGB, -1, 0), {"ome": True, "metadata": {"axes": "CYX"}}, RGB),
        (np.moveaxis(RGB, -1, 0)[None, None], {"ome": True, "metadata": {"axes": "TZCYX"}}, RGB),
        (RGB[None], {"photometric": "rgb"}, RGB),
        (RGB[..., 0], {}, RGB[..., :1].repeat(3, axis=2)),
        (RGB[None, ..., 0], {}, RGB[..., :1].repeat(3, axis=2)),
        (RGB[..., 0], {"photometric": "miniswhite"}, 255 - RGB[..., :1].repeat(3, axis=2)),
        (GREY16, {}, np.rint(GREY16 / 4095 * 255)[..., None].repeat(3, axis=2)),
        ((RGB / 255).astype(np.float32), {"photometric": "rgb"}, RGB),
        (np.dstack([RGB, RGB[..., 0] * 0]), {"photometric": "rgb", "extrasamples": ["unassalpha"]},
         RGB * 0 + 255),
    ],
    ids=["RGB", "CYX", "planar", "OME CYX", "OME TZCYX", "1YXC", "grey", "1YX", "white is zero",
         "16 bit", "float", "RGBA"],
)  # fmt: skip
def test_every_kind_of_tiff_becomes_rgb(tmp_path, array, options, expected, tile):
    tifffile.imwrite(tmp_path / "a.tif", array, tile=tile, **options)
    image = open_image(tmp_path / "a.tif")
    assert image.shape == (70, 90)
    np.testing.assert_array_equal(image.read(ALL), expected)
    np.testing.assert_array_equal(image.read((10, 40, 50, 60)), expected[10:50, 40:60])


@pytest.mark.parametrize("tile", [None, (32, 48)])
def test_palette_tiffs_have_their_colours(tmp_path, tile):
    colours = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", RGB[..., 0], photometric="palette", colormap=colours * 257, tile=tile
    )
    np.testing.assert_array_equal(
        read_all(tmp_path / "a.tif"), np.moveaxis(colours[:, RGB[..., 0]], 0, -1)
    )


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "zlib", "lzw", None])
def test_compressed_tiles_are_read(tmp_path, compression):
    smooth = np.linspace(0, 250, 256 * 256 * 3).reshape(256, 256, 3).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", smooth, photometric="rgb", tile=(64, 64), compression=compression
    )
    np.testing.assert_allclose(read_all(tmp_path / "a.tif").astype(int), smooth, atol=6)


def pyramid(path: Path, array: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as writer:
        options = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
        writer.write(array, subifds=1, **options)
        writer.write(array[::2, ::2], subfiletype=1, **options)


def test_a_pyramid_is_read_at_its_full_resolution_and_only_where_asked(tmp_path, monkeypatch):
    array = RNG.integers(0, 256, (512, 640, 3)).astype(np.uint8)
    pyramid(tmp_path / "a.tif", array)
    decoded = []
    decode = tifffile.TiffPage.decode.__get__

    def counting(page):
        inner = decode(page)

        def call(*args, **kwargs):
            decoded.append(args[1])
            return inner(*args, **kwargs)

        return call

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(counting))
    image = open_image(tmp_path / "a.tif")
    assert decoded == []
    np.testing.assert_array_equal(image.read((100, 100, 160, 160)), array[100:160, 100:160])
    assert len(decoded) <= 4
    assert image.shape == (512, 640)


def test_all_pieces_of_a_16_bit_pyramid_are_converted_alike(tmp_path):
    array = np.zeros((256, 256), np.uint16)
    array[200:, 200:] = 4000
    tifffile.imwrite(tmp_path / "a.tif", array, tile=(64, 64))
    image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.read((190, 190, 256, 256)), image.read(ALL)[190:, 190:])
    assert image.read(ALL).max() == round(4000 / 4095 * 255)


@pytest.mark.skipif(not SLIDES.is_dir(), reason="sample slides are not there")
@pytest.mark.parametrize(
    ("name", "shape", "mpp"),
    [
        ("CMU-1-Small-Region.svs", (2967, 2220), 0.499),
        ("tcga-cr-7395-01a-01-ts1.svs", (3567, 4443), None),
        ("OS-1-detail.ome.tif", (1101, 1101), 0.2271),
    ],
)
def test_real_slides_open(name, shape, mpp):
    image = open_image(SLIDES / name)
    assert image.shape == shape
    assert image.mpp == (None if mpp is None else pytest.approx(mpp, abs=1e-4))
    whole = tifffile.imread(SLIDES / name, series=0, level=0)
    np.testing.assert_array_equal(image.read((500, 300, 900, 1000)), whole[500:900, 300:1000])


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 64)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def encoded(suffix: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, {"jpg": "JPEG", "png": "PNG", "bmp": "BMP"}[suffix])
    return file.getvalue()


def tiff(array, keep: float = 1.0, **options):
    def write(path: Path) -> None:
        tifffile.imwrite(path, array, **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])

    return write


def bytes_of(data: bytes):
    return lambda path: path.write_bytes(data)


def huge_tiff(side: int, **options):
    """A TIFF whose header states ``side`` pixels on each side, without having them."""

    def write(path: Path) -> None:
        tifffile.imwrite(path, RGB, photometric="rgb", metadata=None, **options)
        with tifffile.TiffFile(path, mode="r+b") as file:
            for tag in ("ImageWidth", "ImageLength"):
                file.pages.first.tags[tag].overwrite(side, dtype="I", erase=False)

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "directory"),
        (bytes_of(b""), "empty"),
        (bytes_of(b"GIF89a, or so"), "no image that can be opened"),
        (bytes_of(b"<html></html>"), "no image that can be opened"),
        (bytes_of(encoded("png")[:1000]), "cannot be read|damaged|cut off"),
        (bytes_of(encoded("jpg")[:1000]), "cannot be read|damaged|cut off"),
        (bytes_of(encoded("bmp")[:1000]), "cannot be read|damaged|cut off"),
        (bytes_of(encoded("png")[:20]), "cannot be read|damaged"),
        (bytes_of(b"II*\0"), "damaged or cut off"),
        (bytes_of(b"MM\0+\0\0\0\0"), "damaged or cut off"),
        (bytes_of(png_of_size(0, 10)), "opened|damaged|cannot be read"),
        (bytes_of(png_of_size(60_000, 60_000)), "more than 178,956,970 pixels, too many"),
        (bytes_of(png_of_size(40, 40)), "cannot be read|damaged"),
        (huge_tiff(2**31 - 1), "cannot be true"),
        (huge_tiff(100_000), "too many to be read at once"),
        (huge_tiff(100_000, tile=(64, 64)), "cut off"),
        (tiff(RGB, 0.5, photometric="rgb"), "cut off"),
        (tiff(RGB, 0.5, photometric="rgb", tile=(16, 16), compression="zlib"), "cut off"),
        (
            tiff(np.zeros((2, 40, 50), np.uint8), photometric="minisblack"),
            "2, 40, 50.*fluorescence",
        ),
        (tiff(np.zeros((40, 50, 5), np.uint8), photometric="minisblack",
              planarconfig="contig"), "5 channels.*fluorescence"),
        (tiff(np.zeros((4, 40, 50), np.uint16), ome=True, metadata={"axes": "CYX"}),
         "axes CYX.*fluorescence"),
        (tiff(np.zeros((3, 40, 50), np.uint8), ome=True, metadata={"axes": "ZYX"}),
         "axes ZYX are several planes"),
        (tiff(np.zeros((40, 50, 4), np.uint8), photometric="separated"), "SEPARATED"),
        (tiff(np.full((40, 50), -3, np.int16)), "negative pixels"),
        (tiff(np.full((40, 50), np.nan, np.float32)), "NaN"),
        (tiff(np.full((40, 50), np.nan, np.float32), tile=(16, 16)), "NaN"),
        (tiff(np.zeros((40, 50), np.complex64)), "complex64"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_by_name(tmp_path, write, message):
    path = tmp_path / "slide.svs"
    write(path)
    with pytest.raises(ImageError, match=f"(?s)^slide.svs: .*({message})") as caught:
        open_image(path)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("mpp", [0.0, -1.0, 25.0, np.nan])
def test_a_pixel_size_no_microscope_has_is_refused(tmp_path, mpp):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: .* µm per pixel"):
        open_image(tmp_path / "a.png", mpp)


def test_a_damaged_tile_is_named_when_it_is_read_and_the_rest_stays_readable(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        begin, length = page.dataoffsets[0], page.databytecounts[0]
    data = bytearray(path.read_bytes())
    data[begin : begin + length] = b"\xff" * length
    path.write_bytes(data)
    image = open_image(path)
    np.testing.assert_array_equal(image.read((32, 32, 60, 60)), RGB[32:60, 32:60])
    with pytest.raises(ImageError, match=r"a\.tif: .*damaged"):
        image.read((0, 0, 10, 10))


def test_a_file_that_vanishes_while_it_is_read_is_named(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", tile=(32, 32))
    image = open_image(tmp_path / "a.tif")

    def gone(*args, **kwargs):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(zarr.Array, "__getitem__", gone)
    with pytest.raises(ImageError, match=r"a\.tif: the file cannot be read .Stale file handle"):
        image.read((0, 0, 10, 10))
