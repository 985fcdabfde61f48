"""Writing answers, token by token, for several windows at once.

All windows stand at the same token of a point, since each point has three; one that is finished
waits. Which tokens may come is the grammar's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.nunext.grammar import Grammar, State
from napari_nucleus.models.nunext.guide import reading_place
from napari_nucleus.models.nunext.language import Cache
from napari_nucleus.models.nunext.network import (
    NOWHERE,
    SEPARATOR_ROLE,
    X_ROLE,
    Y_ROLE,
    Looked,
    NuNext,
    Written,
)

__all__ = ["Answer", "Sampling", "generate"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; a temperature of 0 takes the likeliest."""

    temperature: float = 0.0
    top_p: float = 1.0


class Answer(NamedTuple):
    """What was written on B windows.

    ``written`` ``(B, N)``; ``count`` ``(B,)`` points of each. ``confidence`` ``(B, N)``: the
    probability of the coordinates within three standard deviations of those written; ``classes``
    ``(B, N, C)`` probabilities. ``tokens`` ``(B, L)`` ids after begin, up to stop and filled up
    with it.
    """

    written: Written
    count: Tensor
    confidence: Tensor
    classes: Tensor
    tokens: Tensor


@torch.inference_mode()
def generate(
    network: NuNext,
    looked: Looked,
    bias: float = 1.0,
    end: float = 0.5,
    sampling: Sampling | None = None,
    generator: torch.Generator | None = None,
    most: int | None = None,
) -> Answer:
    """Write the nuclei of windows.

    Parameters
    ----------
    looked
        Of B windows.
    bias
        Factor on the guide; 0 leaves it out.
    end
        An answer ends where its end is at least as likely, if nothing is drawn at random.
    sampling
        Draws at random where its temperature is above 0.
    most
        Points after which an answer must end; by default the configuration's.
    """
    most = network.config.sequence.max_points if most is None else most
    return _Writer(network, looked, bias, end, sampling or Sampling(), generator, most).run()


class _Writer:
    """The state of one `generate`."""

    def __init__(
        self,
        network: NuNext,
        looked: Looked,
        bias: float,
        end: float,
        sampling: Sampling,
        generator: torch.Generator | None,
        most: int,
    ) -> None:
        self.network, self.looked, self.bias, self.end = network, looked, bias, end
        self.sampling, self.generator = sampling, generator
        self.batch, self.device = len(looked.heat), looked.heat.device
        vocabulary, sequence = network.vocabulary, network.config.sequence
        self.bins = sequence.bins
        # A point may lie higher than the last by as much as a line is high.
        margin = sequence.line * sequence.bins // sequence.frame
        self.grammar = Grammar(vocabulary, most, margin, device=self.device)
        self.separators = torch.tensor(vocabulary.separators, device=self.device)
        self.peaks = looked.peaks
        self.taken = torch.zeros(self.peaks.logit.shape, dtype=torch.bool, device=self.device)
        self.covered = torch.zeros_like(looked.pointed.real)
        # y, x and how far along the lines the last point is.
        self.last = torch.zeros((self.batch, 3), device=self.device)
        self.after = torch.full((self.batch,), NOWHERE, device=self.device)
        self.length = network.prefix(1)[0].shape[1]

    def run(self) -> Answer:
        """Write until all windows are finished."""
        network, vocabulary = self.network, self.network.vocabulary
        logits, past = network.start(self.looked)
        state = self.grammar.start(self.batch)
        tokens, kept = [], []
        while True:
            first, end = self._next_peak()
            logits = logits + self._first_bias(first, end, state)
            token, sure_x = self._choose(self._next_word(logits, state))
            state = self.grammar.advance(state, token)
            tokens.append(token)
            writing = token < self.bins
            if not bool(writing.any()):
                break
            x = torch.where(writing, token, 0)
            place = self._place(len(tokens), self.last[:, 0], network.pixels_of(x), self.last[:, 2])
            logits, past = self._step(past, x, X_ROLE, place)
            y_bias = network.guide.second_coordinate(first[:, None], self.peaks, x[:, None])[:, 0]
            logits[:, : self.bins] += self.bias * y_bias
            token, sure_y = self._choose(self._constrained(logits, state))
            state = self.grammar.advance(state, token)
            tokens.append(token)
            y = torch.where(writing, token.clamp(max=self.bins - 1), 0)
            self._remember(x, y)
            place = self._place(len(tokens), *self.last.unbind(1))
            logits, past = self._step(past, y, Y_ROLE, place)
            classes = logits[:, self.separators[1:]].softmax(1)
            token, _ = self._choose(self._constrained(logits, state))
            state = self.grammar.advance(state, token)
            tokens.append(token)
            separator = torch.where(writing, token, self.separators[0])
            place = self._place(len(tokens), *self.last.unbind(1))
            logits, past = self._step(past, separator, SEPARATOR_ROLE, place)
            kept.append((x, y, separator, sure_x * sure_y, classes, writing))
        while not bool(self.grammar.done(state).all()):
            token, _ = self._choose(self._constrained(torch.zeros_like(logits), state))
            state = self.grammar.advance(state, token)
            tokens.append(token)
        return self._answer(kept, torch.stack(tokens, 1), vocabulary.n_classes)

    def _step(
        self, past: list[Cache], ids: Tensor, role: int, place: Tensor
    ) -> tuple[Tensor, list[Cache]]:
        return self.network.step(self.looked, past, ids, role, place, self.covered)

    def _next_peak(self) -> tuple[Tensor, Tensor]:
        first, end = self.network.guide.next_peak(
            self.peaks, self.after[:, None], self.taken[:, None]
        )
        return first[:, 0], end[:, 0]

    def _first_bias(self, first: Tensor, end: Tensor, state: State) -> Tensor:
        """Return what the guide adds where an x, none or the end is next."""
        guide, vocabulary = self.network.guide, self.network.vocabulary
        out = torch.zeros((self.batch, vocabulary.size), device=self.device)
        out[:, : self.bins] = guide.first_coordinate(first[:, None], self.peaks, best=True)[:, 0]
        ending = guide.ending(end)
        out[:, vocabulary.end] = ending
        out[:, vocabulary.none[0]] = ending
        return out * self.bias

    def _next_word(self, logits: Tensor, state: State) -> Tensor:
        """Return constrained logits in which the end has won or lost, if nothing is drawn."""
        logits = self._constrained(logits, state)
        if self.sampling.temperature > 0:
            return logits
        vocabulary = self.network.vocabulary
        ends = torch.tensor([vocabulary.end, vocabulary.none[0]], device=self.device)
        probability = logits.softmax(1)[:, ends].sum(1)
        over = (probability >= self.end)[:, None]
        word = torch.arange(logits.shape[1], device=self.device)[None] < self.bins
        # Where only one of the two may come, it comes.
        forced = ~(logits > -torch.inf).logical_and(word).any(1, keepdim=True)
        unfinished = (logits > -torch.inf)[:, ends].any(1, keepdim=True)
        gone = torch.where(over & unfinished | forced, word, ~word)
        return logits.masked_fill(gone, -torch.inf)

    def _constrained(self, logits: Tensor, state: State) -> Tensor:
        return self.grammar.constrain(logits, state)

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens ``(B,)``, and how likely each and its neighbours were."""
        probability = logits.softmax(1)
        if self.sampling.temperature > 0:
            token = self._drawn(logits)
            return token, torch.ones_like(probability[:, 0])
        reach = max(round(3 * self.network.config.guide.sigma), 1)
        kernel = torch.ones((1, 1, 2 * reach + 1), device=self.device)
        mass = F.conv1d(probability[:, None, : self.bins], kernel, padding=reach)[:, 0]
        # Of neighbours that hold the same mass the likeliest one.
        best = torch.where(logits[:, : self.bins] > -torch.inf, mass, -1.0)
        near = (best + 1e-3 * probability[:, : self.bins]).argmax(1)
        rows = torch.arange(self.batch, device=self.device)
        span = torch.arange(-reach, reach + 1, device=self.device)
        around = (near[:, None] + span).clamp(0, self.bins - 1)
        peak = around[rows, probability[rows[:, None], around].argmax(1)]
        coordinate = probability[:, : self.bins].sum(1) > 0.5
        token = torch.where(coordinate, peak, probability.argmax(1))
        return token, torch.where(coordinate, mass[rows, peak].clamp(max=1), 1.0)

    def _drawn(self, logits: Tensor) -> Tensor:
        probability = (logits / self.sampling.temperature).softmax(1)
        if self.sampling.top_p < 1:
            ordered, index = probability.sort(1, descending=True)
            beyond = ordered.cumsum(1) - ordered >= self.sampling.top_p
            ordered = ordered.masked_fill(beyond, 0)
            probability = torch.zeros_like(probability).scatter(1, index, ordered)
        return torch.multinomial(probability, 1, generator=self.generator)[:, 0]

    def _place(self, count: int, y: Tensor, x: Tensor, along: Tensor) -> Tensor:
        """Return the place ``(B, 4)`` of the ``count``-th token after begin."""
        index = torch.full_like(y, float(self.length + count - 1))
        return torch.stack([index, y, x, along], 1)

    def _remember(self, x: Tensor, y: Tensor) -> None:
        """Take the peaks and words that new points lie on."""
        yx = torch.stack([self.network.pixels_of(y), self.network.pixels_of(x)], 1)
        along = reading_place(yx[:, 0], yx[:, 1], self.network.config.sequence)
        self.last = torch.cat([yx, along[:, None]], 1)
        self.after = self.network.guide.after(yx[:, 0], yx[:, 1])
        self.covered |= self.network.pointer.covered(self.looked.pointed, yx[:, None])[:, 0]
        self.taken |= self.network.guide.taken(self.peaks, yx[:, None])[:, 0]

    def _answer(self, kept: list[tuple[Tensor, ...]], tokens: Tensor, n_classes: int) -> Answer:
        """Return what was written."""
        if not kept:
            none = torch.zeros((self.batch, 0), device=self.device)
            return Answer(
                Written(none.long(), none.long(), none.long()),
                none.sum(1).long(),
                none,
                none[..., None].expand(-1, -1, n_classes),
                tokens,
            )
        x, y, separator, sure, classes, writing = (
            torch.stack(v, 1) for v in zip(*kept, strict=True)
        )
        return Answer(Written(x, y, separator), writing.sum(1), sure, classes, tokens)
