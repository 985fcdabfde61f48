"""Regions: their shapes, signing off and excluding, and where a run may work."""

import numpy as np
import pytest
from session_helpers import (
    STORES,
    FailingStore,
    batch,
    block,
    check_consistent,
    make_document,
    seen_region,
)
from session_helpers import snapshot as whole

from napari_nucleus.errors import CancelledError, EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.codec import decode_edit, encode_edit
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit, RegionChange
from napari_nucleus.session.marking import Marking
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.regions import (
    Ground,
    Region,
    RegionKind,
    region_at,
    signed_off_share,
    tidy_polygons,
)
from napari_nucleus.session.review import ReviewProgress, ReviewQueue
from napari_nucleus.session.table import NucleusState

SHAPE = (60, 600)
LEFT = [[0, 0], [0, 200], [60, 200], [60, 0]]
MIDDLE = [[0, 200], [0, 400], [60, 400], [60, 200]]


def square(y0, x0, y1, x1):
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], float)


def region(*polygons, kind=RegionKind.REVIEWED, number=1, shape=(100, 100)):
    return Region(number, kind, tidy_polygons(polygons, shape))


def found(make, tile_size=64, scores=None):
    """A document with 29 automatic nuclei in a row, 20 pixels apart."""
    document = make_document(SHAPE, store=make(SHAPE, tile_size))
    boxes = [(10, 20 * i + 4, 22, 20 * i + 16) for i in range(29)]
    with document.run("Segment image") as run:
        run.add_tile((0, 0, *SHAPE), batch(*boxes, score=scores or [0.9] * 29))
    return document


def states(document):
    return [row.state for row in document.rows()]


# ---- shapes


def test_a_region_knows_its_points_box_and_area():
    corner = region(square(10, 20, 30, 60))
    points = np.array([[20, 40], [9, 40], [29.9, 59.9], [20, 61]])
    assert corner.contains(points).tolist() == [True, False, True, False]
    assert corner.contains(np.zeros((0, 2))).shape == (0,)
    assert corner.box == (10, 20, 30, 60)
    assert corner.area == 800
    assert corner.meets((25, 55, 90, 90))
    assert not corner.meets((30, 0, 90, 90)), "edges that touch share nothing"


def test_what_lies_beyond_the_image_does_not_count():
    over = region(square(-50, -50, 10, 10), square(90, 90, 300, 300))
    assert over.area == 200
    assert over.box == (0, 0, 100, 100)


def test_polygons_that_overlap_count_once():
    assert region(square(0, 0, 20, 20), square(10, 0, 30, 20)).area == 600


def test_a_bow_tie_is_both_of_its_wings():
    bow = region([[0, 0], [40, 40], [0, 40], [40, 0]])
    assert bow.area == pytest.approx(800)
    assert bow.contains(np.array([[20, 30], [20, 10], [5, 20]])).tolist() == [True, True, False]


def test_a_star_drawn_in_one_stroke_includes_its_middle():
    angle = np.arange(5) * 4 * np.pi / 5
    star = region(50 + 40 * np.stack([np.sin(angle), np.cos(angle)], axis=1))
    assert star.contains(np.array([[50.0, 50.0]])).all()


def test_a_ring_keeps_its_hole_although_polygons_have_none():
    turn = np.linspace(0, 2.2 * np.pi, 80)[:, None]
    circle = np.concatenate([np.sin(turn), np.cos(turn)], axis=1)
    ring = region(np.concatenate([50 + 40 * circle, 50 + 20 * circle[::-1]]))
    inside = ring.contains(np.array([[50, 50], [50, 80], [20, 50], [50, 65]]))
    assert inside.tolist() == [False, True, True, False]
    assert ring.area == pytest.approx(np.pi * (40**2 - 20**2), rel=0.01)


@pytest.mark.parametrize(
    "polygons",
    [
        [],
        [[[1, 1], [5, 5]]],
        [[[1, 1], [5, 5], [9, 9]]],
        [square(200, 200, 300, 300)],
        [[[1, 1], [np.nan, 5], [9, 9]]],
        [[1, 2, 3]],
    ],
)
def test_what_encloses_nothing_is_refused_in_words(polygons):
    document = make_document()
    for act in (actions.sign_off, lambda *a: actions.exclude(*a, remove_nuclei=True)):
        with pytest.raises(EditRefusedError, match="nothing was changed"):
            act(document, polygons)
    assert document.regions == ()
    assert document.history.undo_name is None


def test_the_smallest_region_under_a_point_is_meant():
    large, small = region(square(0, 0, 50, 50)), region(square(10, 10, 20, 20), number=2)
    assert region_at((large, small), (15, 15)) is small
    assert region_at((large, small), (45, 15)) is large
    assert region_at((large, small), (80, 80)) is None


# ---- actions


@STORES
def test_signing_off_accepts_what_lies_inside_as_one_step(make):
    document = found(make)
    document.store.annotator = "A. Pathologist"
    actions.remove(document, [1])
    before = whole(document)
    result = actions.sign_off(document, [LEFT], note="checked", made="2026-03-01T10:00:00+00:00")
    assert result.ids == tuple(range(2, 11)), "by the centroid"
    assert states(document)[:9] == [NucleusState.ACCEPTED] * 9
    assert set(states(document)[9:]) == {NucleusState.AUTOMATIC}
    (noted,) = document.regions
    assert (noted.kind, noted.note, noted.annotator) == ("reviewed", "checked", "A. Pathologist")
    assert noted.made == "2026-03-01T10:00:00+00:00"
    assert result.message == "Region signed off, 9 nuclei accepted."
    assert document.history.undo_name == "Sign off region"
    check_consistent(document)
    after = whole(document)
    document.undo()
    assert whole(document) == before
    document.redo()
    assert whole(document) == after


@STORES
def test_nuclei_of_the_user_stay_the_users_when_signed_off(make):
    document = found(make)
    mine = actions.add(document, block(40, 10, 50, 20)).ids[0]
    result = actions.sign_off(document, [LEFT])
    assert mine not in result.ids
    assert document.row(mine).state is NucleusState.USER


@STORES
@pytest.mark.parametrize("remove", [True, False])
def test_excluding_removes_untouched_nuclei_only_if_asked_to(make, remove):
    document = found(make)
    mine = actions.add(document, block(40, 10, 50, 20)).ids[0]
    before = whole(document)
    result = actions.exclude(document, [LEFT], remove_nuclei=remove)
    assert result.removed == (tuple(range(1, 11)) if remove else ())
    assert document.count == (20 if remove else 30)
    assert mine in document
    assert document.regions[0].kind is RegionKind.EXCLUDED
    check_consistent(document)
    document.undo()
    assert whole(document) == before


@STORES
def test_a_region_can_be_lifted_and_its_nuclei_stay_accepted(make):
    document = found(make)
    actions.sign_off(document, [LEFT])
    actions.exclude(document, [MIDDLE], remove_nuclei=False)
    assert [r.id for r in document.regions] == [1, 2]
    before = whole(document)
    assert actions.drop_region(document, 1).message == "Lifted the signed-off region."
    assert [r.id for r in document.regions] == [2]
    assert states(document)[0] is NucleusState.ACCEPTED
    with pytest.raises(EditRefusedError, match="Region 1 is not in the document"):
        actions.drop_region(document, 1)
    document.undo()
    assert whole(document) == before


@STORES
def test_what_shows_regions_is_told_and_what_shows_nuclei_is_not(make):
    document, told, boxes = found(make), [], []
    document.regions_changed.connect(lambda: told.append(document.regions))
    document.changed.connect(lambda box, kinds: boxes.append(kinds))
    actions.exclude(document, [LEFT], remove_nuclei=False)
    document.undo()
    document.redo()
    assert [len(regions) for regions in told] == [1, 0, 1]
    assert boxes == []
    actions.sign_off(document, [MIDDLE])
    assert set().union(*boxes) == {"table"}
    actions.accept(document, [29])
    assert len(told) == 4
    assert document.regions is document.regions, "nothing is read again while nothing changes"


def test_a_large_region_comes_in_many_small_edits():
    document = make_document((3000, 3000), store=MemoryStore((3000, 3000)))
    boxes = [(y, x, y + 8, x + 8) for y in range(4, 2990, 100) for x in range(4, 2990, 100)]
    with document.run("Segment image") as run:
        run.add_tile((0, 0, 3000, 3000), batch(*boxes))
    marking = Marking.sign_off(document, [square(0, 0, 3000, 3000)])
    sizes = []

    def edits():
        for edit in marking.edits():
            sizes.append(len(edit.changes))
            yield edit

    document.commit(marking.name, edits())
    assert sum(sizes) == len(boxes) == len(marking.ids)
    assert max(sizes) < 50
    assert document.store.count_untouched() == 0
    document.undo()
    assert document.store.count_untouched() == len(boxes)


def test_pieces_of_a_region_leave_alone_what_the_user_did_meanwhile():
    """A viewer lets the user go on between two pieces; every step can be undone on its own."""
    document = make_document((40, 2000), store=MemoryStore((40, 2000)))
    with document.run("Segment image") as run:
        run.add_tile((0, 0, 40, 2000), batch(*[(5, x, 15, x + 10) for x in range(5, 1990, 100)]))
    start = whole(document)
    marking = Marking.exclude(document, [square(0, 0, 40, 2000)], remove_nuclei=True)
    run = document.run(marking.name)
    pieces = marking.edits(run.spared)
    run.extend(next(pieces))
    run.extend(next(pieces))
    last = int(document.ids[-1])
    actions.classify(document, [last], 3)
    actions.classify(document, [last - 1], 3)
    document.undo()
    for edit in pieces:
        run.extend(edit)
    run.close()
    assert document.ids.tolist() == [last - 1, last]
    check_consistent(document)
    document.redo()
    assert document.row(last - 1).class_id == 3
    for _ in range(3):
        document.undo()
    assert whole(document) == start


def test_an_undone_step_takes_no_more_pieces():
    document = found(MemoryStore)
    marking = Marking.sign_off(document, [square(0, 0, *SHAPE)])
    run = document.run(marking.name)
    pieces = marking.edits(run.spared)
    run.extend(next(pieces))
    document.undo()
    with pytest.raises(CancelledError):
        run.extend(next(pieces))
    assert document.regions == ()


def test_a_full_disk_in_the_middle_changes_nothing():
    store = FailingStore(SHAPE)
    document = Document(store)
    with document.run("Segment image") as run:
        run.add_tile((0, 0, *SHAPE), batch(*[(5, x, 15, x + 10) for x in range(5, 590, 20)]))
    before = whole(document)
    for writes in (0, 1, 5, 12):
        store.writes_left = writes
        with pytest.raises(OSError, match="disk full"):
            actions.sign_off(document, [LEFT])
        store.writes_left = 10**9
        assert whole(document) == before
        assert document.store.count_untouched() == 30


# ---- the journal


def test_regions_come_back_from_the_journal_to_the_last_bit():
    third = np.array([[1 / 3, 2 / 3], [1e-300, 50], [99.99999999999999, 7]])
    one = Region(3, RegionKind.EXCLUDED, (third, third + 1), "fold, 'x'", "Ä", "2026-01-01")
    two = Region(3, RegionKind.REVIEWED, (third,))
    edit = Edit(regions=(RegionChange(one, two), RegionChange(None, one), RegionChange(two, None)))
    again = decode_edit(encode_edit(edit))
    for was, now in zip(edit.regions, again.regions, strict=True):
        for a, b in ((was.before, now.before), (was.after, now.after)):
            assert (a is None) == (b is None)
            if a is not None:
                assert seen_region(a) == seen_region(b)
    assert decode_edit(encode_edit(edit.inverse())).regions[1].after is None
    with pytest.raises(ValueError, match="before or after"):
        RegionChange(None, None)


# ---- progress and the queue


@STORES
def test_progress_says_how_much_is_looked_at_and_signed_off(make):
    document = found(make)
    assert ReviewProgress.of(document) == ReviewProgress(0, 29, 0.0)
    actions.accept(document, [29])
    actions.sign_off(document, [LEFT])
    progress = ReviewProgress.of(document)
    assert (progress.looked_at, progress.nuclei) == (11, 29)
    assert progress.signed_off == pytest.approx(1 / 3)
    actions.exclude(document, [MIDDLE], remove_nuclei=True)
    progress = ReviewProgress.of(document)
    assert (progress.looked_at, progress.nuclei) == (11, 19)
    assert progress.signed_off == pytest.approx(1 / 2)
    document.undo()
    document.undo()
    document.undo()
    assert ReviewProgress.of(document) == ReviewProgress(0, 29, 0.0)


def test_what_is_signed_off_and_then_excluded_counts_neither_way():
    reviewed = region(square(0, 0, 100, 50))
    excluded = region(square(0, 0, 100, 25), kind=RegionKind.EXCLUDED, number=2)
    assert signed_off_share((reviewed, excluded), (100, 100)) == pytest.approx(1 / 3)
    everything = region(square(0, 0, 100, 100), kind=RegionKind.EXCLUDED)
    assert signed_off_share((everything,), (100, 100)) == 1.0


@STORES
def test_nuclei_come_back_into_the_queue_when_a_signing_off_is_undone(make):
    document = found(make, scores=np.linspace(0.1, 0.9, 29).tolist())
    actions.sign_off(document, [LEFT])
    queue = ReviewQueue(document)
    assert queue.step(None) == 11
    document.undo()
    assert queue.step(None) == 1


@STORES
def test_the_queue_passes_over_regions(make):
    document = found(make, scores=np.linspace(0.1, 0.9, 29).tolist())
    queue = ReviewQueue(document)
    assert queue.step(None) == 1
    actions.exclude(document, [LEFT], remove_nuclei=False)
    assert queue.step(None) == 11
    assert queue.remaining == 19
    actions.accept(document, [1, 29])
    assert queue.remaining == 18
    actions.sign_off(document, [MIDDLE])
    assert queue.step(None) == 21
    assert queue.step(21, forward=False) is None
    assert queue.remaining == 8
    document.undo()
    assert queue.step(None) == 11
    actions.exclude(document, [[[0, 0], [0, 600], [60, 600], [60, 0]]], remove_nuclei=False)
    assert queue.step(None) is None
    assert queue.remaining == 0


# ---- runs


@STORES
def test_a_run_leaves_excluded_and_signed_off_regions_as_they_are(make):
    document = found(make)
    actions.exclude(document, [LEFT], remove_nuclei=False)
    actions.sign_off(document, [MIDDLE])
    kept = [row for row in document.rows() if row.centroid_yx[1] < 400]
    boxes = [(30, x, 40, x + 10) for x in (50, 250, 450)]
    with document.run("Second run") as run:
        run.add_tile((0, 0, *SHAPE), batch(*boxes, source="other"))
    assert run.added == 1
    assert [row for row in document.rows() if row.id in {k.id for k in kept}] == kept
    new = [row for row in document.rows() if row.source == "other"]
    assert [row.centroid_yx for row in new] == [(35.0, 455.0)]
    assert document.count == len(kept) + 1, "what lay off the regions was replaced"
    check_consistent(document)


@STORES
def test_a_region_that_is_excluded_during_a_run_counts_from_then_on(make):
    document = make_document(SHAPE, store=make(SHAPE, 64))
    run = document.run("Segment image")
    run.add_tile((0, 0, 60, 100), batch((5, 5, 15, 15)))
    actions.exclude(document, [LEFT], remove_nuclei=True)
    run.add_tile((0, 100, 60, 300), batch((5, 105, 15, 115), (5, 205, 15, 215)))
    run.close()
    assert [row.box for row in document.rows()] == [(5, 205, 15, 215)]


@STORES
def test_a_run_in_a_drawn_region_replaces_nothing_beside_it(make):
    document = found(make)
    triangle = np.array([[0, 0], [0, 600], [60, 600]], float)
    with document.run("Segment region", (triangle,)) as run:
        run.add_tile((0, 0, *SHAPE), batch((30, 20, 40, 30), (30, 500, 40, 510)))
    ids = set(document.ids.tolist())
    assert {row.box for row in document.rows() if row.id > 29} == {(30, 500, 40, 510)}
    assert {1, 2, 3} <= ids, "they lie in the box around the region, not in it"
    assert 20 not in ids


def test_tiles_that_lie_off_the_ground_are_known():
    closed = (region(square(0, 0, 50, 100)), region(square(50, 0, 100, 40), number=2))
    ground = Ground((), closed)
    assert not ground.meets((0, 0, 50, 50))
    assert not ground.meets((25, 0, 75, 40)), "covered by two regions together"
    assert ground.meets((25, 0, 75, 41))
    triangle = Ground((np.array([[0, 0], [0, 100], [100, 100]], float),), closed[:1])
    assert not triangle.meets((60, 0, 90, 30)), "beside the polygon"
    assert triangle.meets((60, 60, 90, 90))
    assert not triangle.meets((0, 50, 20, 90)), "in the polygon, but closed"
    assert Ground().meets((0, 0, 5, 5))


# ---- two models


def two_runs(make, second, source="other"):
    document = found(make)
    with document.run("Second run") as run:
        run.add_tile((0, 0, *SHAPE), batch(*second, source=source))
    return document


@STORES
def test_nuclei_note_how_far_another_model_agrees(make):
    document = two_runs(make, [(10, 4, 22, 16), (10, 24, 22, 30), (40, 50, 50, 60)])
    by_place = {row.box[1]: row.agreement for row in document.rows()}
    assert by_place[4] == 1.0
    assert by_place[24] == pytest.approx(0.5)
    assert 50 not in {x for x, known in by_place.items() if known is not None}, (
        "the first model is taken to have looked where it found something"
    )
    assert ReviewQueue(document).step(None) == 31
    check_consistent(document)


@STORES
def test_a_nucleus_that_only_the_second_model_found_is_the_most_doubtful(make):
    document = found(make)
    with document.run("Below") as run:
        run.add_tile((30, 0, 60, 600), batch((40, 4, 50, 14), (40, 580, 50, 590)))
    with document.run("Second run") as run:
        run.add_tile(
            (0, 0, *SHAPE), batch((10, 4, 22, 16), (30, 300, 36, 306), source="other", score=[1, 1])
        )
    row = document.row(ReviewQueue(document).step(None))
    assert (row.box, row.agreement) == ((30, 300, 36, 306), 0.0)


@STORES
def test_the_same_model_again_is_no_second_opinion_but_keeps_the_one_there_was(make):
    document = two_runs(make, [(10, 4, 22, 16)], source="model")
    assert [row.agreement for row in document.rows()] == [None]
    document = two_runs(make, [(10, 4, 22, 14)])
    known = document.rows()[0].agreement
    assert known == pytest.approx(10 / 12)
    with document.run("Again") as run:
        run.add_tile((0, 0, *SHAPE), batch((10, 4, 22, 15), source="other"))
    assert document.rows()[0].agreement == known
