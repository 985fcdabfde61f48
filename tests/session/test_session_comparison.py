"""Comparing a document with another model: agreement, proposals, the picture and the queue."""

import numpy as np
import pytest
from session_helpers import STORES, batch, block, make_document

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.outlines import INTERIOR
from napari_nucleus.errors import LabelsError
from napari_nucleus.session import actions
from napari_nucleus.session.agreement import agreement, differ
from napari_nucleus.session.agreement_raster import AgreementRaster, Band, band_of
from napari_nucleus.session.comparison import Comparison, Tally
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.review import ReviewQueue
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusState

SHAPE = (60, 200)
WHOLE = (0, 0, *SHAPE)
SAME, SHIFTED, ALONE, FAR = (
    (10, 10, 22, 22),
    (10, 50, 22, 62),
    (10, 90, 22, 102),
    (40, 150, 52, 162),
)
OTHER = MadeBy("other", "0" * 64, "test", PANNUKE)
NEOPLASTIC, INFLAMMATORY, EPITHELIAL = 1, 2, 5


def classes(*ids):
    return np.eye(5)[np.array(ids, int) - 1]


def compared(make, theirs, their_classes, core=WHOLE, **options):
    """Return three epithelial nuclei, and their comparison with what ``other`` found."""
    document = make_document(SHAPE, 16, store=make(SHAPE, 16))
    ours = batch(SAME, SHIFTED, ALONE, class_prob=classes(5, 5, 5), score=[0.9, 0.9, 0.9])
    with document.run("Segment image") as run:
        run.add_tile(WHOLE, ours)
    comparison = Comparison(document, OTHER, **options)
    found = batch(*theirs, class_prob=classes(*their_classes), source="other", score=None)
    comparison.add_tile(core, found)
    return document, comparison


THEIRS = [SAME, (10, 55, 22, 67), FAR], [INFLAMMATORY, EPITHELIAL, INFLAMMATORY]
"""The same nucleus of another class, one moved by nearly half its width, and one of their own."""


@pytest.fixture(params=STORES.args[1], ids=lambda make: make.__name__)
def both(request):
    document, comparison = compared(request.param, *THEIRS)
    return document, comparison, finished(comparison.note_in_steps())


def test_agreement_is_noted_as_one_step_that_changes_nothing_else(both):
    document, _, result = both
    before = [(row.box, row.class_id, row.state) for row in document.rows()]
    assert [row.agreement for row in document.rows()] == [0.5, pytest.approx(7 / 17), 0.0]
    assert document.history.undo_name == "Compare with other"
    assert result.message == (
        "other agrees on 0 of 3 nuclei; 1 of another class; 1 with another outline; "
        "1 it did not find; 1 only it found."
    )
    assert OTHER in document.models
    document.undo()
    assert [row.agreement for row in document.rows()] == [None] * 3
    assert [(row.box, row.class_id, row.state) for row in document.rows()] == before


def test_what_the_user_touched_keeps_its_state_and_its_class():
    document, comparison = compared(MemoryStore, *THEIRS)
    actions.classify(document, [1], 3)
    finished(comparison.note_in_steps())
    row = document.row(1)
    assert (row.state, row.class_id, row.agreement) == (NucleusState.USER, 3, 0.5)


def test_classes_are_counted_and_follow_corrections(both):
    document, comparison, _ = both
    assert comparison.classes() == {(EPITHELIAL, INFLAMMATORY): 1}
    assert comparison.ids_of_classes(EPITHELIAL, INFLAMMATORY) == [1]
    assert comparison.their_class(1) == INFLAMMATORY
    assert comparison.their_class(2) is None, "its outline is too different"
    actions.classify(document, [1], INFLAMMATORY)
    comparison.follow(SAME)
    assert comparison.tally() == Tally(1, 0, 1, 1, 1)
    actions.remove(document, [3])
    comparison.follow(ALONE)
    assert comparison.tally() == Tally(1, 0, 1, 0, 1)
    document.undo()
    comparison.follow(ALONE)
    assert comparison.tally().alone == 1


def test_classes_that_nobody_tells_apart_do_not_contradict():
    assert differ(1, 5)
    assert not differ(1, 5, {1, 5})
    assert differ(1, 2, {1, 5})
    assert not differ(0, 2)
    assert agreement(0.8, classes_differ=True) == 0.4
    document, comparison = compared(MemoryStore, [SAME], [NEOPLASTIC], alike=(1, 5))
    finished(comparison.note_in_steps())
    assert document.row(1).agreement == 1.0
    assert comparison.tally().same == 1


def test_nuclei_at_the_edge_of_what_was_looked_at_and_those_in_closed_regions_are_left_out(both):
    document, comparison = compared(MemoryStore, [], [], core=(0, 0, 60, 55))
    finished(comparison.note_in_steps())
    assert [row.agreement for row in document.rows()] == [0.0, None, None]
    document = both[0]
    actions.exclude(document, [[(0, 0), (0, 30), (30, 30), (30, 0)]], remove_nuclei=False)
    again = Comparison(document, MadeBy("third", classes=PANNUKE))
    again.add_tile(WHOLE, batch(FAR, (30, 5, 42, 17), class_prob=classes(2, 2)))
    finished(again.note_in_steps())
    assert [row.agreement for row in document.rows()] == [0.5, 0.0, 0.0]
    assert len(again.proposals) == 2
    assert again.tally().alone == 2


def test_a_tile_in_pieces_gives_the_same():
    whole, comparison = compared(MemoryStore, *THEIRS)
    finished(comparison.note_in_steps())
    pieces, comparison = compared(MemoryStore, [SAME], [INFLAMMATORY], core=(0, 0, 60, 55))
    rest = batch(*THEIRS[0][1:], class_prob=classes(*THEIRS[1][1:]), source="other")
    comparison.add_tile((0, 55, 60, 200), rest)
    finished(comparison.note_in_steps())
    assert [r.agreement for r in pieces.rows()] == [r.agreement for r in whole.rows()]


def test_a_nucleus_that_changed_meanwhile_notes_nothing():
    document, comparison = compared(MemoryStore, *THEIRS)
    actions.refine(document, 1, block(10, 10, 20, 20))
    actions.remove(document, [3])
    finished(comparison.note_in_steps())
    assert [row.agreement for row in document.rows()] == [None, pytest.approx(7 / 17)]
    assert comparison.tally().alone == 0


def test_classes_that_are_not_the_models_are_refused():
    document = make_document(SHAPE, 16, store=MemoryStore(SHAPE, 16))
    comparison = Comparison(document, OTHER)
    with pytest.raises(LabelsError, match="3 class columns"):
        comparison.add_tile(WHOLE, batch(SAME, class_prob=np.ones((1, 3))))


def test_any_number_of_nuclei_is_compared():
    shape = (80, 40_000)
    document = make_document(shape, 512, store=MemoryStore(shape, 512))
    boxes = [(10, x, 20, x + 10) for x in range(0, 39_990, 16)]
    with document.run("Segment image") as run:
        run.add_tile((0, 0, *shape), batch(*boxes))
    comparison = Comparison(document, MadeBy("other"))
    comparison.add_tile((0, 0, *shape), batch(*boxes[::2], source="other"))
    finished(comparison.note_in_steps())
    known = [row.agreement for row in document.rows()]
    assert known == [1.0, 0.0] * (len(boxes) // 2) + [1.0] * (len(boxes) % 2)
    assert comparison.tally() == Tally(-(-len(boxes) // 2), 0, 0, len(boxes) // 2, 0)


# ---- proposals


def test_a_proposal_is_taken_as_an_accepted_nucleus_and_open_again_when_undone(both):
    document, comparison, _ = both
    proposals = comparison.proposals
    assert proposals.ids.tolist() == [-1]
    assert proposals.at((45.5, 155.5)) == -1
    assert proposals.at((5.5, 155.5)) is None
    assert proposals.describe(-1) == "Only other found this: inflammatory, score 1.00"
    result = finished(proposals.take_in_steps([-1], NucleusState.ACCEPTED))
    row = document.row(result.ids[0])
    assert (row.box, row.class_id, row.source) == (FAR, INFLAMMATORY, "other")
    assert (row.state, row.agreement) == (NucleusState.ACCEPTED, 0.0)
    assert document.history.undo_name == "Add nucleus of other"
    comparison.follow(FAR)
    assert len(proposals) == 0
    assert proposals.at((45.5, 155.5)) is None
    document.undo()
    comparison.follow(FAR)
    assert proposals.is_open(-1)
    proposals.dismiss(-1)
    assert not proposals.is_open(-1)


def test_a_proposal_whose_place_is_taken_is_closed_and_changes_no_neighbour(both):
    document, comparison, _ = both
    actions.add(document, block(40, 150, 52, 155))
    before = document.labels()
    comparison.follow(FAR)
    assert comparison.proposals.is_open(-1), "less than half of it is taken"
    finished(comparison.proposals.take_in_steps([-1], NucleusState.AUTOMATIC))
    after = document.labels()
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    assert document.rows()[-1].box == (40, 155, 52, 162)
    document.undo()
    actions.add(document, block(40, 155, 52, 158))
    comparison.follow(FAR)
    assert not comparison.proposals.is_open(-1)


def test_the_queue_holds_proposals_by_how_sure_the_other_model_is(both):
    document, comparison, _ = both
    queue = ReviewQueue(document)
    assert queue.remaining == 3
    queue.propose(comparison.proposals)
    assert queue.remaining == 4
    order = [queue.step(None)]
    while (following := queue.step(order[-1])) is not None:
        order.append(following)
    assert order == [3, -1, 2, 1]
    comparison.proposals.dismiss(-1)
    assert queue.step(3) == 2
    queue.propose(None)
    assert queue.remaining == 3


# ---- the picture


def test_the_picture_shows_bands_and_at_every_level_proposals(both):
    document, comparison, _ = both
    raster = AgreementRaster(document, comparison.proposals)
    assert not raster.draw((0, 0, 60, 140)).any(), "nothing is read yet"
    assert list(raster.read_in_steps())
    picture = raster.draw(WHOLE)
    at = {
        name: picture[box[0], box[1]]
        for name, box in zip("sdaf", (SAME, SHIFTED, ALONE, FAR), strict=True)
    }
    assert at == {"s": Band.NEAR, "d": Band.APART, "a": Band.ALONE, "f": Band.PROPOSED}
    assert picture[15, 15] == Band.NEAR + INTERIOR
    assert picture[45, 155] == Band.PROPOSED + INTERIOR
    np.testing.assert_array_equal(raster.draw((8, 40, 55, 160)), picture[8:55, 40:160])
    assert raster.mark(-1, 253) == [FAR]
    assert raster.draw(FAR)[0, 0] == 253
    assert raster.mark(None, 253) == [FAR]
    small = raster.draw((8, 35, 15, 50), 2)
    np.testing.assert_array_equal(small > 0, (picture > 0)[34::4, 142::4])
    assert small.any()


@pytest.mark.parametrize(
    ("agreement", "band"),
    [(None, 0), (0.0, Band.ALONE), (0.49, Band.APART), (0.5, Band.NEAR), (0.75, Band.CLOSE)],
)
def test_the_bands(agreement, band):
    assert band_of(agreement) == band


@STORES
def test_a_second_run_notes_a_contradiction_of_classes(make):
    document = make_document(SHAPE, 16, store=make(SHAPE, 16))
    with document.run("Segment image") as run:
        run.add_tile(WHOLE, batch(SAME, SHIFTED, class_prob=classes(5, 5)))
    theirs = batch(SAME, SHIFTED, class_prob=classes(2, 1), source="other")
    with document.run("Segment image", made_by=OTHER, alike=(1, 5)) as run:
        run.add_tile(WHOLE, theirs)
    assert [row.agreement for row in document.rows()] == [0.5, 1.0]
