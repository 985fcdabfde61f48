"""The review queue: who is doubtful, in what order, and who is left out."""

import numpy as np
import pytest
from session_helpers import STORES, batch, block, make_document

from napari_nucleus.session import actions
from napari_nucleus.session.review import ReviewQueue, doubts
from napari_nucleus.session.store import Opinions, opinions_of


def found(make, scores):
    """Return a document with an automatic nucleus of each score, all of one size."""
    document = make_document((60, 600), store=make((60, 600), 64))
    boxes = [(10, 20 * i, 22, 20 * i + 12) for i in range(len(scores))]
    with document.run("Segment image") as run:
        run.add_tile((0, 0, 60, 600), batch(*boxes, score=scores))
    return document


def walk(queue, forward=True, current=None):
    seen = []
    while (current := queue.step(current, forward)) is not None:
        seen.append(current)
    return seen


@STORES
def test_the_least_sure_come_first_and_those_of_the_user_never(make):
    document = found(make, [0.9, 0.2, 0.6, 0.4])
    actions.add(document, block(40, 10, 50, 20))
    actions.accept(document, [4])
    queue = ReviewQueue(document)
    assert walk(queue) == [2, 3, 1]
    assert queue.remaining == 3
    assert walk(queue, forward=False, current=1) == [3, 2]
    assert queue.step(None, forward=False) == 2, "it begins at the most doubtful"
    assert queue.step(5) == 2


def test_other_reasons_to_doubt_come_in_and_go_again():
    document = found(lambda shape, tile: None, [0.9, 0.2, 0.6, 0.4])
    queue = ReviewQueue(document)
    queue.doubt({3: 0.95, 1: 0.05})
    assert walk(queue) == [3, 2, 4, 1]
    queue.doubt({})
    assert walk(queue) == [2, 4, 3, 1]


@STORES
def test_what_is_gone_or_looked_at_meanwhile_is_passed_over(make):
    document = found(make, [0.1, 0.2, 0.3, 0.4])
    queue = ReviewQueue(document)
    assert queue.step(None) == 1
    actions.remove(document, [2])
    actions.accept(document, [3])
    assert queue.step(1) == 4
    document.undo()
    assert queue.step(1) == 3
    assert queue.step(4) is None


def test_nuclei_of_a_later_run_come_in_when_it_is_renewed():
    from napari_nucleus.session.memory_store import MemoryStore

    document = found(MemoryStore, [0.5])
    queue = ReviewQueue(document)
    assert walk(queue) == [1]
    actions.import_nuclei(document, batch((40, 10, 52, 22), score=[0.1]))
    assert walk(queue) == [1]
    queue.renew()
    assert walk(queue) == [2, 1]


def test_a_low_iou_another_model_and_an_odd_size_make_doubtful_however_sure_the_model_was():
    n = 40
    rng = np.random.default_rng(0)
    area = rng.normal(150, 15, n).astype(int)
    area[3], area[7] = 9, 3000
    iou = np.full(n, np.nan)
    iou[11] = 0.3
    agreement = np.full(n, np.nan)
    agreement[20], agreement[21] = 0.1, 0.97
    opinions = Opinions(np.arange(n), np.full(n, 0.95), iou, area, agreement, np.zeros((n, 2)))
    worst = np.argsort(-doubts(opinions))[:4]
    assert worst[:2].tolist() == [20, 11]
    assert set(worst[2:]) == {3, 7}
    assert doubts(opinions).max() <= 1
    assert doubts(opinions).min() >= 0


@pytest.mark.parametrize("rows", [[], [(4, 0.5, None, 10, None, 1.5, 2.5)]])
def test_a_queue_of_none_or_one(rows):
    assert doubts(opinions_of(rows)).shape == (len(rows),)
