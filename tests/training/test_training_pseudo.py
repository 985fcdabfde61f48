"""Labels that a model gives to unlabelled tiles, and the filter that keeps the surest."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from uperhover_helpers import BACKGROUND, TINY, Rule, blobs, constant, discs, make_predictor

from napari_nucleus.core.metrics import OverlapTable, panoptic_quality
from napari_nucleus.errors import ImageError
from napari_nucleus.training.data import EPITHELIAL_EITHER, AnnotatedImage
from napari_nucleus.training.pseudo import (
    FilterConfig,
    PseudoTile,
    kept_tiles,
    label_folder,
    mean_entropy,
    unlabelled_images,
)

SMALL = FilterConfig(side=64)


# ---- entropy


def maps_of(*pixels: dict[int, float]) -> np.ndarray:
    maps = np.zeros((6, 1, len(pixels)), np.float32)
    for i, pixel in enumerate(pixels):
        for class_id, p in pixel.items():
            maps[class_id, 0, i] = p
    return maps


def test_the_entropy_of_equal_probabilities_is_their_logarithm():
    assert mean_entropy(maps_of({1: 0.5, 2: 0.5})) == pytest.approx(np.log(2), abs=1e-5)
    even = dict.fromkeys(range(6), 0.99 / 6) | {1: 0.99 / 6 + 0.01}
    assert mean_entropy(maps_of(even)) == pytest.approx(np.log(6), abs=1e-3)
    assert mean_entropy(maps_of({3: 1.0})) == pytest.approx(0, abs=1e-6)


def test_only_the_predicted_foreground_counts():
    doubtful_background = {0: 0.5, 1: 0.3, 2: 0.2}
    sure, even = {1: 1.0}, {0: 0.2, 2: 0.4, 3: 0.4}
    expected = -(0.2 * np.log(0.2) + 0.8 * np.log(0.4)) / 2
    assert mean_entropy(maps_of(doubtful_background, sure, even)) == pytest.approx(
        expected, abs=1e-5
    )


def test_without_foreground_there_is_no_entropy():
    assert mean_entropy(maps_of({0: 1.0}, {0: 0.5, 1: 0.25, 2: 0.25})) is None


# ---- the filter


def tile(entropy: float | None, name="t") -> PseudoTile:
    labels = np.zeros((2, 2), np.int32)
    image = AnnotatedImage(name, "pseudo", np.zeros((2, 2, 3), np.uint8), labels, np.zeros(1))
    return PseudoTile(image, labels.astype(np.uint8), entropy)


def entropies(tiles, config=None, seed=0) -> list[float | None]:
    kept = kept_tiles(tiles, config or FilterConfig(), np.random.default_rng(seed))
    return [t.entropy for t in kept]


def test_tiles_below_the_70th_percentile_are_kept_in_their_order():
    values = np.random.default_rng(0).permutation(101) / 100
    found = entropies([tile(v) for v in values])
    assert found == [v for v in values if v < 0.70]
    assert len(found) == 70


def test_a_tile_that_reaches_the_percentile_is_left_out():
    values = [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.9]
    assert entropies([tile(v) for v in values]) == [0.1, 0.2]
    assert entropies([tile(0.5)]) == []
    assert entropies([tile(0.5)] * 10) == []
    assert entropies([tile(0.5), tile(0.6)]) == [0.5]


def test_the_percentile_is_a_field():
    values = [v / 10 for v in range(11)]
    assert entropies([tile(v) for v in values], FilterConfig(percentile=20)) == [0.0, 0.1]


def test_empty_tiles_do_not_move_the_percentile_and_few_are_kept():
    values = [v / 10 for v in range(11)]
    tiles = [tile(v) for v in values] + [tile(None)] * 2000
    found = entropies(tiles)
    assert [v for v in found if v is not None] == values[:7]
    assert 60 < found.count(None) < 140  # 5 %
    assert entropies(tiles) == found
    assert entropies(tiles, FilterConfig(empty_share=0.0)).count(None) == 0
    assert entropies([tile(None)] * 20, FilterConfig(empty_share=1.0)) == [None] * 20
    assert entropies([]) == []


# ---- folders


def grade(pixels):
    """As `blobs`; the redder a nucleus, the less sure its class."""
    logits, hv = blobs(pixels)
    share = torch.tensor([1.0, 0.0, 0.1, 0.2, 0.3, 0.4])[logits.argmax(1)]
    p = logits.softmax(1).clamp(1e-6)
    nucleus = logits.argmax(1) > 0
    other = torch.full_like(p, 1e-6)
    other[:, 2] = 1
    mixed = p * (1 - share)[:, None] + other * share[:, None]
    return torch.where(nucleus[:, None], mixed, p).log(), hv


@pytest.fixture
def folder(tmp_path):
    """A picture of four tiles: sure, doubtful, more doubtful, empty."""
    root = tmp_path / "unlabelled"
    root.mkdir()
    centres = [(20, 20), (44, 40), (20, 84), (44, 104), (84, 20), (108, 40)]
    rgb, labels = discs((128, 128), centres, 8, [1, 1, 3, 3, 5, 5])
    Image.fromarray(rgb).save(root / "slide.png", dpi=(101_600, 101_600))  # 0.25 µm
    return root, rgb, labels


def run(folder, out, answer=blobs, config=SMALL, seed=0, **info):
    said: list[str] = []
    predictor = make_predictor(Rule(answer, replace(TINY.inference, flips=1)), **info)
    return label_folder(predictor, folder, out, config, seed, said.append), said


def scores_of(out) -> dict[str, dict[str, str]]:
    with (out / "scores.csv").open(newline="") as handle:
        return {row["tile"]: row for row in csv.DictReader(handle)}


def test_tiles_are_labelled_with_instances_and_classes(folder, tmp_path):
    root, rgb, labels = folder
    out = tmp_path / "run" / "labels"
    images, said = run(root, out, grade)
    assert [i.name for i in images] == ["slide.png_0_0", "slide.png_0_64"]
    assert said[-1] == "labelled 4 tiles of unlabelled, kept 2"
    for image, x in zip(images, (0, 64), strict=True):
        part = np.s_[:64, x : x + 64]
        assert np.array_equal(image.rgb, rgb[part])
        assert image.source == "pseudo"
        assert image.count == 2
        assert image.labels.max() == 2
        assert panoptic_quality(OverlapTable.of(labels[part], image.labels)).pq > 0.95
    assert images[0].class_target.tolist() == [0, 1, 1]
    assert images[1].class_target.tolist() == [0, 3, 3]
    assert images[0].class_target.dtype == np.uint8


def test_the_files_of_kept_tiles_and_the_scores_of_all_are_written(folder, tmp_path):
    root, _, labels = folder
    images, _ = run(root, tmp_path / "out", grade)
    names = sorted(f.name for f in (tmp_path / "out").iterdir())
    assert names == [
        "scores.csv",
        "slide.png_0_0_inst.png",
        "slide.png_0_0_sem_map.png",
        "slide.png_0_64_inst.png",
        "slide.png_0_64_sem_map.png",
    ]
    for image, class_id in zip(images, (1, 3), strict=True):
        with Image.open(tmp_path / "out" / f"{image.name}_sem_map.png") as picture:
            semantic = np.asarray(picture)
        assert semantic.dtype == np.uint8
        assert semantic.shape == (64, 64)
        x = int(image.name.rsplit("_", 1)[1])
        assert np.array_equal(semantic, class_id * (labels[:64, x : x + 64] > 0))
        with Image.open(tmp_path / "out" / f"{image.name}_inst.png") as picture:
            assert np.array_equal(np.asarray(picture), image.labels)
    table = scores_of(tmp_path / "out")
    assert [row["kept"] for row in table.values()] == ["1", "1", "0", "0"]
    assert [row["nuclei"] for row in table.values()] == ["2", "2", "2", "0"]
    assert table["slide.png_64_64"]["entropy"] == ""
    sure, doubtful, more = (float(row["entropy"]) for row in list(table.values())[:3])
    assert sure < doubtful < more
    assert doubtful == pytest.approx(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)), abs=1e-3)


def test_classes_that_are_not_told_apart_are_either(folder, tmp_path):
    config = replace(SMALL, percentile=100.0)
    images, _ = run(folder[0], tmp_path / "out", grade, config, not_told_apart=(1, 5))
    targets = {i.name: i.class_target.tolist()[1:] for i in images}
    assert targets["slide.png_0_0"] == [EPITHELIAL_EITHER] * 2
    assert targets["slide.png_0_64"] == [3, 3]


def test_what_lies_on_the_edge_is_a_tile_if_it_is_half_of_one(tmp_path):
    root = tmp_path / "unlabelled"
    root.mkdir()
    shapes = {
        "a": (64, 97),
        "b": (64, 95),
        "c": (20, 30),
        "d": (64, 96),
        "e": (95, 64),
        "f": (97, 64),
    }
    for name, shape in shapes.items():
        rgb = np.full((*shape, 3), BACKGROUND, np.uint8)
        Image.fromarray(rgb).save(root / f"{name}.png", dpi=(101_600, 101_600))
    config = replace(SMALL, empty_share=1.0)
    images, _ = run(root, tmp_path / "out", constant(0), config)
    assert {i.name: i.rgb.shape[:2] for i in images} == {
        "a.png_0_0": (64, 64),
        "a.png_0_64": (64, 33),
        "b.png_0_0": (64, 64),
        "c.png_0_0": (20, 30),
        "d.png_0_0": (64, 64),
        "e.png_0_0": (64, 64),
        "f.png_0_0": (64, 64),
        "f.png_64_0": (33, 64),
    }


def test_tiles_are_of_the_working_magnification(tmp_path):
    root = tmp_path / "unlabelled"
    root.mkdir()
    rgb, _ = discs((64, 64), [(16, 16), (16, 48), (48, 16), (48, 48)], 4, [1, 2, 3, 4])
    Image.fromarray(rgb).save(root / "far.png", dpi=(50_800, 50_800))  # 0.5 µm
    images, _ = run(root, tmp_path / "out", grade, replace(SMALL, percentile=100.0))
    # 64 working pixels are 32 of the picture; the most doubtful tile is left out.
    assert [i.name for i in images] == ["far.png_0_0", "far.png_0_32", "far.png_32_0"]
    for image in images:
        assert image.rgb.shape == (64, 64, 3)
        assert image.count == 1
        assert np.bincount(image.labels.ravel())[1] == pytest.approx(4 * 50, rel=0.15)


def test_bad_images_are_named_and_left_out(folder, tmp_path):
    root = folder[0]
    (root / "broken.png").write_bytes(b"no picture")
    (root / "empty.jpg").write_bytes(b"")
    (root / "folder.png").mkdir()
    (root / "notes.txt").write_text("what was stained when")
    images, said = run(root, tmp_path / "out", grade)
    assert len(images) == 2
    left_out = [line for line in said if line.startswith("left out: ")]
    assert len(left_out) == 3
    for name in ("broken.png", "empty.jpg", "folder.png"):
        assert sum(name in line for line in left_out) == 1


def test_label_maps_beside_the_images_are_none(folder):
    root = folder[0]
    for ending in ("_inst", "_cls", "_sem_map"):
        Image.new("L", (9, 9)).save(root / f"slide{ending}.png")
    assert [f.name for f in unlabelled_images(root)] == ["slide.png"]


def test_folders_that_give_nothing_are_refused(folder, tmp_path):
    root = folder[0]
    with pytest.raises(ImageError, match=r"nowhere: no such folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(ImageError, match=r"bare: holds no image"):
        run(bare, tmp_path / "out")
    with pytest.raises(ImageError, match=r"unlabelled: of 4 tiles none"):
        run(root, tmp_path / "out", constant(0), replace(SMALL, empty_share=0.0))
    (bare / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"bare: of 0 tiles none"):
        run(bare, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_seed_keeps_the_same_tiles(tmp_path):
    root = tmp_path / "unlabelled"
    root.mkdir()
    for i in range(6):
        Image.new("RGB", (128, 128), BACKGROUND).save(root / f"{i}.png", dpi=(101_600, 101_600))
    config = replace(SMALL, empty_share=0.5)
    first, again, other = (
        [i.name for i in run(root, tmp_path / "out", constant(0), config, seed)[0]]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
