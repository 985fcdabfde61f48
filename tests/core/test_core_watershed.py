from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from napari_nucleus.core.geometry import clip_box, pad_box
from napari_nucleus.core.watershed import (
    EnergyConstants,
    HoverNetConstants,
    WatershedConfig,
    instances_of_maps,
    map_limits,
    reach,
)
from napari_nucleus.errors import ModelError

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "hv"
WAYS = ("energy", "hovernet")


def discs(shape, *circles):
    """Return labels and HV maps of discs (y, x, radius); between two runs a straight border."""
    yy, xx = np.indices(shape) + 0.5
    power = np.stack([(yy - y) ** 2 + (xx - x) ** 2 - r**2 for y, x, r in circles])
    labels = np.where(power.min(axis=0) < 0, power.argmin(axis=0) + 1, 0).astype(np.int32)
    hv = np.zeros((2, *shape), np.float32)
    for i, (y, x, r) in enumerate(circles, 1):
        for plane, offset in enumerate((xx - x, yy - y)):
            hv[plane][labels == i] = (offset / r)[labels == i]
    return labels, hv


def noisy(hv, sigma=0.15, seed=0):
    return hv + np.random.default_rng(seed).normal(0, sigma, hv.shape).astype(np.float32)


def ious(true, found):
    """Return the overlap of each true nucleus with the found one that overlaps it most."""
    out = []
    for i in range(1, true.max() + 1):
        number = np.bincount(found[true == i]).argmax()
        both = (true == i) | (found == number)
        out.append(((true == i) & (found == number)).sum() / both.sum() if number else 0)
    return out


def random_maps(seed, shape=(90, 110), grain=3.0):
    """Return HV, foreground and class maps without any meaning, as smooth as a network's."""
    rng = np.random.default_rng(seed)

    def smooth(n, sigma):
        maps = ndimage.gaussian_filter(rng.normal(size=(n, *shape)), (0, sigma, sigma))
        return (maps / maps.std()).astype(np.float32)

    hv = smooth(2, grain / 2)
    foreground = 1 / (1 + np.exp(-2 * smooth(1, grain)[0] - 0.3))
    weights = np.exp(smooth(4, grain))
    return hv, foreground, weights / weights.sum(axis=0)


# ---- nuclei that touch


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("radius", [9, 12, 15, 18])
@pytest.mark.parametrize("distance", [1.4, 1.7, 2.0])
def test_touching_discs_are_told_apart(way, radius, distance):
    true, hv = discs((80, 120), (40, 40, radius), (43, 40 + distance * radius, radius))
    found = instances_of_maps(
        noisy(hv, seed=radius), (true > 0).astype(np.float32), config=WatershedConfig(way)
    )
    assert len(found) == 2
    assert min(ious(true, found.labels)) >= 0.86


@pytest.mark.parametrize("angle", [0.0, 0.7, 1.6])
def test_a_small_disc_is_told_from_the_large_one_it_touches(angle):
    away = 25 * np.array([np.sin(angle), np.cos(angle)])
    true, hv = discs((100, 100), (50, 50, 18), (50 + away[0], 50 + away[1], 9))
    found = instances_of_maps(noisy(hv), (true > 0).astype(np.float32))
    assert len(found) == 2
    assert min(ious(true, found.labels)) >= 0.8


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2])
def test_a_long_nucleus_stays_whole(angle):
    yy, xx = np.indices((90, 90)) - 45.0
    along = xx * np.cos(angle) + yy * np.sin(angle)
    across = yy * np.cos(angle) - xx * np.sin(angle)
    width = 8 + 1.5 * np.cos(along / 3.5)
    mask = (np.abs(along) < 30) & (np.abs(across) < width)
    hv = np.stack([np.clip(xx / 10, -1, 1), np.clip(yy / 10, -1, 1)]) * mask
    found = instances_of_maps(noisy(hv, 0.1), mask.astype(np.float32))
    assert len(found) == 1


def test_one_field_at_two_pixel_sizes_has_the_same_nuclei():
    circles = [(y, x, 10 + (y + x) % 5) for y in range(30, 270, 40) for x in range(30, 270, 24)]
    true, hv = discs((300, 300), *circles)
    half = true[::2, ::2]
    for way in WAYS:
        config = WatershedConfig(way)
        fine = instances_of_maps(hv, (true > 0).astype(np.float32), None, 0.25, config)
        coarse = instances_of_maps(
            hv[:, ::2, ::2], (half > 0).astype(np.float32), None, 0.5, config
        )
        assert len(fine) == len(coarse) == len(circles)


def test_hovernets_operator_is_half_as_large_at_twice_the_pixel_size():
    config = WatershedConfig("hovernet", minimum_area_um2=0.1)
    assert reach(0.25, config) == 1 + 21 // 2
    assert reach(0.5, config) == 1 + 11 // 2


# ---- what holds for any maps


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from(WAYS))
@example(36017, 4.0, "hovernet")
@settings(max_examples=40, deadline=None)
def test_nuclei_are_parts_of_components_without_gaps_in_their_numbers(seed, grain, way):
    hv, foreground, prob = random_maps(seed, grain=grain)
    found = instances_of_maps(hv, foreground, prob, config=WatershedConfig(way))
    components, n = ndimage.label(foreground >= 0.5)
    assert np.array_equal(np.unique(found.labels[found.labels > 0]), np.arange(1, len(found) + 1))
    for i, (y0, x0, y1, x1) in enumerate(found.boxes, 1):
        mask = found.labels[y0:y1, x0:x1] == i
        assert mask.any(axis=0)[[0, -1]].all()
        assert mask.any(axis=1)[[0, -1]].all()
        # HoVer-Net fills holes of its markers, also such as lie off the foreground: there, and
        # only there, the parts of a nucleus may hang together.
        hole = foreground[y0:y1, x0:x1] < 0.5
        parts, _ = ndimage.label(mask if way == "energy" else mask | hole)
        assert len(np.unique(parts[mask])) == 1
    if way == "energy":
        large = np.flatnonzero(np.bincount(components.ravel())[1:] >= 10) + 1
        assert (found.labels[np.isin(components, large)] > 0).all()
    else:
        for number in range(1, n + 1):
            inside = found.labels[components == number]
            assert (inside > 0).all() or not inside.any()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from(WAYS))
@settings(max_examples=40, deadline=None)
def test_a_tile_has_the_nuclei_of_the_whole_image(seed, grain, way):
    config = WatershedConfig(way)
    hv, foreground, prob = random_maps(seed, grain=grain)
    whole = instances_of_maps(hv, foreground, prob, config=config)
    kept = whole.labels > 0 if way == "energy" else foreground >= 0.5
    components, _ = ndimage.label(kept)
    places = ndimage.find_objects(components)
    for number in np.random.default_rng(seed).permutation(len(places))[:6] + 1:
        rows, columns = places[number - 1]
        box = pad_box((rows.start, columns.start, rows.stop, columns.stop), reach(config=config))
        y0, x0, y1, x1 = clip_box(box, foreground.shape)
        tile = np.s_[y0:y1, x0:x1]
        cut = instances_of_maps(hv[:, *tile], foreground[tile], prob[:, *tile], config=config)
        own = components[tile] == number
        a, b = whole.labels[tile][own], cut.labels[own]
        pairs = np.unique(np.stack([a, b]), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
        for i, j in pairs.T[pairs[0] > 0]:
            assert whole.classes[i - 1] == cut.classes[j - 1]
            assert np.array_equal(whole.boxes[i - 1], cut.boxes[j - 1] + np.array([y0, x0, y0, x0]))
            np.testing.assert_allclose(whole.score[i - 1], cut.score[j - 1], rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_image_has_the_mirrored_nuclei(way, axis):
    circles = [(y, x, 8 + (3 * y + x) % 7) for y in range(20, 220, 25) for x in range(20, 220, 18)]
    true, hv = discs((240, 240), *circles)
    hv, foreground = noisy(hv), (true > 0).astype(np.float32)
    config = WatershedConfig(way)
    found = instances_of_maps(hv, foreground, config=config)
    turned = np.flip(hv, axis + 1).copy()
    turned[1 - axis] *= -1
    mirrored = instances_of_maps(turned, np.flip(foreground, axis), config=config)
    assert len(mirrored) == len(found)
    assert np.mean(ious(found.labels, np.flip(mirrored.labels, axis))) > 0.99


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_maps_may_have_any_precision_and_layout(dtype):
    hv, foreground, prob = random_maps(5)
    expected = instances_of_maps(hv.astype(dtype).astype(np.float32), foreground, prob)
    last = np.ascontiguousarray(np.moveaxis(hv.astype(dtype), 0, -1))
    found = instances_of_maps(np.moveaxis(last, -1, 0), foreground, np.asfortranarray(prob))
    assert len(found) == len(expected)
    assert np.mean(ious(expected.labels, found.labels)) > 0.99


# ---- HoverNet's own answers


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="golden values are not there")
def test_hovernets_published_nuclei_are_found_to_the_pixel():
    maps = np.load(GOLDEN / "maps_512.npz")
    true = np.asarray(Image.open(GOLDEN / "hover_net_instances.png")).astype(np.int32)
    info = json.loads((GOLDEN / "hover_net_info.json").read_text())
    hv = np.moveaxis(maps["hv"], -1, 0)
    types = (maps["type_map"] == np.arange(6)[:, None, None]).astype(np.float32)
    constants = replace(HoverNetConstants(), limits=map_limits(hv))
    config = WatershedConfig("hovernet", hovernet=constants)
    found = instances_of_maps(hv, maps["nucleus_prob"], types, 0.25, config)
    assert len(found) == len(info) == 134
    pairs = np.unique(np.stack([true.ravel(), found.labels.ravel()]), axis=1)
    assert pairs.shape[1] == 135
    for i, j in pairs.T[1:]:
        assert info[str(i)]["type"] == found.classes[j - 1]
        rows, columns = np.nonzero(found.labels == j)
        assert info[str(i)]["centroid_xy"] == pytest.approx([columns.mean(), rows.mean()])
    fixed = instances_of_maps(hv, maps["nucleus_prob"], types, 0.25, WatershedConfig("hovernet"))
    assert len(fixed) == 134
    assert np.mean(ious(true, fixed.labels)) > 0.98


def test_a_ring_does_not_swallow_the_nucleus_within():
    true, hv = discs((90, 90), (45, 45, 40), (45, 45, 10))
    yy, xx = np.indices(true.shape) - 44.5
    away = np.hypot(yy, xx)
    foreground = ((away < 9) | ((away > 20) & (away < 40))).astype(np.float32)
    found = instances_of_maps(np.zeros_like(hv), foreground, config=WatershedConfig("hovernet"))
    assert len(found) == 2
    assert found.labels[44, 44] != found.labels[44, 14]


# ---- odd input


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (1, 1), (1, 60), (40, 30)])
def test_maps_without_foreground_hold_no_nuclei(way, shape):
    hv, prob = np.zeros((2, *shape), np.float32), np.zeros((4, *shape), np.float32)
    prob[0] = 1
    found = instances_of_maps(hv, None, prob, config=WatershedConfig(way))
    assert len(found) == len(found.nuclei()) == 0
    assert found.labels.shape == shape
    assert found.class_prob.shape == (0, 3)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 60), (60, 1), (300, 290)])
def test_a_map_of_nothing_but_foreground_is_taken(shape):
    hv, ones = np.zeros((2, *shape), np.float32), np.ones(shape, np.float32)
    for way in WAYS:
        found = instances_of_maps(hv, ones, config=WatershedConfig(way))
        assert found.labels.shape == shape
        assert len(found) <= 1
    assert len(instances_of_maps(hv, ones)) == (ones.size >= 10)


def test_specks_go_and_pinholes_are_filled():
    foreground = np.zeros((60, 60), np.float32)
    foreground[10:30, 10:30] = 1
    foreground[18:21, 18:21] = 0
    foreground[50, 40:49] = 1
    hv = np.zeros((2, 60, 60), np.float32)
    found = instances_of_maps(hv, foreground)
    assert found.boxes.tolist() == [[10, 10, 30, 30]]
    assert (found.labels > 0).sum() == 400
    assert len(instances_of_maps(hv, foreground, mpp=0.26)) == 2
    own = instances_of_maps(hv, foreground, config=WatershedConfig("hovernet"))
    assert (own.labels > 0).sum() == 391


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [("HV", (1, 3, 4), np.nan), ("foreground", (3, 4), np.inf), ("class", (2, 3, 4), -np.inf)],
)
def test_a_value_that_is_not_finite_is_named(name, place, value):
    maps = {
        "HV": np.zeros((2, 8, 9), np.float32),
        "foreground": np.ones((8, 9), np.float16),
        "class": np.ones((4, 8, 9), np.float32),
    }
    maps[name][place] = value
    with pytest.raises(ModelError) as told:
        instances_of_maps(*maps.values())
    assert f"The {name} maps hold {value} at {place}" in str(told.value)


def test_large_finite_values_are_taken():
    foreground = np.full((400, 400), 60_000, np.float16)
    assert len(instances_of_maps(np.zeros((2, 400, 400), np.float16), foreground)) == 1


@pytest.mark.parametrize(
    ("hv", "foreground", "prob", "said"),
    [
        ((3, 8, 9), (8, 9), None, r"\(2, H, W\).*\(3, 8, 9\)"),
        ((8, 9), (8, 9), None, r"\(2, H, W\).*\(8, 9\)"),
        ((2, 8, 9), (9, 8), None, r"\(8, 9\).*\(9, 8\)"),
        ((2, 8, 9), None, (4, 8, 8), r"\(8, 9\).*\(8, 8\)"),
        ((2, 8, 9), None, (1, 8, 9), r"\(1, 8, 9\)"),
        ((2, 8, 9), None, None, "foreground map or class maps"),
    ],
)
def test_maps_that_do_not_fit_are_refused(hv, foreground, prob, said):
    def maps(shape):
        return None if shape is None else np.zeros(shape, np.float32)

    with pytest.raises(ModelError, match=said):
        instances_of_maps(maps(hv), maps(foreground), maps(prob))


def test_constants_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="'water'"):
        WatershedConfig(postproc="water")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="odd"):
        WatershedConfig(energy=EnergyConstants(sobel=4))
    with pytest.raises(ValueError, match="length_um must be positive, not 0"):
        WatershedConfig(energy=EnergyConstants(length_um=0))
    with pytest.raises(ValueError, match="sobel_um must be positive, not nan"):
        WatershedConfig(hovernet=HoverNetConstants(sobel_um=float("nan")))
