"""What a text means in a document: nuclei that are there, nuclei that a model found besides."""

from dataclasses import replace

import numpy as np
import pytest

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.query import Query, Unknown, parse
from napari_nucleus.errors import QueryError
from napari_nucleus.session.actions import classify
from napari_nucleus.session.document import Document
from napari_nucleus.session.imports import import_labels
from napari_nucleus.session.marking import exclude
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.table import NucleusState
from napari_nucleus.session.text_search import TextSearch

SHAPE = (200, 300)
WHOLE = (0, 0, *SHAPE)
MODEL = MadeBy("reader", "4ead", "test", PANNUKE)
TUMOUR, LYMPHOCYTE = 1, 2


def square(y: int, x: int, side: int = 12) -> tuple[int, int, int]:
    return y, x, side


def nuclei(
    *squares: tuple[int, int, int], class_id: int = LYMPHOCYTE, score: float = 0.8
) -> Nuclei:
    prob = np.tile(PANNUKE.one_hot(np.array([class_id])), (len(squares), 1))
    return Nuclei.from_masks(
        [np.ones((side, side), bool) for _, _, side in squares],
        np.array([(y, x) for y, x, _ in squares]).reshape(-1, 2),
        np.full(len(squares), score),
        prob.reshape(len(squares), len(PANNUKE)),
        source="reader",
    )


@pytest.fixture
def document() -> Document:
    """Lymphocytes 1 to 3 in a row at the top, tumour nuclei 11 and 12 below, 12 a large one."""
    labels = np.zeros(SHAPE, np.int32)
    for i, x in enumerate((20, 60, 100)):
        labels[20:32, x : x + 12] = i + 1
    labels[80:92, 20:32] = 11
    labels[80:110, 60:90] = 12
    document = Document(MemoryStore(SHAPE), PANNUKE, 0.25)
    classes = {1: LYMPHOCYTE, 2: LYMPHOCYTE, 3: LYMPHOCYTE, 11: TUMOUR, 12: TUMOUR}
    import_labels(document, labels, class_of_id=classes)
    return document


def asked(text: str) -> Query:
    query = parse(text, PANNUKE, 0.25)
    assert not isinstance(query, Unknown), query
    return query


def search(document, text, found=None, others=(), box=WHOLE, within=(), made_by=MODEL):
    one = TextSearch(document, asked(text), made_by if found is not None else None, box, within)
    if found is not None:
        one.add_wordings(WHOLE, list(others))
        one.add_tile(WHOLE, found)
    return one.conclude()


def test_without_a_model_the_nuclei_that_are_there_are_looked_through(document):
    found = search(document, "lymphocytes")
    assert found.ids.tolist() == [1, 2, 3]
    assert len(found.new) == 0
    assert found.agreement is None
    assert found.sentence == f"{found.query.describe(3)}."


def test_nuclei_that_both_have_are_one_and_new_ones_are_proposed(document):
    found = search(document, "lymphocytes", nuclei(square(20, 20), square(150, 200)))
    assert found.ids.tolist() == [1, 2, 3]
    assert len(found.new) == 1
    assert found.new.box(-1) == (150, 200, 162, 212)
    assert "3 here, 1 new" in found.sentence
    by_id = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
    assert by_id[1] > by_id[2] == by_id[3]


def test_the_class_a_nucleus_has_goes_before_what_the_model_takes_it_for(document):
    found = search(document, "lymphocytes", nuclei(square(80, 20)))
    assert 11 not in found.ids
    assert len(found.new) == 0


def test_conditions_hold_for_new_nuclei_as_well(document):
    found = search(
        document, "lymphocytes smaller than 15 µm²", nuclei((150, 200, 12), (150, 20, 30))
    )
    assert [found.new.box(int(p)) for p in found.new.ids] == [(150, 200, 162, 212)]


def test_relations_lead_from_new_nuclei_to_those_that_are_there(document):
    beside, away = square(80, 32), square(150, 250)
    found = search(document, "lymphocytes touching tumour nuclei", nuclei(beside, away))
    assert found.ids.tolist() == []
    assert [found.new.box(int(p)) for p in found.new.ids] == [(80, 32, 92, 44)]


def test_a_nucleus_mostly_covered_by_others_is_no_new_one(document):
    assert len(search(document, "lymphocytes", nuclei((82, 66, 14))).new) == 0


def test_only_what_was_searched_is_found(document):
    found = search(document, "nuclei", nuclei(square(20, 20)), box=(0, 0, 200, 80))
    assert found.ids.tolist() == [1, 2, 11, 12]
    polygon = np.array([[0, 0], [0, 50], [200, 50], [200, 0]], float)
    assert search(document, "nuclei", within=(polygon,)).ids.tolist() == [1, 11]


def test_wordings_that_lead_elsewhere_make_nuclei_doubtful(document):
    mine = nuclei(square(20, 20), square(20, 60), square(150, 200))
    same = search(document, "lymphocytes", mine, [mine, mine])
    assert same.agreement == 1.0
    assert same.doubtful == {}
    assert "100 %" in same.sentence
    fewer = nuclei(square(20, 20))
    other = search(document, "lymphocytes", mine, [fewer, fewer])
    assert other.agreement == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert other.doubtful == {2: pytest.approx(2 / 3)}
    assert other.new.scores[0] < same.new.scores[0]


def test_wordings_that_all_find_nothing_agree(document):
    none = Nuclei.empty(len(PANNUKE))
    found = search(document, "dead cells", none, [none, none])
    assert len(found) == 0
    assert found.agreement == 1.0


def test_nuclei_of_other_wordings_count_once_although_tiles_overlap(document):
    one = TextSearch(document, asked("lymphocytes"), MODEL, WHOLE)
    both = nuclei(square(150, 140), square(150, 160))
    for core, mine in (((0, 0, 200, 150), 0), ((0, 150, 200, 300), 1)):
        one.add_wordings(core, [both])
        one.add_tile(core, both.select([mine]))
    assert one.conclude().agreement == 1.0


def test_what_a_user_made_is_as_sure_as_it_was(document):
    classify(document, [2], LYMPHOCYTE)
    assert document.row(2).state is NucleusState.USER
    found = search(document, "lymphocytes", nuclei(square(20, 20)))
    by_id = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
    assert by_id[2] == 1.0
    assert by_id[3] < 1.0


def test_models_with_other_classes_are_understood_by_name(document):
    other = replace(MODEL, classes=None)
    plain = replace(nuclei(square(150, 200)), class_prob=np.zeros((1, 0), np.float32))
    found = search(document, "nuclei", plain, made_by=other)
    assert len(found.new) == 1


def test_nothing_is_proposed_where_regions_are_closed(document):

    polygon = np.array([[140, 190], [140, 220], [170, 220], [170, 190]], float)
    exclude(document, (polygon,), remove_nuclei=False)
    assert len(search(document, "lymphocytes", nuclei(square(150, 200))).new) == 0


def test_what_cannot_be_told_here_is_said(document):
    with pytest.raises(QueryError, match="border"):
        search(document, "lymphocytes near the border")


def test_a_search_changes_nothing(document):
    before, rows = document.labels(), document.rows()
    search(document, "lymphocytes", nuclei(square(150, 200)))
    np.testing.assert_array_equal(document.labels(), before)
    assert document.rows() == rows


def test_nuclei_of_models_that_guess_count_as_neoplastic_and_as_epithelial(document):
    from session_helpers import batch

    def found(text, guessing):
        return (
            TextSearch(document, asked(text), None, WHOLE, guessing=guessing)
            .conclude()
            .ids.tolist()
        )

    guesses = replace(
        batch((140, 20, 160, 40), (140, 60, 160, 80)),
        class_prob=np.array([[0.6, 0, 0, 0, 0.4], [0, 0, 0, 0, 1]], np.float32),
        source="vague",
    )
    with document.run("Segment image", made_by=replace(MODEL, model="vague")) as run:
        run.add_tile(WHOLE, guesses)
    first, second = (int(i) for i in document.ids[-2:])
    assert found("epithelial nuclei", ()) == [second]
    assert found("epithelial nuclei", {"vague"}) == [first, second]
    assert found("tumour nuclei", {"vague"}) == [11, 12, first, second]
    assert set(found("everything except epithelial nuclei", {"vague"})) & {first, second} == set()
    classify(document, [first], TUMOUR)
    assert found("epithelial nuclei", {"vague"}) == [second], "the user has named the class"
    told = TextSearch(document, asked("epithelial nuclei"), None, WHOLE, guessing={"vague"})
    assert "does not tell epithelial and neoplastic nuclei apart" in told.conclude().sentence
