"""Generated fields: determinism, exact truth, plausible nuclei."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label

from napari_nucleus.sample_data.fields import spec_from_dict
from napari_nucleus.sample_data.generator import (
    TISSUES,
    Field,
    FieldSpec,
    generate_field,
    random_spec,
)

WITHOUT_NUCLEI = {"acellular", "glass"}
CELLULAR = sorted(
    set(TISSUES) - WITHOUT_NUCLEI - {"blood", "fat", "mucin"},
)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def draw(seed: int, side: int = 160, **fixed: object) -> Field:
    rng = np.random.default_rng(seed)
    spec = replace(random_spec(rng, (side, side)), **fixed)  # type: ignore[arg-type]
    return generate_field(spec, rng)


def hematoxylin(field: Field) -> np.ndarray:
    """Return the amount of hematoxylin that the picture itself shows."""
    stain = field.spec.stain
    density = -np.log((field.rgb.astype(float) + 1) / (np.array(stain.white) + 1))
    vectors = np.array([stain.hematoxylin, stain.eosin])
    return (density.reshape(-1, 3) @ np.linalg.pinv(vectors))[:, 0].reshape(field.labels.shape)


@given(seed=st.integers(0, 10_000))
@few
def test_same_seed_gives_the_same_field(seed):
    a, b = draw(seed, 96), draw(seed, 96)
    assert a.spec == b.spec
    for name in ("rgb", "labels", "class_of_id"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_another_seed_gives_another_field():
    spec = FieldSpec((96, 96))
    a, b = (generate_field(spec, np.random.default_rng(s)) for s in (1, 2))
    assert (a.rgb != b.rgb).mean() > 0.5


@given(
    seed=st.integers(0, 10_000),
    mpp=st.sampled_from([0.2, 0.25, 0.5]),
    height=st.integers(64, 200),
    width=st.integers(64, 200),
)
@few
def test_labels_are_whole_numbered_and_classified(seed, mpp, height, width):
    rng = np.random.default_rng(seed)
    field = generate_field(random_spec(rng, (height, width), mpp), rng)
    assert field.rgb.shape == (height, width, 3)
    assert field.rgb.dtype == np.uint8
    assert field.labels.shape == (height, width)
    assert field.labels.dtype == np.int32
    n = len(field.class_of_id) - 1
    ids = np.unique(field.labels)
    np.testing.assert_array_equal(ids[ids > 0], np.arange(1, n + 1))
    assert field.class_of_id.dtype == np.uint8
    assert field.class_of_id[0] == 0
    assert np.isin(field.class_of_id[1:], (1, 2, 3, 4, 5)).all()
    # As many 4-connected pieces as ids: each nucleus is in one piece.
    assert label(field.labels, connectivity=1).max() == n
    areas = np.bincount(field.labels.ravel(), minlength=n + 1)[1:]
    assert (areas >= 10 * (0.25 / mpp) ** 2).all()


@pytest.mark.parametrize("tissue", sorted(TISSUES))
def test_every_tissue_draws_what_it_should(tissue):
    fields = [draw(seed, 192, tissues=(tissue,)) for seed in range(3)]
    counts = [len(f.class_of_id) - 1 for f in fields]
    if tissue in WITHOUT_NUCLEI:
        assert counts == [0, 0, 0]
    elif tissue in CELLULAR:
        assert min(counts) >= 1
        assert sum(counts) >= 10
    assert all(f.rgb.std() > 0.3 for f in fields)


@pytest.mark.parametrize("tissue", CELLULAR)
def test_nuclei_hold_more_hematoxylin_than_their_surroundings(tissue):
    darker, total = 0, 0
    for seed in range(5):
        field = draw(seed, 192, tissues=(tissue,), ghosts=0.0, folded=False)
        amount = hematoxylin(field)
        for i, box in enumerate(ndimage.find_objects(field.labels), 1):
            if field.class_of_id[i] == 4:
                continue  # dying nuclei fade
            rows, cols = (slice(max(s.start - 6, 0), s.stop + 6) for s in box)
            labels = field.labels[rows, cols]
            mask = labels == i
            ring = ndimage.binary_dilation(mask, iterations=5) & (labels == 0)
            ring &= ~ndimage.binary_dilation(mask, iterations=1)
            if ring.sum() < 20:
                continue
            total += 1
            darker += amount[rows, cols][mask].mean() > amount[rows, cols][ring].mean()
    assert total >= 5
    assert darker / total > 0.93


def test_areas_of_the_classes_are_those_of_tissue():
    # Median diameter of the circle of equal area, µm, at size factor 1.
    expected = {1: (4.5, 9.0), 2: (3.5, 5.5), 3: (3.0, 6.0), 4: (1.2, 5.0), 5: (4.0, 6.8)}
    areas: dict[int, list[float]] = {c: [] for c in expected}
    for seed, tissue in enumerate(CELLULAR * 2):
        field = draw(seed, 256, tissues=(tissue,), size=1.0)
        inside = np.bincount(field.labels.ravel(), minlength=len(field.class_of_id))
        for c, area in zip(field.class_of_id[1:], inside[1:], strict=True):
            areas[int(c)].append(area * field.spec.mpp**2)
    for c, (low, high) in expected.items():
        assert low < np.sqrt(4 / np.pi * np.median(areas[c])) < high, c


def test_size_in_micrometres_does_not_depend_on_the_pixel():
    medians = []
    for mpp, side in ((0.25, 256), (0.5, 128)):
        areas: list[float] = []
        for seed in range(6):
            spec = FieldSpec((side, side), mpp, ("lymphoid",))
            field = generate_field(spec, np.random.default_rng(seed))
            areas += (np.bincount(field.labels.ravel())[1:] * mpp**2).tolist()
        medians.append(np.median(areas))
    assert medians[0] == pytest.approx(medians[1], rel=0.2)


def test_larger_size_factor_gives_larger_nuclei():
    areas = []
    for size in (0.8, 1.3):
        spec = FieldSpec((256, 256), tissues=("tumour",), size=size)
        field = generate_field(spec, np.random.default_rng(5))
        areas.append(np.median(np.bincount(field.labels.ravel())[1:]))
    assert areas[1] > 1.5 * areas[0]


def test_nuclei_are_cut_by_the_border():
    field = draw(0, 256, tissues=("lymphoid",))
    edge = np.concatenate(
        [field.labels[0], field.labels[-1], field.labels[:, 0], field.labels[:, -1]]
    )
    assert len(np.unique(edge[edge > 0])) > 5


def test_mixed_fields_hold_several_tissues():
    fields = [draw(s, 256, tissues=("tumour", "lymphoid")) for s in range(5)]
    mixed = [{1, 2} <= set(f.class_of_id[1:].tolist()) for f in fields]
    assert sum(mixed) >= 3


def test_random_specs_reach_every_tissue_and_vary():
    specs = [random_spec(np.random.default_rng(s)) for s in range(300)]
    assert {t for s in specs for t in s.tissues} == set(TISSUES)
    assert {len(s.tissues) for s in specs} == {1, 2, 3}
    sizes = [s.size for s in specs]
    assert min(sizes) < 0.85
    assert max(sizes) > 1.2


@given(seed=st.integers(0, 10_000))
@few
def test_spec_survives_json(seed):
    spec = random_spec(np.random.default_rng(seed), (64, 80), 0.5)
    assert spec_from_dict(json.loads(json.dumps(asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"tissues": ("bone",)}, "bone"),
        ({"tissues": ()}, "one to three"),
        ({"shape": (16, 300)}, "16"),
        ({"mpp": 5.0}, "5.0"),
    ],
)
def test_impossible_specs_are_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        FieldSpec(**wrong)
