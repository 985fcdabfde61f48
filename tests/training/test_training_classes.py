"""How well nuclei are named: F1 with epithelium as one class, recall of points."""

import json

import numpy as np
import pytest
from PIL import Image
from training_helpers import paint_labels

from napari_nucleus.core.classes import PANNUKE, UNKNOWN_CLASS
from napari_nucleus.core.metrics import DetectionTable
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ImageError, LabelsError, ModelError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.training.classes import (
    class_scores,
    classified_pairs,
    evaluate_classes,
    point_recall,
)
from napari_nucleus.training.data import EPITHELIAL_EITHER, AnnotatedImage, PointImage

EITHER = EPITHELIAL_EITHER


def squares(n: int, shape=(30, 160), step=20, moved: int = 0) -> np.ndarray:
    """``n`` nuclei of 8 x 8 in a row, ids 1..n."""
    labels = np.zeros(shape, np.int32)
    for i in range(n):
        labels[10:18, 4 + step * i + moved : 12 + step * i + moved] = i + 1
    return labels


def found(labels: np.ndarray, classes) -> Nuclei:
    """Nuclei of a map with sure classes, none for 0."""
    prob = np.zeros((len(classes), 5), np.float32)
    for i, class_id in enumerate(classes):
        if class_id:
            prob[i, class_id - 1] = 0.9
    return Nuclei.from_labels(labels, prob)[0]


def image(classes) -> AnnotatedImage:
    labels = squares(len(classes))
    target = np.array([0, *classes], np.uint8)
    return AnnotatedImage("a", "consep", paint_labels(labels), labels, target)


# ---- pairs


def test_epithelium_is_one_class_on_both_sides():
    table = classified_pairs(image([1, 5, EITHER, 2]), found(squares(4), [5, 1, 1, 5]), 0.25)
    assert table.paired_true.tolist() == [EITHER, EITHER, EITHER, 2]
    assert table.paired_pred.tolist() == [EITHER] * 4
    assert class_scores([table])["epithelium"] == pytest.approx(2 * 3 / (2 * 3 + 2))


@pytest.mark.parametrize(("moved", "mpp", "pairs"), [(11, 0.25, 2), (12, 0.5, 0), (13, 0.25, 0)])
def test_nuclei_are_paired_within_three_micrometres(moved, mpp, pairs):
    true = AnnotatedImage(
        "a", "", paint_labels(squares(2, step=60)), squares(2, step=60), np.array([0, 2, 3])
    )
    table = classified_pairs(true, found(squares(2, step=60, moved=moved), [2, 3]), mpp)
    assert len(table.paired_true) == pairs
    assert len(table.missed) == len(table.extra) == 2 - pairs


def test_the_f1_of_classes_by_hand():
    # Inflammatory: 2 right, 1 taken for connective, 1 missed; 1 found where there is none.
    # Connective: 1 right, 1 wrong (the inflammatory one).
    true = np.array([2, 2, 2, 3])
    pred = np.array([2, 2, 3, 3])
    table = DetectionTable(true, pred, np.array([2]), np.array([2]))
    scores = class_scores([table])
    assert scores["inflammatory"] == pytest.approx(2 * 2 / (2 * 2 + 2 * 1 + 1 + 1))
    assert scores["connective"] == pytest.approx(2 * 1 / (2 * 1 + 2 * 1))
    assert np.isnan(scores["epithelium"])
    assert list(scores) == ["inflammatory", "epithelium", "connective"]


def test_true_nuclei_of_unknown_class_count_for_no_class():
    table = classified_pairs(
        image([UNKNOWN_CLASS, 2, UNKNOWN_CLASS]), found(squares(3), [2, 2, 3]), 0.25
    )
    assert class_scores([table])["inflammatory"] == 1
    assert np.isnan(class_scores([table])["connective"])
    missed = classified_pairs(image([UNKNOWN_CLASS, 2]), found(squares(0), []), 0.25)
    assert class_scores([missed])["inflammatory"] == 0
    extra = classified_pairs(image([]), found(squares(1), [3]), 0.25)
    assert class_scores([extra])["connective"] == 0


def test_images_are_scored_together():
    tables = [
        classified_pairs(image([2, 2, 2]), found(squares(3), [2, 2, 2]), 0.25),
        classified_pairs(image([2]), found(squares(1), [4]), 0.25),
    ]
    assert class_scores(tables)["inflammatory"] == pytest.approx(6 / (6 + 2))


def test_nuclei_without_a_class_have_none():
    table = classified_pairs(image([1, 2]), found(squares(2), [0, 2]), 0.25)
    assert table.paired_pred.tolist() == [0, 2]
    plain = Nuclei.from_labels(squares(2))[0]
    table = classified_pairs(image([1, 2]), plain, 0.25)
    assert table.paired_pred.tolist() == [0, 0]
    assert class_scores([table])["inflammatory"] == 0


# ---- points


def pointed(points, classes) -> PointImage:
    points = np.array(points, float).reshape(-1, 2)
    rgb = np.full((30, 160, 3), 200, np.uint8)
    return PointImage("p", rgb, points, np.array(classes, np.uint8))


def test_points_are_found_by_what_covers_them_or_lies_near():
    nuclei = found(squares(3), [1, 2, 3])  # centres at x 8, 28, 48
    image = pointed(
        [(14.5, 5.5), (14.0, 38.5), (10.5, 27.5), (29.5, 150.5)],
        [1, 1, 2, 255],
    )
    recall = point_recall(image, nuclei, 0.25)
    assert set(recall) == {1, 2, 255}
    # The second point lies between: 10.5 from the second nucleus, 9.5 from the third.
    assert recall[1].tolist() == [1, 3]
    assert recall[2].tolist() == [2]
    assert recall[255].tolist() == [0]


def test_what_covers_a_point_counts_before_what_is_nearer_with_its_centre():
    labels = np.zeros((30, 160), np.int32)
    labels[5:25, 5:80] = 1  # its centre is at x 42.5
    labels[5:25, 80:90] = 2  # its centre is at x 85
    image = pointed([(15.0, 79.5)], [1])
    assert point_recall(image, found(labels, [1, 2]), 0.25)[1].tolist() == [1]


def test_near_is_three_micrometres():
    nuclei = found(squares(1), [2])  # its centre is (14, 8)
    image = pointed([(14.0, 19.5), (14.0, 20.5)], [2, 2])
    assert point_recall(image, nuclei, 0.25)[2].tolist() == [2, 0]
    assert point_recall(image, nuclei, 0.5)[2].tolist() == [0, 0]


def test_no_points_no_nuclei_and_points_on_the_border_are_no_error():
    nothing = found(squares(0), [])
    assert point_recall(pointed([], []), nothing, 0.25) == {}
    assert point_recall(pointed([], []), found(squares(1), [1]), 0.25) == {}
    image = pointed([(0.0, 0.0), (30.0, 160.0)], [3, 3])
    assert point_recall(image, nothing, 0.25)[3].tolist() == [0, 0]
    plain = Nuclei.from_labels(squares(1))[0]
    assert point_recall(pointed([(14, 8)], [1]), plain, 0.25)[1].tolist() == [0]


# ---- folders


class Squares:
    """Finds what is dark; the class goes by the column."""

    info = ModelInfo(
        name="squares",
        title="",
        capabilities=("automatic",),
        classes=PANNUKE,
        working_mpp=0.25,
        tile=256,
        halo=16,
        click_tile=256,
        licence="",
        source="bundled",
    )
    digest = "0" * 64

    def calibrate(self, samples, mpp):
        return Calibration(1.0, mpp)

    def segment(self, tile, calibration=None):
        labels = (tile.rgb.min(axis=-1) < 150).astype(bool)
        nuclei, _ = Nuclei.from_labels(labels)
        prob = np.zeros((len(nuclei), 5), np.float32)
        prob[np.arange(len(nuclei)), (nuclei.boxes[:, 1] // 20) % 5] = 1
        return Nuclei(nuclei.boxes, nuclei.masks, nuclei.score, prob)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five nuclei named 1 to 5, their merged classes, and points on them in another picture."""
    root = tmp_path / "annotated"
    root.mkdir()
    labels = squares(5)
    rgb = np.where(labels[..., None] > 0, (60, 40, 100), (230, 180, 210)).astype(np.uint8)
    Image.fromarray(rgb).save(root / "a.png")
    Image.fromarray(labels.astype(np.uint16)).save(root / "a_inst.png")
    merged = np.array([0, 3, 2, 2, 1, 3], np.uint8)  # epithelial, inflammatory twice, other, epi
    Image.fromarray(merged[labels]).save(root / "a_cls.png")
    Image.fromarray(rgb).save(root / "b.png")
    rows = ["x,y,class", "7,13,tumor_any", "27,13,tumor_any", "150,13,tumor_any", "47,13,sTIL"]
    (root / "b_points.csv").write_text("\n".join([*rows, "67,13,other_nucleus"]) + "\n")
    Image.fromarray(rgb).save(root / "c.png")  # no annotation
    monkeypatch.setattr(zoo, "load_model", lambda name, device, weights: Squares())
    return root


def scores(folder, *names, mpp=0.25):
    return evaluate_classes(folder, "squares", mpp, names, "cpu", None)


def test_a_folder_has_f1_of_its_outlines_and_recall_of_its_points(folder):
    result = scores(folder)
    # Nuclei are named 1..5; the truth is epithelial, inflammatory twice, other, epithelial.
    assert result["f1"] == {
        "inflammatory": pytest.approx(2 / (2 + 2), abs=1e-4),
        "epithelium": 1.0,
        "connective": 0.0,
    }
    points = result["points"]
    assert list(points) == ["neoplastic", "inflammatory", "other"]
    assert points["neoplastic"]["points"] == 3
    assert points["neoplastic"]["found"] == pytest.approx(2 / 3, abs=1e-4)
    assert points["neoplastic"]["named"] == {
        "neoplastic": pytest.approx(1 / 3, abs=1e-4),
        "inflammatory": pytest.approx(1 / 3, abs=1e-4),
        "connective": 0.0,
        "dead": 0.0,
        "epithelial": 0.0,
    }
    assert points["other"]["named"]["dead"] == 1.0
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_images_are_chosen_by_name(folder):
    assert scores(folder, "a")["points"] == {}
    assert scores(folder, "b")["f1"] == {}
    assert set(scores(folder, "b")["points"]) == {"neoplastic", "inflammatory", "other"}


def test_scores_that_are_not_defined_are_none(folder):
    Image.new("L", (160, 30)).save(folder / "a_cls.png")
    assert scores(folder, "a")["f1"] == {
        "inflammatory": None,
        "epithelium": None,
        "connective": None,
    }


@pytest.mark.parametrize("names", [("a", "z"), ("c",), ("z",)])
def test_a_name_that_is_not_there_is_refused(folder, names):
    with pytest.raises(ImageError, match=rf"annotated.*'{names[-1]}'"):
        scores(folder, *names)


def test_folders_without_annotation_are_refused(folder, tmp_path):
    with pytest.raises(ImageError, match="nowhere: no such folder"):
        scores(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(ImageError, match=r"bare.*NAME_cls\.png"):
        scores(bare)
    with pytest.raises(ImageError, match="--mpp"):
        scores(folder, mpp=0.0)


def test_a_bad_file_is_refused_before_a_model_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(zoo, "load_model", lambda *_: pytest.fail("a model was loaded"))
    (folder / "b_points.csv").write_text("x,y,class\n5,up,sTIL\n")
    with pytest.raises(LabelsError, match=r"b_points\.csv"):
        scores(folder)
    (folder / "a_inst.png").unlink()
    with pytest.raises(LabelsError, match=r"a_inst\.png"):
        scores(folder, "a")


def test_a_model_that_is_not_there_is_refused(folder, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ModelError, match="'uninuc-giga'"):
        evaluate_classes(folder, "uninuc-giga", 0.25, (), "cpu", None)
