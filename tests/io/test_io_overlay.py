from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.outlines import class_outline
from napari_nucleus.core.progress import Cancel
from napari_nucleus.errors import AnnotationError, CancelledError, LabelsError
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.overlay import draw_overlay, write_overlay
from napari_nucleus.io.results import result_of_labels


def grey(shape: tuple[int, int], value: int = 200) -> ArraySource:
    return ArraySource(np.full((*shape, 3), value, np.uint8))


def test_outlines_have_the_colour_of_the_class_and_the_rest_is_the_image(result):
    drawn = draw_overlay(grey(result.shape), result)
    assert drawn.shape == (40, 60, 3)
    assert drawn[5, 5].tolist() == [230, 85, 13]
    assert drawn[6, 6].tolist() == [200, 200, 200]
    assert drawn[20, 20].tolist() == [0, 200, 83]
    # A class that the scheme does not have looks unclassified.
    assert drawn[30, 57].tolist() == [1, 2, 3]
    assert drawn[0, 0].tolist() == [200, 200, 200]


def test_nuclei_at_the_edge_of_the_image_are_closed(result):
    assert draw_overlay(grey(result.shape), result)[39, 57].tolist() == [1, 2, 3]


def test_the_image_itself_is_not_drawn_on(result):
    source = grey(result.shape)
    draw_overlay(source, result)
    assert (source.array == 200).all()


@pytest.mark.parametrize("shape", [(400, 300), (300, 401), (1, 400)])
def test_large_images_are_shown_smaller(shape):
    labels = np.zeros(shape, int)
    labels[:, 100:200] = 1
    picture = np.zeros((*shape, 3), np.uint8)
    picture[:, ::2] = 100
    result = result_of_labels(labels, PANNUKE, {1: 1})
    drawn = draw_overlay(ArraySource(picture), result, largest_side=100)
    assert max(drawn.shape) <= 100
    background = drawn[drawn.shape[0] // 2, 2].astype(int)
    assert np.abs(background - 50).max() <= 10
    if shape[0] > 100:
        factor = -(-max(shape) // 100)
        assert drawn[20, 100 // factor].tolist() == [230, 85, 13]


def test_reduction_in_strips_equals_reduction_at_once(result, monkeypatch):
    rng = np.random.default_rng(0)
    source = ArraySource(rng.integers(0, 256, (*result.shape, 3)).astype(np.uint8))
    whole = draw_overlay(source, result, 20)
    reads = []

    class Counting(ArraySource):
        def read(self, box):
            reads.append(box)
            return super().read((*box[:2], *box[2:]))

    monkeypatch.setattr("napari_nucleus.io.formats.overlay.STRIP_PIXELS", 400)
    np.testing.assert_array_equal(draw_overlay(Counting(source.array), result, 20), whole)
    assert len(reads) > 1


def test_labels_of_another_size_than_the_image_are_refused(result):
    with pytest.raises(LabelsError, match="60 x 40 pixels, the image 50 x 30"):
        draw_overlay(grey((30, 50)), result)


def test_the_file_is_a_png(tmp_path, result):
    write_overlay(tmp_path / "a.png", result, Export(source=grey(result.shape)))
    picture = Image.open(tmp_path / "a.png")
    assert picture.format == "PNG"
    np.testing.assert_array_equal(np.asarray(picture), draw_overlay(grey(result.shape), result))


def test_a_fault_of_the_disk_leaves_the_file_as_it_was(
    tmp_path, result, unwritable, assert_untouched
):
    with pytest.raises(AnnotationError, match=f"a.png could not be written .{unwritable}"):
        write_overlay(tmp_path / "out" / "a.png", result, Export(source=grey(result.shape)))
    assert_untouched()


def test_a_reduced_outline_lies_where_the_middle_of_a_block_does():
    labels = np.zeros((400, 400), int)
    labels[:, 102:300] = 1
    drawn = draw_overlay(grey((400, 400)), result_of_labels(labels, PANNUKE, {1: 1}), 100)
    assert drawn[50, 24:27].tolist() == [[200] * 3, [230, 85, 13], [200] * 3]


@pytest.mark.parametrize("shape", [(400, 300), (301, 407), (1, 400), (399, 2)])
def test_labels_of_large_images_are_read_strip_by_strip(shape, monkeypatch):
    monkeypatch.setattr("napari_nucleus.io.formats.overlay.STRIP_PIXELS", 4000)
    monkeypatch.setattr("napari_nucleus.io.label_planes.READ_SIDE", 64)
    rng = np.random.default_rng(1)
    labels = np.kron(rng.integers(0, 9, (150, 150)), np.ones((3, 3), int))[: shape[0], : shape[1]]
    result = result_of_labels(labels, PANNUKE, dict.fromkeys(range(9), 1))
    read = []

    def reading(box):
        read.append((box[2] - box[0]) * (box[3] - box[1]))
        return result.reading(box)

    told = []
    drawn = draw_overlay(
        grey(shape), replace(result, reading=reading), 100, Export(progress=told.append)
    )
    factor = -(-max(shape) // 100)
    middle = labels[factor // 2 :: factor, factor // 2 :: factor]
    middle = middle[: drawn.shape[0], : drawn.shape[1]]
    ones = np.ones(9, int)
    outline = class_outline(middle, ones, image_edges=(True, True, True, True)) > 0
    seen = (drawn != 200).any(axis=2)
    np.testing.assert_array_equal(seen[: middle.shape[0], : middle.shape[1]], outline)
    assert max(read, default=0) <= 64 * 64
    assert told[-1].fraction == 1


def test_drawing_can_be_cancelled(result):
    cancel = Cancel()
    cancel.set()
    with pytest.raises(CancelledError):
        draw_overlay(grey(result.shape), result, export=Export(cancel=cancel))
