"""UperHoVer's predictor and its weights files: any tile in, nuclei in tile pixels out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from uperhover_helpers import (
    BACKGROUND,
    INFO,
    PLAIN,
    TINY,
    Rule,
    blobs,
    constant,
    discs,
    make_network,
    make_predictor,
    painted,
)

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.core.metrics import OverlapTable, panoptic_quality
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import AutomaticSegmenter, Calibration, PromptableSegmenter
from napari_nucleus.models.uperhover.build import load_predictor, restore_network, save_network
from napari_nucleus.models.uperhover.config import UperHoverConfig
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor, nuclei_of_maps
from napari_nucleus.models.weights import read_weights, write_weights

STAIN = LabStatistics((61.5, 20.25, -8.5), (12.0, 8.0, 6.0))
CENTRES = [(14, 20), (14, 60), (45, 36), (52, 75), (70, 12)]
SHAPE = (84, 92)


def at_scale(scale: float) -> Calibration:
    return Calibration(scale, 0.25 * scale)


def quality(true: np.ndarray, nuclei) -> float:
    return panoptic_quality(OverlapTable.of(true, nuclei.to_labels(true.shape))).pq


@pytest.fixture(scope="module")
def by_rule() -> UperHoverPredictor:
    return make_predictor(Rule(blobs))


# ---- tiles


def test_it_segments_and_is_not_prompted(by_rule):
    assert isinstance(by_rule, AutomaticSegmenter)
    assert not isinstance(by_rule, PromptableSegmenter)
    assert by_rule.device == "cpu"
    assert not by_rule.network.training


def test_nuclei_are_found_with_class_score_and_source(by_rule):
    rgb, labels = discs(SHAPE, CENTRES, 7, [1, 2, 3, 4, 5])
    nuclei = by_rule.segment(Tile(rgb), at_scale(1.0))
    assert quality(labels, nuclei) > 0.98
    assert nuclei.source == "tiny"
    assert nuclei.class_prob.shape == (5, 5)
    owner = [labels[int(y), int(x)] for y, x in nuclei.centroids_yx]
    assert (nuclei.class_prob.argmax(1) + 1).tolist() == owner
    assert nuclei.score == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 130), (50, 64), (90, 200)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_tile_without_nuclei_has_none(shape, scale):
    predictor = make_predictor(Rule(constant(0)))
    white = Tile(np.full((*shape, 3), 255, np.uint8))
    nuclei = predictor.segment(white, at_scale(scale))
    assert len(nuclei) == 0
    assert nuclei.class_prob.shape == (0, 5)
    assert nuclei.source == "tiny"


def test_white_and_tiny_tiles_of_unknown_size_are_no_error():
    for network in (Rule(constant(0)), make_network()):
        predictor = make_predictor(network)
        for shape in ((1, 1), (30, 40)):
            tile = Tile(np.full((*shape, 3), 255, np.uint8))
            nuclei = predictor.segment(tile)
            painted(nuclei, shape)
            assert nuclei.class_prob.shape == (len(nuclei), 5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (65, 33)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_any_weights_give_nuclei_inside_the_tile_that_share_no_pixel(shape, scale):
    predictor = make_predictor(make_network(seed=3))
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    nuclei = predictor.segment(Tile(rgb), at_scale(scale))
    assert painted(nuclei, shape).max(initial=0) <= 1
    assert np.allclose(nuclei.class_prob.sum(1), 1, atol=1e-4)
    assert ((nuclei.score >= 0) & (nuclei.score <= 1)).all()
    assert all(ndimage.label(m)[1] == 1 for m in nuclei.masks)


def test_a_whole_tile_of_nucleus_is_one():
    predictor = make_predictor(Rule(constant(2)))
    nuclei = predictor.segment(Tile(np.zeros((40, 130, 3), np.uint8)), at_scale(1.0))
    assert len(nuclei) >= 1
    assert painted(nuclei, (40, 130)).min() == 1


@pytest.mark.parametrize(("mpp", "radius"), [(0.5, 4), (0.125, 14), (0.2, 9), (0.31, 6)])
def test_resampled_tiles_answer_in_their_own_pixels(by_rule, mpp, radius):
    step = 2 * radius + 6
    centres = [(y, x) for y in range(step, 90, step) for x in range(step, 110, step)]
    rgb, labels = discs((97, 118), centres, radius)
    tile = Tile(rgb, Frame(mpp=mpp))
    calibration = by_rule.calibrate([tile], mpp)
    assert calibration.scale == pytest.approx(mpp / 0.25)
    nuclei = by_rule.segment(tile, calibration)
    assert painted(nuclei, tile.shape).max() == 1
    assert len(nuclei) == len(centres)
    assert quality(labels, nuclei) > 0.8
    away = np.linalg.norm(nuclei.centroids_yx[:, None] - np.array(centres), axis=2).min(axis=0)
    assert (away < 0.6).all()
    assert (nuclei.class_prob.argmax(1) == 1).all()


def test_the_pixel_size_of_the_tile_is_used_where_no_calibration_is_given(by_rule):
    rgb, labels = discs(SHAPE, CENTRES, 4)
    nuclei = by_rule.segment(Tile(rgb, Frame(mpp=0.5)))
    assert quality(labels, nuclei) > 0.8


def test_debris_is_measured_in_micrometres(by_rule):
    # 21 pixels: a nucleus at 0.25 µm, debris at 0.1 µm, where 10 pixels of 0.25 µm are 62.
    rgb, _ = discs((60, 60), [(30, 30)], 2.5)
    assert len(by_rule.segment(Tile(rgb), at_scale(1.0))) == 1
    assert len(by_rule.segment(Tile(rgb), Calibration(0.4, 0.1))) == 0


def test_doubtful_nuclei_are_dropped():
    def half_sure(pixels):
        logits, hv = blobs(pixels)
        return logits * 0.15, hv  # three quarters of the probability in the nuclei

    rgb, _ = discs(SHAPE, CENTRES, 7)
    counts = {}
    for least in (0.0, 0.99):
        config = replace(TINY.inference, min_score=least)
        counts[least] = len(
            make_predictor(Rule(half_sure, config)).segment(Tile(rgb), at_scale(1.0))
        )
    assert counts == {0.0: 5, 0.99: 0}


def test_the_same_tile_gives_the_same_answer_each_time():
    predictor = make_predictor()
    rgb, _ = discs(SHAPE, CENTRES, 7)
    first, second = (predictor.look(Tile(rgb), at_scale(1.0)) for _ in range(2))
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(first[2].labels, second[2].labels)


# ---- magnification and stain


@pytest.mark.parametrize(("diameter", "scale"), [(34, 0.5), (9, 2.0), (17, 1.0), (24, 0.7)])
def test_an_unknown_magnification_is_told_by_the_size_of_nuclei(diameter, scale):
    step = diameter + 5
    centres = [(y, x) for y in range(step, 380, step) for x in range(step, 380, step)]
    rgb, _ = discs((400, 400), centres, diameter / 2)
    predictor = make_predictor(Rule(blobs, replace(TINY.inference, window=192, stride=192)))
    calibration = predictor.calibrate([Tile(rgb)], None)
    assert calibration.mpp_estimated
    assert calibration.scale == pytest.approx(scale, rel=0.12)
    assert calibration.mpp == pytest.approx(0.25 * calibration.scale)


def test_sizes_are_those_of_working_pixels_and_of_one_window(by_rule):
    centres = [(y, x) for y in range(10, 300, 20) for x in range(10, 300, 20)]
    rgb, _ = discs((300, 300), centres, 7)
    found = by_rule._sizes_at([Tile(rgb)], 1.0)
    assert 9 <= len(found.diameters) <= 16  # a window of 64 px
    assert np.median(found.diameters) == pytest.approx(14, abs=0.3)
    assert found.confidence == pytest.approx(1.0, abs=1e-3)
    half = by_rule._sizes_at([Tile(rgb)], 0.5)
    assert len(half.diameters) > 2 * len(found.diameters)
    assert np.median(half.diameters) == pytest.approx(7, abs=0.6)


def test_samples_without_nuclei_say_nothing_of_sizes(by_rule):
    white = Tile(np.full((80, 80, 3), BACKGROUND, np.uint8))
    for samples in ([], [white], [Tile(white.rgb[:1, :1])]):
        found = by_rule._sizes_at(samples, 1.0)
        assert len(found.diameters) == 0
        assert found.confidence == 0
    assert by_rule.calibrate([white], None).scale == 1.0


def test_few_samples_are_looked_at():
    seen = []

    def answer(pixels):
        seen.append(len(pixels))
        return constant(0)(pixels)

    rgb, _ = discs((70, 70), [(30, 30)], 7)
    make_predictor(Rule(answer))._sizes_at([Tile(rgb)] * 20, 1.0)
    assert sum(seen) == 6 * TINY.inference.flips


def test_the_stain_is_moved_towards_that_of_the_training_but_not_in_what_is_shown():
    seen = []

    def answer(pixels):
        seen.append(pixels.clone())
        return constant(0)(pixels)

    config = replace(TINY.inference, stain_strength=1.0)
    rgb, _ = discs((60, 60), CENTRES, 7)
    abroad = replace(at_scale(1.0), lab_mean=(75.0, 30.0, -20.0), lab_std=(15.0, 9.0, 7.0))
    shown = []
    for stain in (None, STAIN):
        predictor = UperHoverPredictor(Rule(answer, config), INFO, "digest", stain)  # type: ignore[arg-type]
        predictor.segment(Tile(rgb), abroad)
        shown.append(predictor.look(Tile(rgb), abroad)[0])
    plain, moved = seen[0], seen[len(seen) // 2]
    assert float((plain - moved).abs().mean()) > 0.1
    assert np.array_equal(shown[0], rgb)
    assert np.array_equal(shown[1], rgb)


# ---- from working pixels to those of the tile


def bars(shape, *places) -> tuple[np.ndarray, np.ndarray]:
    """Class maps with rectangles ``(y0, x0, y1, x1, class, probability)``, and flat offsets."""
    maps = np.zeros((6, *shape), np.float32)
    maps[0] = 1
    for y0, x0, y1, x1, class_id, p in places:
        maps[:, y0:y1, x0:x1] = 0
        maps[class_id, y0:y1, x0:x1] = p
        maps[0, y0:y1, x0:x1] = 1 - p
    return maps, np.zeros((2, *shape), np.float32)


@pytest.mark.parametrize(("side", "count"), [((2, 4), 0), ((4, 4), 1)])
def test_debris_is_so_in_working_pixels_and_in_those_of_the_tile(side, count):
    # 10 working pixels of 0.25 µm are the least; 2 of them are one of the tile in each direction.
    maps, hv = bars((24, 24), (8, 8, 8 + side[0], 8 + side[1], 2, 0.9))
    assert len(nuclei_of_maps(maps, hv, (12, 12), 0.5, TINY.inference)) == count


def test_a_nucleus_that_no_pixel_of_the_tile_shows_takes_nothing_from_the_others():
    line, square = (4, 5, 5, 30, 2, 0.8), (16, 8, 28, 20, 3, 0.6)
    maps, hv = bars((40, 40), line, square)
    both = nuclei_of_maps(maps, hv, (40, 40), 0.25, TINY.inference)
    assert (both.class_prob.argmax(1) + 1).tolist() == [2, 3]
    seen = nuclei_of_maps(maps, hv, (10, 10), 1.0, TINY.inference)
    assert (seen.class_prob.argmax(1) + 1).tolist() == [3]
    assert seen.score == pytest.approx([0.6], abs=1e-5)
    assert seen.boxes.tolist() == [[4, 2, 7, 5]]


# ---- classes that are not told apart


def maps_of(classes: dict[int, float], shape=(24, 24), centre=(12, 12), radius=7):
    """One disc whose pixels all have these class probabilities, and its offsets."""
    rows, columns = np.indices(shape) + 0.5
    y, x = rows - centre[0], columns - centre[1]
    inside = y * y + x * x <= radius**2
    maps = np.zeros((6, *shape), np.float32)
    maps[0] = 1
    for class_id, p in classes.items():
        maps[class_id, inside] = p
    maps[0, inside] = 1 - sum(classes.values())
    hv = np.stack([x, y]).astype(np.float32) / 12.56 * inside
    return maps, hv, inside


CONFIG = TINY.inference


def one_nucleus(classes, together):
    maps, hv, inside = maps_of(classes)
    nuclei = nuclei_of_maps(maps, hv, inside.shape, 0.25, CONFIG, together)
    assert len(nuclei) == 1
    assert np.isclose(nuclei.class_prob.sum(), 1, atol=1e-5)
    return int(nuclei.class_prob[0].argmax()) + 1, nuclei.class_prob[0]


@pytest.mark.parametrize(
    ("classes", "apart", "together"),
    [
        ({1: 0.3, 5: 0.25, 2: 0.4}, 2, 1),
        ({1: 0.25, 5: 0.3, 2: 0.4}, 2, 5),
        ({1: 0.15, 5: 0.15, 2: 0.6}, 2, 2),
        ({1: 0.6, 5: 0.1, 3: 0.3}, 1, 1),
        ({3: 0.9}, 3, 3),
    ],
)
def test_classes_not_told_apart_vote_together_and_are_parted_by_their_means(
    classes, apart, together
):
    assert one_nucleus(classes, ())[0] == apart
    found, prob = one_nucleus(classes, (1, 5))
    assert found == together
    total = sum(classes.values())
    assert np.sort(prob)[::-1][:3] == pytest.approx(
        sorted([*classes.values(), 0, 0], reverse=True)[:3] / np.float32(total), abs=1e-5
    )


def test_each_nucleus_is_parted_by_its_own_pixels():
    first = maps_of({1: 0.7, 5: 0.2}, (24, 60))
    second = maps_of({1: 0.2, 5: 0.7}, (24, 60), (12, 44))
    maps = np.where(second[2], second[0], first[0])
    hv = np.where(second[2], second[1], first[1])
    nuclei = nuclei_of_maps(maps, hv, (24, 60), 0.25, CONFIG, (1, 5))
    assert (nuclei.class_prob.argmax(1) + 1).tolist() == [1, 5]
    assert nuclei.class_prob[:, [0, 4]] == pytest.approx(np.array([[7, 2], [2, 7]]) / 9, abs=1e-5)


def test_what_counts_together_is_nucleus_together():
    # No class alone is more probable than the background.
    assert one_nucleus({1: 0.3, 5: 0.3}, (1, 5))[0] in (1, 5)


@pytest.mark.parametrize("shape", [(24, 24), (1, 1), (50, 31)])
def test_where_there_are_no_nuclei_none_are_parted(shape):
    maps, hv, _ = maps_of({})
    nuclei = nuclei_of_maps(maps, hv, shape, 0.25, CONFIG, (1, 5))
    assert len(nuclei) == 0
    assert nuclei.class_prob.shape == (0, 5)
    predictor = make_predictor(Rule(constant(0)), not_told_apart=(1, 5))
    assert len(predictor.segment(Tile(np.full((*shape, 3), 255, np.uint8)), at_scale(1.0))) == 0


def test_a_look_gives_classes_and_instances_that_voted_together():
    def answer(pixels):
        logits, hv = blobs(pixels)
        p = torch.full_like(logits, 1e-4)
        nucleus = logits[:, 0] == 0
        for class_id, share in ((1, 0.3), (5, 0.3), (2, 0.4)):
            p[:, class_id][nucleus] = share
        p[:, 0][~nucleus] = 1
        return p.log(), hv

    rgb, labels = discs(SHAPE, CENTRES, 7)
    predictor = make_predictor(Rule(answer), not_told_apart=(1, 5))
    shown, classes, found = predictor.look(Tile(rgb), at_scale(1.0))
    assert np.array_equal(shown, rgb)
    assert classes.shape == (6, *SHAPE)
    assert classes[1, 14, 20] == pytest.approx(0.6, abs=0.01)
    assert classes[5, 14, 20] == 0
    assert found.classes.tolist() == [1] * 5
    assert panoptic_quality(OverlapTable.of(labels, found.labels)).pq > 0.98


def test_a_look_is_at_the_working_magnification(by_rule):
    rgb, _ = discs(SHAPE, CENTRES, 4)
    shown, classes, found = by_rule.look(Tile(rgb), at_scale(2.0))
    assert shown.shape == (168, 184, 3)
    assert shown.dtype == np.uint8
    assert classes.shape == (6, 168, 184)
    assert found.labels.shape == (168, 184)
    assert len(found) == 5


# ---- weights files


@pytest.fixture
def file(tmp_path):
    target = tmp_path / "folder" / "tiny.safetensors"
    save_network(make_network(), target, STAIN, {"commit": "abc"})
    return target


def test_a_loaded_uperhover_is_the_saved_one_bit_by_bit(file):
    predictor = load_predictor(INFO, file, "cpu")
    saved = make_network().state_dict()
    for name, value in predictor.network.state_dict().items():
        expected = saved[name].half().float() if saved[name].is_floating_point() else saved[name]
        assert torch.equal(value, expected), name
    assert predictor.training_stain == STAIN
    assert predictor.digest == read_weights(file).digest
    assert predictor.config == TINY.inference
    header = read_weights(file).header
    assert header["system"] == "uperhover"
    assert header["provenance"] == {"commit": "abc"}
    again = file.with_name("again.safetensors")
    save_network(predictor.network, again, STAIN, {"commit": "abc"})
    assert read_weights(again).digest == predictor.digest
    rgb, _ = discs(SHAPE, CENTRES, 7)
    maps = [
        p.look(Tile(rgb), at_scale(1.0))[1] for p in (predictor, load_predictor(INFO, again, "cpu"))
    ]
    assert np.array_equal(*maps)


def test_batch_norms_keep_what_they_counted(tmp_path):
    network = make_network(PLAIN)
    counted = network.hv.decode_head.bottleneck.batch_norm
    counted.num_batches_tracked.fill_(100_000)
    save_network(network, tmp_path / "w.safetensors", None, {})
    info = replace(INFO, working_mpp=PLAIN.inference.mpp)
    again = load_predictor(info, tmp_path / "w.safetensors", "cpu").network
    norm = again.hv.decode_head.bottleneck.batch_norm
    assert int(norm.num_batches_tracked) == 100_000
    assert torch.equal(norm.running_var, counted.running_var.half().float())


def test_weights_of_another_size_are_refused(file):
    with pytest.raises(WeightsError, match=r"0\.25 µm per pixel, tiny at 0\.314"):
        load_predictor(replace(INFO, working_mpp=0.314), file, "cpu")


def test_training_goes_on_from_what_was_saved(file):
    network = restore_network(file, TINY)
    assert torch.equal(
        network.classes.fine.out.weight, make_network().classes.fine.out.weight.half().float()
    )
    wide = replace(TINY, head=replace(TINY.head, dim=16))
    with pytest.raises(WeightsError, match=r"tiny\.safetensors"):
        restore_network(file, wide)


def edited(file, change):
    """Write the file again with another header."""
    weights = read_weights(file)
    header = json.loads(json.dumps(weights.header))
    change(header)
    write_weights(file, weights.tensors, header)
    return file


@pytest.mark.parametrize(
    "load", [lambda f: load_predictor(INFO, f, "cpu"), lambda f: restore_network(f, TINY)]
)
def test_weights_of_another_system_are_refused(file, load):
    edited(file, lambda header: header.update(system="uninuc"))
    with pytest.raises(WeightsError, match=r"tiny\.safetensors.*'uninuc', not 'uperhover'"):
        load(file)
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors.*no such"):
        load(file.with_name("nowhere.safetensors"))


def put(value, *path):
    def change(header):
        inner = header
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("config"),
        put("none", "config"),
        put(3, "config", "colour"),
        put("wide", "config", "encoder", "dim"),
        put(2.5, "config", "encoder", "mlp_ratio"),
        put(-1, "config", "encoder", "registers"),
        put([-8, 8, 8, 8], "config", "encoder", "pyramid_dims"),
        put("voronoi", "config", "inference", "watershed", "postproc"),
        put(4, "config", "inference", "watershed", "energy", "sobel"),
    ],
)
def test_a_configuration_of_another_version_is_refused(file, change):
    edited(file, change)
    with pytest.raises(WeightsError, match=r"tiny\.safetensors.*another version") as error:
        load_predictor(INFO, file, "cpu")
    assert "\n" not in str(error.value)


def test_a_configuration_that_does_not_fit_its_tensors_is_refused(file):
    edited(file, put(16, "config", "head", "dim"))
    with pytest.raises(WeightsError, match=r"tiny\.safetensors.*another model"):
        load_predictor(INFO, file, "cpu")


def test_a_device_that_is_not_there_is_refused_first(tmp_path):
    with pytest.raises(ModelError, match="toaster"):
        load_predictor(INFO, tmp_path / "nowhere.safetensors", "toaster")


def test_the_configuration_in_the_file_counts(file):
    config = UperHoverConfig.from_dict(read_weights(file).header["config"])
    assert config == TINY
