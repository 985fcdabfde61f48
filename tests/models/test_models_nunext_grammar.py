"""Whatever the logits, an answer that follows the grammar is well formed and not too long."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_nucleus.models.nunext.grammar import Grammar, Phase
from napari_nucleus.models.nunext.tokens import Vocabulary, decode_points, encode_points
from napari_nucleus.models.nunext.tokens import is_well_formed as well_formed

NANO = Vocabulary.nano(bins=12, n_classes=3, n_latent=2, words=("a", "b"))
LONG_NONE = Vocabulary(tuple(range(12)), (12, 13), 14, 15, (16, 17, 17), 18, (19, 20), 24)


def generated(grammar: Grammar, batch: int, seed: int, heat: float = 3.0) -> Tensor:
    """Return ``(batch, n)`` random answers from ``begin`` on, each to its ``stop``."""
    draw = torch.Generator().manual_seed(seed)
    state = grammar.start(batch)
    tokens = [torch.full((batch,), grammar.vocabulary.begin)]
    for _ in range(3 * grammar.max_points + 8):
        logits = heat * torch.randn(batch, grammar.vocabulary.size, generator=draw)
        probability = grammar.constrain(logits, state).softmax(-1)
        tokens.append(torch.multinomial(probability, 1, generator=draw)[:, 0])
        state = grammar.advance(state, tokens[-1])
        if bool(grammar.done(state).all()):
            return torch.stack(tokens, 1)
    raise AssertionError("an answer did not end")


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([NANO, LONG_NONE]),
    st.integers(1, 9),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_random_answers_are_well_formed_and_not_too_long(
    vocabulary: Vocabulary, most: int, margin: int | None, needed: bool, seed: int
) -> None:
    grammar = Grammar(vocabulary, most, margin, needed)
    for row in generated(grammar, 1000, seed).tolist():
        assert well_formed(row, vocabulary, needed)
        yx, _ = decode_points(row, vocabulary, vocabulary.bins, needed)
        assert len(yx) <= most
        if margin is not None and len(yx) > 1:
            assert min(yx[1:, 0] - yx[:-1, 0]) >= -margin


def test_every_count_of_points_and_none_occur() -> None:
    counts = {
        len(decode_points(row, NANO, 12)[0])
        for row in generated(Grammar(NANO, 3), 1000, 0, heat=0.0).tolist()
    }
    assert counts == {0, 1, 2, 3}


@pytest.mark.parametrize("vocabulary", [NANO, LONG_NONE])
def test_encoded_points_are_answers_of_the_grammar(vocabulary: Vocabulary) -> None:
    grammar = Grammar(vocabulary, 4)
    for yx in ([], [[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0], [3.0, 4.0], [9.0, 1.0]]):
        state = grammar.start(1)
        for token in encode_points(yx, [1] * len(yx), vocabulary, 12)[1:]:
            assert grammar.allowed(state)[0, token]
            state = grammar.advance(state, torch.tensor([token]))
        assert grammar.done(state).all()
        assert int(state.points) == len(yx)


def test_nothing_may_follow_a_full_answer() -> None:
    grammar = Grammar(NANO, 1)
    state = grammar.start(1)
    for token in (NANO.coordinates[0], NANO.coordinates[0], NANO.separators[0]):
        state = grammar.advance(state, torch.tensor([token]))
    assert int(state.phase) == Phase.END
    assert torch.nonzero(grammar.allowed(state)[0]).flatten().tolist() == [NANO.end]


def test_an_answer_without_a_last_separator_is_allowed_on_request_alone() -> None:
    for needed in (True, False):
        grammar = Grammar(NANO, 3, separator_needed=needed)
        state = grammar.start(1)
        for _ in range(2):
            state = grammar.advance(state, torch.tensor([NANO.coordinates[5]]))
        assert bool(grammar.allowed(state)[0, NANO.end]) is not needed
        assert grammar.allowed(state)[0, list(NANO.separators)].all()
        state = grammar.advance(state, torch.tensor([NANO.separators[0]]))
        assert bool(grammar.allowed(state)[0, NANO.end]) is needed


def test_answers_of_a_batch_stand_where_they_stand_alone() -> None:
    grammar = Grammar(NANO, 3, line_margin=1)
    rows = [
        encode_points(yx, None, NANO, 12)[1:]
        for yx in ([], [[5.0, 5.0]], [[5.0, 5.0], [7.0, 1.0], [9.0, 9.0]])
    ]
    longest = max(map(len, rows))
    padded = torch.tensor([row + [NANO.stop] * (longest - len(row)) for row in rows])
    together, alone = grammar.start(3), [grammar.start(1) for _ in rows]
    for tokens in padded.T:
        for i, state in enumerate(alone):
            torch.testing.assert_close(grammar.allowed(together)[i], grammar.allowed(state)[0])
            torch.testing.assert_close(together.select(torch.tensor([i])), state, rtol=0, atol=0)
        together = grammar.advance(together, tokens)
        alone = [grammar.advance(s, tokens[i : i + 1]) for i, s in enumerate(alone)]
    assert grammar.done(together).all()


def test_an_answer_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        Grammar(NANO, 0)


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="line_margin"):
        Grammar(NANO, 1, line_margin=-1)
