"""Laws that hold for every sequence of actions, runs and undos."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from session_helpers import (
    STORES,
    batch,
    check_consistent,
    clicks,
    file_store,
    logits_of,
    make_document,
    snapshot,
)

from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Outline
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.table import NucleusState

SIDE = 40

places = st.tuples(st.integers(-3, SIDE - 2), st.integers(-3, SIDE - 2))
shapes = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
points = st.lists(
    st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1), st.booleans()), max_size=3
)
picks = st.integers(0, 10**6)


@st.composite
def outlines(draw):
    (y, x), mask = draw(places), draw(shapes)
    if draw(st.booleans()):
        mask = np.ones_like(mask)
    box = (y, x, y + mask.shape[0], x + mask.shape[1])
    given_points = draw(points)
    prompts = clicks(*given_points) if given_points else None
    logits = logits_of(box, draw(st.floats(0, 1, width=16))) if draw(st.booleans()) else None
    return Outline(mask, box, prompts, logits, draw(st.none() | st.floats(0, 1)))


drawn = st.lists(st.lists(places, min_size=2, max_size=5), min_size=1, max_size=2)
"""Regions as drawn: some cross themselves, some enclose nothing."""


@st.composite
def batches(draw):
    boxes = []
    for y, x in draw(st.lists(places, max_size=5)):
        boxes.append((y, x, y + draw(st.integers(1, 10)), x + draw(st.integers(1, 10))))
    score = [draw(st.floats(0, 1, width=32)) for _ in boxes]
    prob = np.zeros((len(boxes), 5))
    if boxes:
        prob[:, draw(st.integers(0, 4))] = 1
    logits = [logits_of(box) for box in boxes] if draw(st.booleans()) else ()
    source = draw(st.sampled_from(["model", "other"]))
    return batch(*boxes, score=score, class_prob=prob, logits=logits, source=source)


cores = st.sampled_from(
    [(0, 0, SIDE, SIDE), (0, 0, SIDE, 20), (0, 20, SIDE, SIDE), (0, 0, 20, 20), (20, 20, 40, 40)]
)


class Sequences(RuleBasedStateMachine):
    """A user and automatic runs working on one document in any order."""

    make = MemoryStore

    @initialize()
    def begin(self):
        self.document = make_document((SIDE, SIDE), store=self.make((SIDE, SIDE), 16))
        self.start = snapshot(self.document)
        self.runs = []

    def pick(self, number):
        ids = self.document.ids.tolist()
        return ids[number % len(ids)] if ids else None

    def attempt(self, work, own=()):
        """Act; no pixel of another nucleus may change, and a refusal changes nothing."""
        before, was = self.document.labels(), snapshot(self.document)
        try:
            result = work()
        except EditRefusedError:
            assert snapshot(self.document) == was
            return
        after = self.document.labels()
        others = (before != 0) & ~np.isin(before, list(own))
        assert np.array_equal(after[others], before[others])
        for i in result.ids:
            self.check_clicks(i, grown=True)

    def check_clicks(self, target, grown):
        """Each pixel that was clicked obeys its last click, unless a neighbour holds it."""
        prompts = self.document.prompts(target)
        pixels = [tuple(p) for p in prompts.points_yx.astype(int).tolist()]
        for (y, x), sign in dict(zip(pixels, prompts.positive, strict=True)).items():
            holder = self.document.id_at((y, x))
            if not sign:
                assert holder != target
            elif grown:
                assert holder is not None

    @rule(outline=outlines(), class_id=st.integers(0, 5))
    def add(self, outline, class_id):
        self.attempt(lambda: actions.add(self.document, outline, class_id))

    @rule(number=picks, outline=outlines())
    def refine(self, number, outline):
        target = self.pick(number)
        if target is not None:
            self.attempt(lambda: actions.refine(self.document, target, outline), {target})

    @rule(number=picks, outline=outlines())
    def take_away(self, number, outline):
        target = self.pick(number)
        if target is None:
            return
        free = self.document.labels() != target
        before = self.document.labels()
        actions.take_away(self.document, target, outline)
        after = self.document.labels()
        assert np.array_equal(after[free], before[free])
        if target in self.document:
            self.check_clicks(target, grown=False)

    @rule(stroke=st.lists(places, min_size=2, max_size=4))
    def cut(self, stroke):
        area = int((self.document.labels() > 0).sum())
        self.attempt(lambda: actions.cut(self.document, stroke), self.document.ids)
        assert int((self.document.labels() > 0).sum()) == area

    @rule(number=picks, points=st.lists(places, max_size=3))
    def split(self, number, points):
        target = self.pick(number)
        if target is not None:
            where = np.array(points, float).reshape(-1, 2)
            self.attempt(lambda: actions.split(self.document, target, where), {target})

    @rule(numbers=st.lists(picks, max_size=3))
    def merge(self, numbers):
        targets = {t for t in map(self.pick, numbers) if t is not None}
        self.attempt(lambda: actions.merge(self.document, sorted(targets)), targets)

    @rule(number=picks, place=places, mask=shapes)
    def paint(self, number, place, mask):
        target = self.pick(number) if number % 2 else None
        box = (*place, place[0] + mask.shape[0], place[1] + mask.shape[1])
        self.attempt(lambda: actions.paint(self.document, mask, box, target), {target})

    @rule(place=places, mask=shapes)
    def erase(self, place, mask):
        box = (*place, place[0] + mask.shape[0], place[1] + mask.shape[1])
        self.attempt(lambda: actions.erase(self.document, mask, box), self.document.ids)

    @rule(numbers=st.lists(picks, max_size=3), how=st.sampled_from(["fill", "smooth"]))
    def reshape(self, numbers, how):
        targets = {t for t in map(self.pick, numbers) if t is not None}
        act = actions.fill_holes if how == "fill" else actions.smooth
        self.attempt(lambda: act(self.document, sorted(targets)), targets)

    @rule(numbers=st.lists(picks, max_size=3))
    def remove(self, numbers):
        targets = {t for t in map(self.pick, numbers) if t is not None}
        self.attempt(lambda: actions.remove(self.document, targets), targets)

    @rule(numbers=st.lists(picks, max_size=3), class_id=st.integers(0, 5))
    def classify(self, numbers, class_id):
        targets = {t for t in map(self.pick, numbers) if t is not None}
        actions.classify(self.document, targets, class_id)

    @rule(number=picks)
    def accept(self, number):
        target = self.pick(number)
        if target is not None:
            actions.accept(self.document, [target])

    def attempt_region(self, act):
        """Act on regions; nuclei that the user has touched stay as they are."""
        was = snapshot(self.document)
        kept = [row for row in self.document.rows() if row.touched]
        try:
            act()
        except EditRefusedError:
            assert snapshot(self.document) == was
        else:
            assert self.document.rows([row.id for row in kept]) == kept

    @rule(polygons=drawn)
    def sign_off(self, polygons):
        before = self.document.labels()
        self.attempt_region(lambda: actions.sign_off(self.document, polygons))
        assert np.array_equal(self.document.labels(), before)

    @rule(polygons=drawn, remove=st.booleans())
    def exclude(self, polygons, remove):
        self.attempt_region(lambda: actions.exclude(self.document, polygons, remove))

    @rule(number=picks)
    def drop_region(self, number):
        regions = self.document.regions
        if regions:
            actions.drop_region(self.document, regions[number % len(regions)].id)

    @rule(nuclei=batches())
    def import_nuclei(self, nuclei):
        self.attempt(lambda: actions.import_nuclei(self.document, nuclei))

    @rule()
    def start_run(self):
        self.runs.append(self.document.run("Segment view"))

    def open_run(self, number):
        self.runs = [run for run in self.runs if not run.stopped]
        return self.runs[number % len(self.runs)] if self.runs else None

    @precondition(lambda self: self.runs)
    @rule(number=picks, core=cores, nuclei=batches())
    def add_tile(self, number, core, nuclei):
        run = self.open_run(number)
        if run is None:
            return
        ground = Ground((), self.document.regions)
        kept = [
            row
            for row in self.document.rows()
            if row.state is not NucleusState.AUTOMATIC
            or not ground.holds(np.array([row.centroid_yx]))[0]
        ]
        before = self.document.labels()
        placed = run.add_tile(core, nuclei)
        after = self.document.labels()
        assert all(self.document.row(row.id) == row for row in kept)
        others = (before != 0) & ~np.isin(before, placed.replaced)
        assert np.array_equal(after[others], before[others])

    @precondition(lambda self: self.runs)
    @rule(number=picks)
    def end_run(self, number):
        run = self.open_run(number)
        if run is not None:
            run.close()

    @rule()
    def undo(self):
        self.document.undo()

    @rule()
    def redo(self):
        self.document.redo()

    @invariant()
    def table_says_what_the_pixels_say(self):
        if hasattr(self, "document"):
            check_consistent(self.document)

    def teardown(self):
        if not hasattr(self, "document"):
            return
        while self.document.redo() is not None:
            pass
        end = snapshot(self.document)
        steps = 0
        while self.document.undo() is not None:
            check_consistent(self.document)
            steps += 1
        assert snapshot(self.document) == self.start
        for _ in range(steps):
            assert self.document.redo() is not None
        assert self.document.redo() is None
        assert snapshot(self.document) == end


Sequences.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestSequences = Sequences.TestCase


class SequencesInFile(Sequences):
    """The same in a file, whose table and labels are decoded anew all the time."""

    make = staticmethod(file_store)


SequencesInFile.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestSequencesInFile = SequencesInFile.TestCase


REGION_ACTS = ("sign off", "exclude", "lift")


@STORES
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_single_undo_and_redo_leads_to_the_state_it_came_from(make, data):
    document = make_document((SIDE, SIDE), store=make((SIDE, SIDE), 16))
    states = [snapshot(document)]
    for _ in range(data.draw(st.integers(1, 8))):
        ids = document.ids.tolist()
        target = data.draw(st.sampled_from(ids)) if ids else None
        act = data.draw(
            st.sampled_from(["add", "refine", "away", "remove", "class", "import", *REGION_ACTS])
        )
        try:
            if act == "import":
                result = actions.import_nuclei(document, data.draw(batches()))
            elif act == "sign off":
                result = actions.sign_off(document, data.draw(drawn))
            elif act == "exclude":
                result = actions.exclude(document, data.draw(drawn), True)
            elif act == "lift" and document.regions:
                result = actions.drop_region(document, document.regions[0].id)
            elif act == "add" or target is None:
                result = actions.add(document, data.draw(outlines()))
            elif act == "refine":
                result = actions.refine(document, target, data.draw(outlines()))
            elif act == "away":
                result = actions.take_away(document, target, data.draw(outlines()))
            elif act == "remove":
                result = actions.remove(document, [target])
            else:
                result = actions.classify(document, [target], 3)
        except EditRefusedError:
            continue
        if result.action_id is not None:
            states.append(snapshot(document))
    for state in reversed(states[:-1]):
        document.undo()
        assert snapshot(document) == state
    assert document.undo() is None
    for state in states[1:]:
        document.redo()
        assert snapshot(document) == state
    assert document.redo() is None
