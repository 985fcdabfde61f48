"""``train``: whatever is missing is said at once, before anything is drawn or computed."""

from __future__ import annotations

import pytest
from cli_helpers import save_labels, save_picture

from napari_nucleus.training import sources, uninuc_recipe
from napari_nucleus.training.data import CONSEP_DEVELOPMENT

MODEL = "uninuc-nano"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with one image of everything; training on it ends as soon as it begins."""
    folder = tmp_path / "data"
    for name in ("consep_train_01", CONSEP_DEVELOPMENT[0]):
        save_picture(folder / "consep" / f"{name}.jpg")
        save_labels(folder / "consep" / f"{name}_inst.png")
    save_picture(folder / "dsb2018" / "dsb2018_1.png")
    save_labels(folder / "dsb2018" / "dsb2018_1_inst.png")
    save_picture(folder / "nucls_points" / "nucls_train_1.png")
    (folder / "nucls_points" / "nucls_train_1_points.csv").write_text("x,y,class\n5,7,sTIL\n")
    monkeypatch.setattr(sources, "draw_fields", lambda *_: pytest.fail("fields were drawn"))
    monkeypatch.setattr(uninuc_recipe, "train_dense", lambda *_: pytest.fail("training began"))
    return folder


@pytest.fixture
def train(command, data, tmp_path):
    def run(*options, model=MODEL, data=data, out=tmp_path / "run"):
        return command("train", model, "--data", data, "--out", out, "--device", "cpu", *options)

    return run


def test_a_model_without_a_recipe_is_refused(train, tmp_path):
    train(model="uninuc-giga").refused("'uninuc-giga'", MODEL)
    assert not (tmp_path / "run").exists()


def test_an_unknown_device_is_refused(train, tmp_path):
    train("--device", "toaster").refused("'toaster'", "auto, cpu, cuda")
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_place_of_the_run_folder_is_named_and_kept(train, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("my notes")
    train(out=taken).refused(taken, "is a file")
    assert taken.read_text() == "my notes"


@pytest.mark.parametrize("lost", ["consep", "dsb2018", "nucls_points", "."])
def test_a_missing_data_set_is_named(train, data, lost):
    (data / lost).rename(data.parent / "elsewhere")
    train().refused(data / ("consep" if lost == "." else lost), "no such folder")


@pytest.mark.parametrize("name", ["consep", "dsb2018"])
def test_an_empty_data_set_is_named(train, data, name):
    for file in (data / name).glob("*_0?*" if name == "consep" else "*"):
        if CONSEP_DEVELOPMENT[0] not in file.name:
            file.unlink()
    train().refused(data / name, "no image to train on")


def test_a_missing_development_split_is_named(train, data):
    for file in (data / "consep").glob(f"{CONSEP_DEVELOPMENT[0]}*"):
        file.unlink()
    train().refused(data / "consep", CONSEP_DEVELOPMENT[0])


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("consep/consep_train_01.jpg", b"no picture", "damaged, or no picture"),
        ("consep/consep_train_01_inst.png", b"", "damaged, or no picture"),
        ("consep/consep_train_01_cls.png", b"no picture", "damaged, or no picture"),
        ("dsb2018/dsb2018_1_inst.png", None, "no such file"),
        ("nucls_points/nucls_train_1.png", b"no picture", "damaged, or no picture"),
        ("nucls_points/nucls_train_1_points.csv", None, "No such file"),
        ("nucls_points/nucls_train_1_points.csv", b"a,b\n1,2\n", "'y'"),
        ("nucls_points/nucls_train_1_points.csv", b"x,y,class\n5,up,sTIL\n", "'up'"),
        ("nucls_points/nucls_train_1_points.csv", b"x,y,class\n5\n", "x, y and class"),
    ],
)
def test_a_bad_file_of_a_data_set_is_named(train, data, file, content, word):
    (data / file).unlink(missing_ok=True)
    if content is not None:
        (data / file).write_bytes(content)
    train().refused(data / file, word)


@pytest.mark.parametrize(
    ("stage", "before"), [("clicks", "dense"), ("detector", "clicks"), ("pack", "detector")]
)
def test_a_stage_before_the_one_it_starts_from_is_refused(
    train, monkeypatch, tmp_path, stage, before
):
    monkeypatch.setattr(sources, "draw_fields", lambda *_: [])
    best = tmp_path / "run" / before / "best.safetensors"
    outcome = train("--stage", stage)
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        f"napari-nucleus: {best}: not there; train the {before} stage first."
    ]


@pytest.mark.parametrize("options", [("--steps", "0"), ("--workers", "-1"), ("--seed", "often")])
def test_impossible_options_are_answered_with_the_usage(train, tmp_path, options):
    outcome = train(*options)
    assert outcome.code == 2
    assert options[0] in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["uninuc-nano", "uperhover-nano"])
def test_a_stage_that_the_recipe_has_not_is_refused(train, tmp_path, model):
    train("--stage", "lunch", model=model).refused("'lunch'", "pack")
    assert not (tmp_path / "run").exists()


def test_only_recipes_that_label_images_take_unlabelled_ones(train, tmp_path):
    train("--unlabelled", tmp_path).refused("annotated images alone")
    train("--stage", "second", model="uperhover-nano").refused("--unlabelled")
    assert not (tmp_path / "run").exists()
