"""The NuNext nano that ships: it finds nuclei with and without its map, and none on glass."""

from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.core.metrics import DetectionTable, detection_f1, detection_radius
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, GuidedDetector
from napari_nucleus.sample_data.fields import load_field

PLAIN = Calibration(1.0, 0.25)
SIDE = 256


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("nunext-nano", "cpu")


def f1(true: np.ndarray, points: Points) -> float:
    none = [np.zeros(len(yx), int) for yx in (true, points.yx)]
    table = DetectionTable.of(true, none[0], points.yx, none[1], detection_radius(0.25))
    return detection_f1(table)


def test_nuclei_are_found_with_the_map_and_without(model) -> None:
    detector = model.detector
    assert isinstance(detector, GuidedDetector)
    with_map, alone = [], []
    for name in ("tumour", "crypts", "lymphoid"):
        field = load_field(name)
        tile = Tile(np.ascontiguousarray(field.rgb[:SIDE, :SIDE]), Frame(mpp=field.spec.mpp))
        true = Nuclei.from_labels(field.labels[:SIDE, :SIDE])[0].centroids_yx
        calibration = model.calibrate([tile], field.spec.mpp)
        guided = detector.detect(tile, calibration)
        assert np.allclose(guided.class_prob.sum(1), 1, atol=1e-3)
        with_map.append(f1(true, guided))
        alone.append(f1(true, detector.with_bias(0).detect(tile, calibration)))
    assert min(with_map) > 0.7
    assert np.mean(alone) > 0.5


@pytest.mark.parametrize("grey", [255, 240])
def test_glass_has_no_nuclei(model, grey) -> None:
    noise = np.random.default_rng(0).normal(grey, 1.0, (SIDE, SIDE, 3))
    tile = Tile(noise.clip(0, 255).astype(np.uint8), Frame(mpp=0.25))
    assert len(model.detect(tile, PLAIN)) == 0
    assert len(model.detector.with_bias(0).detect(tile, PLAIN)) == 0
    assert len(model.detector.peaks(tile, PLAIN)) == 0
