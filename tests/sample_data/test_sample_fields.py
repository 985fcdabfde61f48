"""Bundled fields: complete, valid, small, and what napari expects."""

import subprocess
import sys
from importlib import resources

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label

from napari_nucleus.sample_data import fields
from napari_nucleus.sample_data.generator import FieldSpec, generate_field
from napari_nucleus.sample_data.make_fields import RECIPES, main, write_field

DATA = resources.files("napari_nucleus.sample_data") / "data"
NAMES = tuple(fields.FIELD_NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_bundled_field_has_valid_truth(name):
    field = fields.load_field(name)
    assert field.rgb.shape == (768, 768, 3)
    assert field.rgb.dtype == np.uint8
    assert field.labels.dtype == np.int32
    n = len(field.class_of_id) - 1
    assert n > 250
    assert label(field.labels, connectivity=1).max() == n
    assert np.bincount(field.labels.ravel(), minlength=n + 1).min() >= 10
    assert np.isin(field.class_of_id[1:], (1, 2, 3, 4, 5)).all()
    assert len(np.unique(field.class_of_id[1:])) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_bundled_field_is_the_one_its_recipe_draws(name):
    assert fields.load_field(name).spec == RECIPES[name][0]


@pytest.mark.parametrize("name", NAMES)
def test_bundled_files_are_small_and_anonymous(name):
    sizes = [(DATA / f"{name}{s}").read_bytes() for s in (".png", "_labels.png", ".json")]
    assert sum(map(len, sizes)) < 1_500_000
    for suffix in (".png", "_labels.png"):
        with (DATA / f"{name}{suffix}").open("rb") as stream, Image.open(stream) as picture:
            assert picture.info == {}


def test_bundled_fields_differ_in_tissue_and_stain():
    specs = [fields.load_field(name).spec for name in NAMES]
    assert len({s.tissues for s in specs}) == len({s.stain for s in specs}) == len(NAMES)


def test_unknown_field_is_refused_with_the_known_names():
    with pytest.raises(KeyError, match="crypts"):
        fields.load_field("bone")


def test_written_field_comes_back_whole(tmp_path, monkeypatch):
    field = generate_field(FieldSpec((64, 70), tissues=("lymphoid",)), np.random.default_rng(0))
    write_field(field, tmp_path, "crypts")

    class Package:
        def __truediv__(self, part):
            return tmp_path

    monkeypatch.setattr(fields.resources, "files", lambda _: Package())
    again = fields.load_field("crypts")
    assert again.spec == field.spec
    for part in ("rgb", "labels", "class_of_id"):
        np.testing.assert_array_equal(getattr(again, part), getattr(field, part))


def test_command_writes_all_fields(tmp_path, monkeypatch):
    small = {n: (FieldSpec((48, 48), tissues=s.tissues), k) for n, (s, k) in RECIPES.items()}
    monkeypatch.setattr("napari_nucleus.sample_data.make_fields.RECIPES", small)
    main([str(tmp_path)])
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{n}{s}" for n in NAMES for s in (".png", "_labels.png", ".json")
    }


@pytest.mark.parametrize("sample", [fields.crypts, fields.tumour, fields.lymphoid])
def test_napari_takes_the_samples(sample):
    layers = pytest.importorskip("napari.layers")
    ((data, options, kind),) = sample()
    assert kind == "image"
    layer = layers.Image(data, **options)
    assert layer.rgb
    np.testing.assert_allclose(layer.scale, (0.25, 0.25))
    assert [str(u) for u in layer.units] == ["micrometer", "micrometer"]
    assert layer.metadata["napari_nucleus"]["mpp"] == 0.25


def test_samples_load_neither_napari_nor_torch():
    code = (
        "import sys; from napari_nucleus.sample_data.fields import crypts; crypts();"
        "bad = {'napari', 'torch', 'qtpy', 'transformers'} & set(sys.modules);"
        "sys.exit(f'loaded {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
