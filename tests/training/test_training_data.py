"""Reading annotated images: the layout, the classes, and what must never be read."""

import numpy as np
import pytest
from PIL import Image
from training_helpers import draw_labels, write_image

from napari_nucleus.core.classes import UNKNOWN_CLASS
from napari_nucleus.errors import ImageError, LabelsError
from napari_nucleus.training.batches import class_sets
from napari_nucleus.training.data import (
    CONSEP_DEVELOPMENT,
    EPITHELIAL_EITHER,
    evaluation_pairs,
    load_annotated,
    load_consep,
    load_dsb2018,
    load_nucls,
    nuclei_count,
)

SHAPE = (40, 60)


@pytest.fixture
def folder(tmp_path):
    for i in range(1, 20):
        labels = draw_labels(SHAPE, i, 4)
        classes = np.where(labels > 0, (labels - 1) % 4 + 1, 0)
        write_image(tmp_path / "consep", f"consep_train_{i:02}", labels, ".jpg", classes)
    for i in range(3):
        write_image(tmp_path / "dsb2018", f"dsb2018_{i}", draw_labels(SHAPE, 30 + i, 5), ".png")
    points = tmp_path / "nucls_points"
    points.mkdir()
    for split in ("train", "test"):
        Image.new("RGB", (32, 24)).save(points / f"nucls_{split}_1.png")
        rows = ["x,y,class_id,class", "5,7,1,tumor_any", "20,3,2,sTIL", "9,9,3,other_nucleus"]
        (points / f"nucls_{split}_1_points.csv").write_text("\n".join(rows))
    held_out = tmp_path / "dev_eval" / "gbm40"
    held_out.mkdir(parents=True)
    for name in ("gbm_1.png", "gbm_1_inst.png"):
        (held_out / name).write_bytes(b"reading this fails")
    return tmp_path


def test_the_development_split_is_read_apart_and_never_with_the_rest(folder):
    training = {i.name for i in load_consep(folder)}
    development = {i.name for i in load_consep(folder, development=True)}
    assert development == set(CONSEP_DEVELOPMENT)
    assert len(development) == 5
    assert not training & development
    assert len(training) == 19 - 5


def test_pictures_and_labels_are_read_as_they_are(folder):
    image = load_dsb2018(folder)[1]
    expected = draw_labels(SHAPE, 31, 5)
    assert image.name == "dsb2018_1"
    assert image.source == "dsb2018"
    assert np.array_equal(image.labels, expected)
    assert image.rgb.shape == (*SHAPE, 3)
    assert len({tuple(c) for c in image.rgb[image.labels == 2]}) == 1
    assert image.count == 5
    assert len(load_dsb2018(folder)) == 3
    assert nuclei_count(load_dsb2018(folder)) == 15


def test_classes_of_consep_become_ours(folder):
    image = load_consep(folder)[0]
    # 1 other, 2 inflammatory, 3 epithelial of either kind, 4 spindle-shaped.
    assert image.class_target.tolist() == [0, UNKNOWN_CLASS, 2, EPITHELIAL_EITHER, 3]
    assert load_dsb2018(folder)[0].class_target.tolist() == [0, *[UNKNOWN_CLASS] * 5]


def test_class_targets_say_which_classes_would_be_right():
    sets = class_sets(np.array([0, 2, EPITHELIAL_EITHER, UNKNOWN_CLASS, 5]), 5)
    assert sets.T.tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
    ]


def test_ids_with_gaps_are_numbered_and_a_map_without_background_is_taken(tmp_path):
    labels = draw_labels(SHAPE, 1, 3)
    write_image(tmp_path, "gaps", labels * 50, ".png")
    assert np.array_equal(load_annotated(tmp_path / "gaps.png").labels, labels)
    full = np.ones((8, 8), int)
    full[4:] = 7
    write_image(tmp_path, "full", full, ".png")
    image = load_annotated(tmp_path / "full.png")
    assert np.unique(image.labels).tolist() == [1, 2]
    assert len(image.class_target) == 3


def test_points_are_the_centres_of_their_pixels(folder):
    (image,) = load_nucls(folder)
    assert image.name == "nucls_train_1"
    assert image.points_yx.tolist() == [[7.5, 5.5], [3.5, 20.5], [9.5, 9.5]]
    assert image.class_target.tolist() == [1, 2, UNKNOWN_CLASS]
    assert [i.name for i in load_nucls(folder, "test")] == ["nucls_test_1"]


def test_a_missing_folder_or_annotation_is_named(tmp_path):
    with pytest.raises(ImageError, match="consep"):
        load_consep(tmp_path)
    (tmp_path / "dsb2018").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "dsb2018" / "alone.png")
    with pytest.raises(LabelsError, match=r"alone_inst\.png"):
        load_dsb2018(tmp_path)


@pytest.mark.parametrize("what", ["inst", "cls"])
def test_maps_of_another_size_are_refused(tmp_path, what):
    labels = draw_labels(SHAPE, 1, 3)
    write_image(tmp_path, "odd", labels, ".png", labels)
    Image.fromarray(labels[:-2].astype(np.uint8)).save(tmp_path / f"odd_{what}.png")
    with pytest.raises(LabelsError, match=rf"odd_{what}\.png"):
        load_annotated(tmp_path / "odd.png")


def test_the_median_diameter_is_that_of_equal_discs(tmp_path):
    labels = np.zeros((20, 20), int)
    labels[2:6, 2:6], labels[10:14, 2:6], labels[8:18, 8:18] = 1, 2, 3
    write_image(tmp_path, "a", labels, ".png")
    found = load_annotated(tmp_path / "a.png").median_diameter
    assert found == pytest.approx(2 * np.sqrt(16 / np.pi))
    write_image(tmp_path, "none", np.zeros((9, 9), int), ".png")
    assert load_annotated(tmp_path / "none.png").median_diameter == 0


def test_images_are_paired_with_their_truth(folder, tmp_path):
    pairs = evaluation_pairs(folder / "consep", ["consep_train_03", "consep_train_01"])
    assert [(i.name, t.name) for i, t in pairs] == [
        ("consep_train_01.jpg", "consep_train_01_inst.png"),
        ("consep_train_03.jpg", "consep_train_03_inst.png"),
    ]
    assert len(evaluation_pairs(folder / "consep")) == 19
    elsewhere = tmp_path / "truth"
    elsewhere.mkdir()
    np.save(elsewhere / "dsb2018_1.npy", np.zeros(SHAPE, int))
    pairs = evaluation_pairs(folder / "dsb2018", truth=elsewhere)
    assert [(i.name, t.name) for i, t in pairs] == [("dsb2018_1.png", "dsb2018_1.npy")]
    with pytest.raises(ImageError, match="label map"):
        evaluation_pairs(folder / "dsb2018", ["no such image"])
    with pytest.raises(ImageError, match="no such folder"):
        evaluation_pairs(tmp_path / "nowhere")
