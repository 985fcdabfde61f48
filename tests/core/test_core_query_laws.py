"""Laws of queries: what is described is understood again, and no text breaks the parser."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_nucleus.core.query import Query, Unknown, parse
from napari_nucleus.core.query.grammar import MOST_LETTERS
from napari_nucleus.core.query.lexicon import phrases
from napari_nucleus.core.query.query import CLASSES, QUALITIES, Bound, Quality, Relation
from napari_nucleus.core.query.sentence import EXCLUSIVE

numbers = st.integers(1, 9999).map(float) | st.integers(1, 999).map(lambda n: n / 10)
shares = st.integers(1, 99).map(lambda n: n / 100)
ops = st.sampled_from([">", "<", ">=", "<="])
bounds = st.builds(Bound, st.sampled_from(["area", "diameter"]), ops, numbers) | st.builds(
    Bound, st.sampled_from(["eccentricity", "solidity", "score"]), ops, shares
)
relations = (
    st.builds(Relation, st.just("touching"), st.sampled_from([*CLASSES, "all"]), st.none())
    | st.builds(
        Relation,
        st.sampled_from(["near", "far"]),
        st.sampled_from([*CLASSES, "all", "border"]),
        st.none() | numbers,
    )
    | st.builds(Relation, st.just("in"), st.just("border"))
    | st.builds(Relation, st.just("at"), st.just("edge"))
)
signed = relations | relations.map(Relation.opposite)


@st.composite
def qualities(draw):
    """Groups of qualities that a nucleus can have together."""
    names = draw(st.lists(st.sampled_from(QUALITIES), unique=True, max_size=4))
    kept = []
    for name in names:
        if not any({name, other} <= rivals for rivals in EXCLUSIVE for other in kept):
            kept.append(name)
    return [(Quality(name, draw(st.booleans())),) for name in kept]


@st.composite
def queries(draw):
    names = draw(st.permutations(CLASSES))
    wanted = draw(st.integers(0, 3))
    left_out = draw(st.integers(0, 2))
    groups = draw(qualities())
    groups += [(bound,) for bound in draw(st.lists(bounds, max_size=3))]
    groups += [(relation,) for relation in draw(st.lists(signed, max_size=3))]
    return Query(
        tuple(names[:wanted]),
        tuple(names[wanted : wanted + left_out]),
        tuple(dict.fromkeys(groups)),
    )


@given(queries())
@settings(max_examples=150)
def test_what_is_described_is_understood_as_the_same(query):
    found = parse(query.describe())
    assert isinstance(found, Query), (query.describe(), str(found))
    assert found.notation() == query.notation(), query.describe()


words = st.sampled_from(sorted({phrase for phrase, _, _ in phrases()}))
odd = st.sampled_from(["80", "µm²", "µm", "%", ",", "-", ">", "0.5", "(", "liver", "🦠", "核", "="])


@given(st.text(max_size=MOST_LETTERS + 50) | st.lists(words | odd, max_size=12).map(" ".join))
@settings(max_examples=200)
@example("")
@example(" \n\t")
@example("\x00")
@example("nuclei " * 2000)
@example("not " * 90)
@example("or and " * 50)
@example("9" * 390)
@example("1." * 190)
@example("µm² " * 90)
@example("near " * 80)
@example("with tumour " * 33)
@example("tumour, " * 50)
@example("-" * 400)
@example("नाभिक")
@example("نواة الخلية")
@example("\ud800")
def test_any_text_is_answered_in_words(text):
    found = parse(text)
    if isinstance(found, Query):
        assert found.describe().strip()
        assert found.notation()
    else:
        assert isinstance(found, Unknown)
        assert str(found).startswith("Not understood: ")
        assert len(str(found)) < 600
        assert "\n" not in str(found)
