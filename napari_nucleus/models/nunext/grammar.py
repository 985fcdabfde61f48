"""The automaton of an answer: which tokens may come next, for a batch of answers at once.

``begin`` is behind; then comes ``None``, or points of x, y and separator, at most so many; then
``end`` and ``stop``, after which every token is ``stop``. With all other tokens forbidden an answer
is well formed whatever the network thinks. Knows nothing of networks, images or sampling.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from napari_nucleus.models.nunext.tokens import Vocabulary

__all__ = ["Grammar", "Phase", "State"]


class Phase(IntEnum):
    """What comes next in an answer."""

    FIRST = 0
    """``None`` or the first x."""
    X = 1
    """The x of another point, or ``end`` where the point before it is whole."""
    Y = 2
    SEPARATOR = 3
    """A separator; ``end`` too where the last point needs none."""
    NONE = 4
    """The next token of a ``None`` of several."""
    END = 5
    """``end`` alone: nothing more may be said."""
    STOP = 6
    DONE = 7


class State(NamedTuple):
    """Where each answer of a batch stands; all ``(B,)`` of int64.

    ``phase``: a `Phase`. ``points``: how many have their x and y. ``last_y``: bin of the last y,
    0 before the first. ``place``: how many tokens of ``None`` are written.
    """

    phase: Tensor
    points: Tensor
    last_y: Tensor
    place: Tensor

    def select(self, index: Tensor) -> State:
        """Return the answers at ``index``, positions or a bool mask."""
        return State(*(value[index] for value in self))


class Grammar:
    """Answers of a vocabulary.

    Parameters
    ----------
    vocabulary
        What the tokens are.
    max_points
        After so many points ``end`` is forced.
    line_margin
        How many bins above the last point the next may lie: raster order, softly. None for any.
    separator_needed
        Every point has a separator, also the last, so that each has a token that tells its class;
        this is the layout of `tokens.encode_points`. False lets ``end`` follow a y, and a point
        alone a separator, as in Rex-Omni's own answers.
    device
        Where states and masks are.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_points: int,
        line_margin: int | None = None,
        separator_needed: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        if max_points < 1:
            raise ValueError(f"an answer has room for at least one point, got {max_points}")
        if line_margin is not None and line_margin < 0:
            raise ValueError(f"line_margin must be 0 or more bins, got {line_margin}")
        self.vocabulary = vocabulary
        self.max_points = max_points
        self.line_margin = line_margin
        self.separator_needed = separator_needed
        self.device = torch.device(device)
        self._masks = self._masks_of_phases().to(self.device)
        self._none = torch.tensor(vocabulary.none, device=self.device)
        self._bin_of = torch.full((vocabulary.size,), -1, device=self.device)
        coordinates = torch.tensor(vocabulary.coordinates, device=self.device)
        self._bin_of[coordinates] = torch.arange(vocabulary.bins, device=self.device)

    def start(self, batch: int) -> State:
        """Return the state of ``batch`` answers of which ``begin`` alone is written."""
        zero = torch.zeros(batch, dtype=torch.long, device=self.device)
        return State(zero, zero, zero, zero)

    def allowed(self, state: State) -> Tensor:
        """Return ``(B, V)`` bool: the tokens that may come next."""
        mask = self._masks[state.phase]
        inside = state.phase == Phase.NONE
        if len(self._none) > 1:
            rows = torch.nonzero(inside)[:, 0]
            mask[rows, self._none[state.place[rows]]] = True
        if self.line_margin is not None:
            least = torch.where(state.phase == Phase.Y, state.last_y - self.line_margin, 0)
            mask &= (self._bin_of < 0) | (self._bin_of >= least[:, None])
        return mask

    def constrain(self, logits: Tensor, state: State) -> Tensor:
        """Return logits ``(B, V)`` with −inf at tokens that may not come next."""
        return logits.masked_fill(~self.allowed(state), -torch.inf)

    def advance(self, state: State, token: Tensor) -> State:
        """Return the state after a token ``(B,)`` more, each one that was allowed."""
        phase, points, last_y, place = state
        bin_of = self._bin_of[token]
        wrote_y = phase == Phase.Y
        points = points + wrote_y
        last_y = torch.where(wrote_y, bin_of, last_y)
        in_none = (phase == Phase.NONE) | ((phase == Phase.FIRST) & (bin_of < 0))
        place = place + in_none
        full = points >= self.max_points
        after_y = torch.full_like(phase, Phase.SEPARATOR)
        if not self.separator_needed:
            after_y = torch.where(full, Phase.END, after_y)
        new = torch.where((phase == Phase.FIRST) | (phase == Phase.X), int(Phase.Y), phase)
        new = torch.where(wrote_y, after_y, new)
        new = torch.where(phase == Phase.SEPARATOR, torch.where(full, Phase.END, Phase.X), new)
        said = place >= len(self._none)
        new = torch.where(in_none, torch.where(said, Phase.END, Phase.NONE), new)
        new = torch.where(token == self.vocabulary.end, int(Phase.STOP), new)
        new = torch.where(token == self.vocabulary.stop, int(Phase.DONE), new)
        return State(new, points, last_y, place)

    def done(self, state: State) -> Tensor:
        """Return ``(B,)`` bool: the answers that are written to their ``stop``."""
        return state.phase == Phase.DONE

    def _masks_of_phases(self) -> Tensor:
        """Return ``(phases, V)`` bool: what each phase allows, places and lines apart."""
        v = self.vocabulary
        allowed = {
            Phase.FIRST: (*v.coordinates, v.none[0]),
            Phase.X: (*v.coordinates, v.end) if self.separator_needed else v.coordinates,
            Phase.Y: v.coordinates,
            Phase.SEPARATOR: v.separators if self.separator_needed else (*v.separators, v.end),
            Phase.NONE: (),
            Phase.END: (v.end,),
            Phase.STOP: (v.stop,),
            Phase.DONE: (v.stop,),
        }
        masks = torch.zeros((len(Phase), v.size), dtype=torch.bool)
        for phase, ids in allowed.items():
            masks[phase, list(ids)] = True
        return masks
