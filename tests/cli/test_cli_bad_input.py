"""Images, label maps and weights that are none: one line each that names the file and the value."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from cli_helpers import disc_labels, disc_picture, save_labels, save_picture
from PIL import Image
from safetensors.torch import save_file

RGB = disc_picture()


def text(path: Path) -> None:
    path.write_text("these are not the pixels you are looking for")


def truncated(suffix: str):
    def write(path: Path) -> None:
        Image.fromarray(RGB).save(path, suffix)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return write


def tiff(array: np.ndarray, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def damaged_tile(path: Path) -> None:
    """A TIFF that opens, but of which the last tile cannot be decoded."""
    tifffile.imwrite(path, RGB, photometric="rgb", tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        begin = file.pages.first.dataoffsets[-1]
        length = file.pages.first.databytecounts[-1]
    data = bytearray(path.read_bytes())
    data[begin : begin + length] = b"\xff" * length
    path.write_bytes(data)


def claiming(side: int):
    """A TIFF of a few bytes whose header states ``side`` grey pixels on each side."""
    entries = [(256, side), (257, side), (258, 8), (262, 1), (273, 8), (277, 1), (278, side),
               (279, 8)]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries
    )
    return lambda path: path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + b"\0" * 4)


def hidden_nan(path: Path) -> None:
    """A float pyramid with a NaN on its finest level only, seen when that piece is read."""
    fine = (RGB[..., 0] / 255).astype(np.float32)
    fine[33, 44] = np.nan
    with tifffile.TiffWriter(path) as writer:
        writer.write(fine, subifds=1, tile=(32, 32))
        writer.write(np.nan_to_num(fine[::2, ::2]), subfiletype=1, tile=(32, 32))


NAN = np.full((40, 50, 3), np.nan, np.float32)
BAD_IMAGES = {
    "truncated png": (truncated("png"), ["complete"]),
    "truncated jpeg": (truncated("jpeg"), ["complete"]),
    "empty": (lambda path: path.touch(), ["empty"]),
    "text": (text, ["PNG, JPEG, BMP, TIFF"]),
    "folder": (lambda path: path.mkdir(), ["directory"]),
    "missing": (lambda path: None, ["no such file"]),
    "broken link": (lambda path: path.symlink_to(path.with_name("gone")), ["no such file"]),
    "svg": (lambda path: path.write_text("<svg/>"), ["no image"]),
    "gif": (lambda path: Image.fromarray(RGB).save(path, "gif"), ["no image"]),
    "numpy": (lambda path: np.save(path.open("wb"), RGB), ["no image"]),
    "zero size": (claiming(0), ["0"]),
    "NaN": (tiff(NAN, photometric="rgb"), ["NaN"]),
    "NaN on the finest level": (hidden_nan, ["NaN"]),
    "negative float": (tiff(np.full((40, 50), -0.5, np.float32)), ["negative", "-0.5"]),
    "2 channels": (
        tiff(np.zeros((2, 40, 50), np.uint8), photometric="minisblack"),
        ["2, 40, 50", "fluorescence"],
    ),
    "z stack": (
        tiff(np.zeros((7, 40, 50), np.uint8), photometric="minisblack"),
        ["7, 40, 50"],
    ),
    "cmyk": (tiff(np.zeros((40, 50, 4), np.uint8), photometric="separated"), ["SEPARATED"]),
    "complex": (tiff(np.zeros((40, 50), np.complex64)), ["complex64"]),
    "huge claim": (claiming(10**9), ["1000000000"]),
    "damaged tile": (damaged_tile, ["damaged"]),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_what_is_no_image_is_named_in_one_line_and_the_next_is_done(command, dark, tmp_path, kind):
    write, words = BAD_IMAGES[kind]
    bad, good, out = tmp_path / "bad.png", save_picture(tmp_path / "good.png"), tmp_path / "out"
    write(bad)
    outcome = command("segment", bad, good, "--out", out, "--model", dark)
    outcome.refused("bad.png: ", *words)
    assert "good.png: 4 nuclei" in outcome.out
    assert {file.stem.removesuffix("_overlay") for file in out.iterdir()} == {"good"}


@pytest.mark.parametrize(
    "write",
    [
        lambda path: Image.fromarray(RGB).convert("L").save(path),
        lambda path: Image.fromarray(RGB).convert("RGBA").save(path),
        lambda path: Image.fromarray(RGB).quantize(8).save(path),
        tiff(RGB.astype(np.uint16) * 16, photometric="rgb"),
        tiff((RGB / 255).astype(np.float32), photometric="rgb"),
        tiff(np.moveaxis(RGB, -1, 0), photometric="minisblack"),
    ],
    ids=["grey", "RGBA", "palette", "12 bit", "float", "channels first"],
)
def test_unusual_pictures_have_the_nuclei_of_the_usual_one(command, dark, tmp_path, write):
    write(tmp_path / "a.png")
    outcome = command("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--model", dark)
    assert outcome.code == 0, outcome.err
    assert "a.png: 4 nuclei" in outcome.out


def npy(array: np.ndarray):
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, array)

    return write


LABELS = disc_labels()
BAD_LABELS = {
    "negative": (npy(LABELS.astype(np.int64) - 1), ["negative id -1"]),
    "fractions": (tiff(LABELS * np.float32(0.5)), ["0.5 is not a whole number"]),
    "NaN": (tiff(np.full((4, 4), np.nan, np.float32)), ["NaN"]),
    "RGB": (lambda path: Image.fromarray(RGB).save(path, "png"), ["(70, 90, 3)"]),
    "RGB TIFF": (tiff(RGB, photometric="rgb"), ["(70, 90, 3)"]),
    "above 31 bits": (tiff(LABELS.astype(np.uint32) * 2**30), [str(2**32 - 2**30)]),
    "complex": (npy(LABELS.astype(np.complex64)), ["complex64"]),
    "text": (text, ["no label map"]),
    "empty": (lambda path: path.touch(), ["empty"]),
    "truncated": (truncated("png"), ["damaged"]),
    "huge claim": (claiming(10**9), ["1000000000"]),
}


@pytest.mark.parametrize("place", ["pred", "truth"])
@pytest.mark.parametrize("kind", BAD_LABELS)
def test_what_is_no_label_map_is_named_with_its_folder(command, tmp_path, kind, place):
    write, words = BAD_LABELS[kind]
    for folder in ("pred", "truth"):
        save_labels(tmp_path / folder / "a.png")
    (tmp_path / place / "a.png").unlink()
    write(tmp_path / place / "a.png")
    outcome = command("evaluate", "segmentation", tmp_path / "pred", tmp_path / "truth")
    outcome.refused("a.png", tmp_path / place, *words)
    assert outcome.out == ""


def rewritten(change, header=None):
    """Copy good weights with other tensors or another header."""

    def write(path: Path, good: Path) -> None:
        from napari_nucleus.models.weights import read_weights, write_weights

        weights = read_weights(good)
        tensors = dict(weights.tensors)
        change(tensors)
        write_weights(path, tensors, {**weights.header, **(header or {})})

    return write


KEY = "segmenter.mask_decoder.conv_s0.bias"
BAD_WEIGHTS = {
    "missing": (lambda path, good: None, ["no such"]),
    "folder": (lambda path, good: path.mkdir(), ["no such"]),
    "empty": (lambda path, good: path.touch(), ["not a complete safetensors file"]),
    "text": (lambda path, good: text(path), ["not a complete safetensors file"]),
    "truncated": (
        lambda path, good: path.write_bytes(good.read_bytes()[:-1000]),
        ["not a complete safetensors file"],
    ),
    "pickle": (lambda path, good: torch.save({KEY: torch.zeros(1)}, path), ["safetensors"]),
    "another program's": (
        lambda path, good: save_file({"layer.weight": torch.zeros(3)}, path),
        ["another program"],
    ),
    "another system's": (rewritten(lambda t: None, {"system": "nunext"}), ["'nunext'"]),
    "of another version": (rewritten(lambda t: None, {"config": {"depth": 3}}), ["depth"]),
    "a key less": (rewritten(lambda t: t.pop(KEY)), ["lack", KEY]),
    "a key more": (rewritten(lambda t: t.update(odd=torch.zeros(2))), ["odd"]),
    "wrong shape": (rewritten(lambda t: t.update({KEY: torch.zeros(99)})), ["shape", KEY]),
    "NaN": (rewritten(lambda t: t[KEY].fill_(np.nan)), ["NaN", KEY]),
    "half a stain": (
        rewritten(lambda t: None, {"training_stain": {"mean": [60.0, 20.0, -8.0]}}),
        ["training stain"],
    ),
    "a grey stain": (
        rewritten(lambda t: None, {"training_stain": {"mean": [60.0], "std": [12.0]}}),
        ["training stain", "60.0"],
    ),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_what_are_no_weights_are_named_before_anything_is_done(
    command, tiny_weights, picture, tmp_path, kind
):
    write, words = BAD_WEIGHTS[kind]
    write(tmp_path / "mine.safetensors", tiny_weights)
    out = tmp_path / "out"
    outcome = command("segment", picture, "--out", out, "--weights", tmp_path / "mine.safetensors")
    outcome.refused("mine.safetensors", *words)
    assert not out.exists()
