"""The table of a document that queries are answered on, from both kinds of stores."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from session_helpers import batch, block, file_store, make_document

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.query import answer, parse, prepare
from napari_nucleus.core.query.table import SHAPE
from napari_nucleus.errors import QueryError
from napari_nucleus.session import query_table as module
from napari_nucleus.session.actions import accept, add, classify, remove
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.query_table import query_table, query_table_in_steps
from napari_nucleus.session.review import doubts

PROB = np.array([(0.7, 0.1, 0.1, 0.05, 0.05), (0.2, 0.6, 0.1, 0.05, 0.05), (0.9, 0, 0, 0, 0.1)])


@pytest.fixture(params=["memory", "file"])
def document(request):
    """Nuclei 1 to 3 of a model, which lie in a row, 4 of the user; a pixel is 1 µm."""
    store = {"memory": MemoryStore, "file": file_store}[request.param]((64, 64), 16)
    made = make_document((64, 64), mpp=1.0, store=store)
    boxes = ((10, 10, 20, 20), (10, 20, 20, 26), (10, 40, 14, 60))
    with made.run("Segment") as run:
        run.add_tile((0, 0, 64, 64), batch(*boxes, score=[0.9, 0.3, 0.8], class_prob=PROB))
    add(made, block(50, 0, 60, 10), class_id=3)
    return made


def found(text, table):
    return answer(parse(text, table.scheme, table.mpp), table).ids.tolist()


def test_it_holds_what_the_document_holds(document):
    table = query_table(document)
    rows = document.rows()
    assert table.ids.tolist() == [row.id for row in rows]
    assert table.class_ids.tolist() == [1, 2, 1, 3]
    assert np.allclose(table.class_prob[:3], PROB)
    assert not table.class_prob[3].any()
    assert table.areas.tolist() == [row.area for row in rows]
    assert [tuple(box) for box in table.boxes.tolist()] == [row.box for row in rows]
    assert table.states.tolist() == ["automatic"] * 3 + ["user"]
    assert table.shape == document.shape
    opinions = document.store.opinions()
    assert np.allclose(table.doubts[:3], doubts(opinions))
    assert table.doubts[3] == 0


def test_queries_are_answered_on_it(document):
    table = query_table(document)
    assert found("tumour", table) == [1, 3]
    assert found("tumour touching lymphocytes", table) == [1]
    assert found("elongated", table) == [3]
    assert found("corrected", table) == [4]
    assert found("at the image edge", table) == [4]
    assert found("doubtful", table) == [2]
    assert found("area > 90 µm²", table) == [1, 4]


def test_changes_are_in_the_next_table_and_shapes_are_taken_over(document):
    first = query_table(document)
    assert list(prepare(parse("round nuclei"), first))
    classify(document, [2], 1)
    accept(document, [3])
    remove(document, [1])
    add(document, block(30, 30, 40, 36))
    second = query_table(document, before=first)
    assert second.ids.tolist() == [2, 3, 4, 5]
    assert second.missing(SHAPE, np.arange(4)).tolist() == [3]
    assert found("accepted", second) == [3]
    assert found("tumour", second) == [2, 3]
    assert found("touching tumour", second) == []


def test_dark_nuclei_are_seen_in_the_image(document):
    picture = np.full((64, 64, 3), 200, np.uint8)
    picture[10:20, 10:20] = 20
    assert found("dark", query_table(document, source=ArraySource(picture))) == [1]
    with pytest.raises(QueryError, match="image"):
        found("dark", query_table(document))


def test_the_border_is_what_was_drawn(document):
    table = query_table(document, shapely.box(0, 0, 30, 30))
    assert found("inside the border", table) == [1, 2]
    assert found("lymphocytes outside of the tumour", table) == []


def test_an_empty_document_gives_an_empty_table():
    table = query_table(make_document())
    assert len(table) == 0
    assert found("large round tumour nuclei near lymphocytes", table) == []


def test_it_can_be_made_step_by_step(document, monkeypatch):
    monkeypatch.setattr(module, "SLICE", 3)
    making = query_table_in_steps(document)
    steps = 0
    while True:
        try:
            next(making)
            steps += 1
        except StopIteration as ended:
            table = ended.value
            break
    assert steps == 2
    assert table.ids.tolist() == query_table(document).ids.tolist() == [1, 2, 3, 4]
