"""Annotation files that enter documents: what is checked, mapped and told."""

from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.classes import PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_labels, of_masks
from napari_nucleus.io.importing import (
    import_annotations,
    import_annotations_in_steps,
    incoming_from,
)
from napari_nucleus.session.document import Document
from napari_nucleus.session.import_policy import ImportPolicy
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusState

SHAPE = (40, 60)


def document(scheme: ClassScheme = PANNUKE, mpp: float | None = 0.25) -> Document:
    return Document(MemoryStore(SHAPE, 16), scheme, mpp)


def squares(*places, stated: Stated | None = None) -> AnnotationFile:
    """Squares of 5 x 5 pixels."""
    masks = [np.ones((5, 5), bool)] * len(places)
    return of_masks("cells.json", masks, places, stated or Stated())


def test_everything_that_a_file_states_of_a_nucleus_is_in_its_row():
    stated = Stated(ids=[70_000, 3], classes=["Neoplastic", None], scores=[0.25, np.nan])
    paper = document()
    result = import_annotations(paper, squares((1, 1), (20, 30), stated=stated))
    assert result.message == "2 nuclei imported."
    first, second = paper.rows([70_000, 3])
    assert (first.class_id, first.class_prob, first.score) == (1, (), 0.25)
    assert (second.class_id, second.score) == (0, 1.0)
    assert first.state is NucleusState.IMPORTED
    assert first.source == "import"


def test_ids_that_the_file_does_not_state_are_new():
    paper = document()
    import_annotations(paper, squares((1, 1)))
    assert import_annotations(paper, squares((10, 10)), ImportPolicy.REPLACE).ids == (2,)


def test_classes_are_mapped_by_name_synonym_and_the_users_word():
    scheme = ClassScheme(
        "own",
        (NucleusClass(4, "Tumour", (1, 2, 3)), NucleusClass(7, "immune", (4, 5, 6))),
        taken_in=(("mitosis", 4), ("debris", 0)),
    )
    names = ["neoplastic", "lymphocyte", "mitosis", "debris", "tumour", "glia", "glia"]
    file = squares(*[(1, 7 * i) for i in range(7)], stated=Stated(classes=names))
    paper = document(scheme)
    result = import_annotations(paper, file)
    assert [row.class_id for row in paper.rows()] == [4, 7, 4, 0, 4, 0, 0]
    assert result.message == (
        "7 nuclei imported; 2 of class 'glia', 1 of class 'debris' have no such class here and "
        "are unclassified."
    )


def test_many_classes_without_a_counterpart_are_counted():
    names = [f"kind {i}" for i in range(6)]
    file = squares(*[(1, 7 * i) for i in range(6)], stated=Stated(classes=names))
    notes = incoming_from(file, SHAPE, PANNUKE).notes
    assert len(notes) == 1
    assert "1 of class 'kind 2' and 3 of 3 others have no such class" in notes[0]


def test_a_file_of_an_image_of_another_size_is_refused_with_both_sizes():
    labels = np.zeros((41, 60), int)
    labels[1:5, 1:5] = 1
    paper = document()
    with pytest.raises(AnnotationError, match=r"case\.tif: .*60 x 41 pixels.*60 x 40; nothing"):
        import_annotations(paper, of_labels("case.tif", labels, Stated()))
    assert paper.count == 0
    assert paper.history.undo_name is None


def test_a_file_whose_nuclei_all_lie_outside_is_refused_with_the_place():
    paper = document()
    with pytest.raises(AnnotationError, match=r"cells\.json: .*x 900 to 965 and y 100 to 105 of 6"):
        import_annotations(paper, squares((100, 900), (100, 960)))
    with pytest.raises(AnnotationError, match="outside the image"):
        import_annotations_in_steps(paper, squares((-50, 0)), ImportPolicy.REPLACE)
    assert paper.count == 0


def test_a_file_without_nuclei_is_no_step():
    result = import_annotations(document(), squares())
    assert (result.action_id, result.message) == (None, "0 nuclei imported.")


@pytest.mark.parametrize(("theirs", "told"), [(0.5, True), (0.2525, False), (None, False)])
def test_another_pixel_size_is_told(theirs, told):
    file = squares((1, 1), stated=Stated(mpp=theirs))
    message = import_annotations(document(), file).message
    assert ("states 0.5 µm per pixel and the image has 0.25" in message) is told
    assert "scale" not in import_annotations(document(mpp=None), file).message


def test_steps_do_the_same():
    paper = document()
    import_annotations(paper, squares((1, 1)))
    steps = import_annotations_in_steps(paper, squares((1, 2)), ImportPolicy.MERGE)
    assert finished(steps).ids == (1,)
    assert paper.row(1).box == (1, 2, 6, 7)
