"""The nano: UniNuc's frozen encoder sees a window, a small language model writes its nuclei.

Eight by eight pixels are a word of the picture: what the encoder made of them at three strides, and
the map of centres that its dense heads give. The words of the answer are coordinates, embedded by
the position they mean, so that reading one off a word of the picture is copying.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.nunext.config import NuNextConfig
from napari_nucleus.models.nunext.guide import (
    STRIDE,
    Guide,
    Peaks,
    find_peaks,
    reading_place,
)
from napari_nucleus.models.nunext.language import Cache, LanguageModel, Picture, waves_of
from napari_nucleus.models.nunext.pointer import Pointed, Pointer
from napari_nucleus.models.nunext.tokens import Vocabulary
from napari_nucleus.models.uninuc.network import Segmenter

__all__ = [
    "CELL",
    "INSTRUCTION",
    "Looked",
    "NuNext",
    "Said",
    "Seen",
    "Written",
    "see",
    "vocabulary_of",
]

CELL = 8
"""Pixels of a side of a word of the picture."""

WORDS = (
    "point to nucleus . output the coordinates in [ x , y ] format . "
    "neoplastic inflammatory connective dead epithelial"
)
INSTRUCTION = tuple(WORDS.split())
"""Words of the fixed instruction and of the classes that separators tell."""

HEAT_CHANNELS = 5
"""Maps beside F0 in a word: the heat as a logit, as a probability and at its peaks, foreground and
distance."""

EMPTY = -20.0
"""Logit of a centre outside of a window."""

NOWHERE = -1e6
"""Reading place before the first point."""

PREFIX_ROLE, X_ROLE, Y_ROLE, SEPARATOR_ROLE = range(4)


class Seen(NamedTuple):
    """What the frozen encoder makes of windows ``(B, 3, H, W)``.

    ``f0``, ``f1``, ``f2``: the mask decoder's features at strides 2, 4 and 8; ``maps``
    ``(B, 3, H / 2, W / 2)``: logits of foreground and of centres, and the distance to the border;
    ``classes`` ``(B, C, H / 8, W / 8)`` probabilities.
    """

    f0: Tensor
    f1: Tensor
    f2: Tensor
    maps: Tensor
    classes: Tensor


class Looked(NamedTuple):
    """What is kept of windows while their nuclei are written.

    ``heat`` ``(B, 1, H / 2, W / 2)`` logits of centres; ``peaks`` of it; ``caches`` keys and values
    of the picture's words, for each layer; ``pointed`` what coordinates are copied from.
    """

    heat: Tensor
    peaks: Peaks
    caches: list[Cache]
    pointed: Pointed


class Written(NamedTuple):
    """Points written so far: bins ``x``, ``y`` ``(B, N)`` and ids of ``separator`` ``(B, N)``."""

    x: Tensor
    y: Tensor
    separator: Tensor

    def to(self, device: torch.device) -> Written:
        """Return the same on a device."""
        return Written(*(value.to(device) for value in self))


class Said(NamedTuple):
    """``logits`` ``(B, 3 N + 1, V)`` after begin and after each token of N points; ``latent``
    ``(B, latent, decoder dim)``, prompts for the mask of all nuclei.
    """

    logits: Tensor
    latent: Tensor


class NuNext(nn.Module):
    """Writes the nuclei of windows; sides are multiples of the encoder's, at most the frame.

    ``segmenter`` is UniNuc's: it is no part of the weights, and not trained.
    """

    def __init__(self, config: NuNextConfig, segmenter: Segmenter) -> None:
        super().__init__()
        if segmenter.dense is None or segmenter.config.encoder.strides[:3] != (2, 4, CELL):
            raise ValueError("the segmenter needs dense heads and levels at strides 2, 4 and 8")
        self.config = config
        # In a tuple, so that it is no part of this module.
        self._eyes = (segmenter.requires_grad_(False).eval(),)
        self.vocabulary = vocabulary_of(config)
        dim, language = config.language.dim, config.language
        decoder = segmenter.config.decoder
        c0, c1 = decoder.fine_dims
        cells = (CELL // STRIDE) ** 2
        channels = (c0 + HEAT_CHANNELS) * cells + c1 * cells // 4 + decoder.dim + config.n_classes
        self.picture = nn.Linear(channels, dim)
        self.picture_norm = nn.RMSNorm(dim)
        self.worth = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 2))
        self.axes = nn.ModuleList(nn.Linear(2 * language.waves, dim) for _ in range(2))
        self.coordinate = nn.Linear(2 * language.waves, dim)
        self.coordinate_rest = nn.Parameter(torch.zeros(config.sequence.bins, dim))
        others = self.vocabulary.size - config.sequence.bins
        self.others = nn.Parameter(torch.randn(others, dim) * 0.1)
        self.roles = nn.Parameter(torch.randn(4, dim) * 0.1)
        self.language = LanguageModel(language)
        self.asking = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(4 * dim**-0.5))
        self.pointer = Pointer(dim, config.sequence)
        self.guide = Guide(config.guide, config.sequence)
        self.latent = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, decoder.dim))

    @property
    def segmenter(self) -> Segmenter:
        """UniNuc's, frozen."""
        return self._eyes[0]

    def _apply(self, fn: Any, recurse: bool = True) -> NuNext:
        """Move the segmenter too, although it is no part of this module."""
        self.segmenter._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def see(self, pixels: Tensor) -> Seen:
        """Return what is seen on windows of normalised pixels."""
        return see(self.segmenter, pixels)

    def look(self, seen: Seen, sizes: Tensor, corner: Tensor | None = None) -> Looked:
        """Return what answers are written from.

        Parameters
        ----------
        seen
            Of B windows.
        sizes
            ``(B, 2)`` height and width of each in pixels, without padding.
        corner
            ``(B, 2)`` y and x of each in its frame, whole cells; by default 0.
        """
        corner = torch.zeros_like(sizes) if corner is None else corner
        heat = _heat(seen.maps)
        heat = heat.masked_fill(~_inside(heat, sizes, STRIDE)[:, None], EMPTY)
        peaks = find_peaks(heat, corner, self.config.guide, self.config.sequence)
        features = self._features(seen, heat)
        picture = self._picture(features, heat, sizes, corner)
        pointed = self.pointer.look(picture, self.worth(features.float()))
        return Looked(heat, peaks, self.language.look(picture), pointed)

    def _features(self, seen: Seen, heat: Tensor) -> Tensor:
        """Return what is known of each cell, ``(B, T, channels)``."""
        top = heat == F.max_pool2d(heat, 5, 1, 2)
        fine = [
            seen.f0,
            heat,
            heat.sigmoid(),
            torch.where(top, heat.sigmoid(), torch.zeros_like(heat)),
            seen.maps[:, :1].sigmoid(),
            seen.maps[:, 2:],
        ]
        ratio = CELL // STRIDE
        features = torch.cat(
            [
                F.pixel_unshuffle(torch.cat([f.to(seen.f0.dtype) for f in fine], 1), ratio),
                F.pixel_unshuffle(seen.f1, ratio // 2),
                seen.f2,
                seen.classes.to(seen.f0.dtype),
            ],
            1,
        )
        return features.flatten(2).transpose(1, 2)

    def _picture(self, features: Tensor, heat: Tensor, sizes: Tensor, corner: Tensor) -> Picture:
        """Return the words of windows, cell by cell."""
        yx = _centres(heat, CELL // STRIDE) + corner[:, None].float()
        tokens = self.picture(features)
        for axis in range(2):
            tokens = tokens + self.axes[axis](waves_of(yx[..., axis], self.config.language.waves))
        along = reading_place(yx[..., 0], yx[..., 1], self.config.sequence)
        places = torch.stack([torch.zeros_like(along), yx[..., 0], yx[..., 1], along], -1)
        real = _inside(heat[..., :: CELL // STRIDE, :: CELL // STRIDE], sizes, CELL).flatten(1)
        return Picture(self.picture_norm(tokens.float()), places, real)

    def forward(self, looked: Looked, written: Written, bias: float | Tensor = 1.0) -> Said:
        """Return what is said after each token of answers that are given (teacher forcing).

        ``bias`` is a factor on the guide, one or one for each window ``(B,)``.
        """
        batch, count = written.x.shape
        fixed, fixed_places = self.prefix(batch)
        text = torch.cat([self._embedded_prefix(fixed), self._embedded_points(written)], 1)
        places = torch.cat([fixed_places, self._places(written, fixed.shape[1])], 1)
        states, _ = self.language(text, places, looked.caches)
        length = fixed.shape[1]
        last, there = states[:, length - 1 :], places[:, length - 1 :]
        logits = self.logits(last, torch.arange(3 * count + 1, device=last.device) % 3 == 1)
        bins = self.config.sequence.bins
        yx = torch.stack([self.pixels_of(written.y), self.pixels_of(written.x)], 2)
        covered = F.pad(self.pointer.covered(looked.pointed, yx), (0, 0, 1, 0))
        for axis, over in enumerate((covered, covered[:, :-1])):
            copied = self.pointer(last[:, axis::3], there[:, axis::3], over, looked.pointed, axis)
            logits[:, axis::3, :bins] = logits[:, axis::3, :bins] + copied
        logits = logits + self._guidance(looked.peaks, written, bias)
        first = len(self.vocabulary.words)
        return Said(logits, self.latent(states[:, first : first + len(self.vocabulary.latent)]))

    def prefix(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return ids ``(B, P)`` up to begin, latent tokens among them, and places ``(B, P, 4)``."""
        v = self.vocabulary
        ids = torch.tensor([*v.words, *v.latent, v.begin], device=self.roles.device)
        places = torch.zeros(len(ids), 4, device=ids.device)
        places[:, 0] = torch.arange(len(ids), device=ids.device)
        return ids.expand(batch, -1), places.expand(batch, -1, -1)

    def start(self, looked: Looked) -> tuple[Tensor, list[Cache]]:
        """Return logits ``(B, V)`` after `prefix`, without the guide, and the cache to go on."""
        ids, places = self.prefix(len(looked.heat))
        states, past = self.language(self._embedded_prefix(ids), places, looked.caches)
        none = torch.zeros_like(looked.pointed.real)
        return self._said_after(looked, states[:, -1:], places[:, -1:], none, 0), past

    def step(
        self,
        looked: Looked,
        past: list[Cache],
        ids: Tensor,
        role: int,
        places: Tensor,
        covered: Tensor,
    ) -> tuple[Tensor, list[Cache]]:
        """Return logits ``(B, V)`` after one more token ``(B,)`` at places ``(B, 4)``.

        ``covered`` ``(B, T)``: the words of the picture on which points lie.
        """
        text = (self.embedding()[ids] + self.roles[role])[:, None]
        states, past = self.language(text, places[:, None], looked.caches, past)
        axis = {SEPARATOR_ROLE: 0, X_ROLE: 1}.get(role)
        return self._said_after(looked, states, places[:, None], covered, axis), past

    def _said_after(
        self, looked: Looked, states: Tensor, places: Tensor, covered: Tensor, axis: int | None
    ) -> Tensor:
        """Return logits ``(B, V)`` after one state, of a coordinate if an axis is asked for."""
        logits = self.logits(states, torch.tensor([axis == 1]))[:, 0]
        if axis is not None:
            copied = self.pointer(states, places, covered[:, None], looked.pointed, axis)[:, 0]
            logits[:, : self.config.sequence.bins] += copied
        return logits

    def embedding(self) -> Tensor:
        """Return the embedding of every token ``(V, dim)``; coordinates come first."""
        sequence = self.config.sequence
        centre = torch.arange(sequence.bins, device=self.roles.device) + 0.5
        waves = waves_of(centre * (sequence.frame / sequence.bins), self.config.language.waves)
        return torch.cat([self.coordinate(waves) + self.coordinate_rest, self.others])

    def logits(self, states: Tensor, asks_y: Tensor) -> Tensor:
        """Return logits ``(B, L, V)``; coordinates are y where ``asks_y`` ``(L,)``, else x."""
        table = self.embedding()
        bins = self.config.sequence.bins
        asked = torch.where(
            asks_y.to(states.device)[:, None], self.asking[1](states), self.asking[0](states)
        )
        coordinates = asked @ table[:bins].T
        return (torch.cat([coordinates, states @ table[bins:].T], -1) * self.scale).float()

    def pixels_of(self, bins: Tensor) -> Tensor:
        """Return the centres of bins, in pixels of the frame."""
        return (bins.float() + 0.5) * (self.config.sequence.frame / self.config.sequence.bins)

    def _embedded_prefix(self, ids: Tensor) -> Tensor:
        return self.embedding()[ids] + self.roles[PREFIX_ROLE]

    def _embedded_points(self, written: Written) -> Tensor:
        ids = torch.stack([written.x, written.y, written.separator], 2)
        roles = self.roles[[X_ROLE, Y_ROLE, SEPARATOR_ROLE]]
        return (self.embedding()[ids] + roles).flatten(1, 2)

    def _places(self, written: Written, start: int) -> Tensor:
        """Return places ``(B, 3 N, 4)``: an x knows its own x, and the rest of the point before."""
        y, x = self.pixels_of(written.y), self.pixels_of(written.x)
        along = reading_place(y, x, self.config.sequence)
        before = F.pad(torch.stack([y, along], 2), (0, 0, 1, 0))[:, :-1]
        index = start + torch.arange(3 * y.shape[1], device=y.device).view(1, -1, 3).expand(
            len(y), -1, -1
        )
        rows = torch.stack(
            [
                torch.stack([before[..., 0], y, y], 2),
                torch.stack([x, x, x], 2),
                torch.stack([before[..., 1], along, along], 2),
            ],
            -1,
        )
        return torch.cat([index[..., None].float(), rows], -1).flatten(1, 2)

    def _guidance(self, peaks: Peaks, written: Written, bias: float | Tensor) -> Tensor:
        """Return what the guide adds to the logits after begin and after each token of points."""
        batch, count = written.x.shape
        v, sequence = self.vocabulary, self.config.sequence
        yx = torch.stack([self.pixels_of(written.y), self.pixels_of(written.x)], 2)
        last = F.pad(self.guide.after(yx[..., 0], yx[..., 1]), (1, 0), value=NOWHERE)
        taken = F.pad(self.guide.taken(peaks, yx), (0, 0, 1, 0))
        first, end = self.guide.next_peak(peaks, last, taken)
        out = self.roles.new_zeros((batch, 3 * count + 1, v.size))
        out[:, 0::3, : sequence.bins] = self.guide.first_coordinate(first, peaks)
        ending = self.guide.ending(end)
        out[:, 3::3, v.end] = ending[:, 1:]
        out[:, 0, v.none[0]] = ending[:, 0]
        if count:
            y = self.guide.second_coordinate(first[:, :-1], peaks, written.x)
            out[:, 1::3, : sequence.bins] = y
        factor = torch.as_tensor(bias, dtype=out.dtype, device=out.device).reshape(-1, 1, 1)
        return out * factor


def vocabulary_of(config: NuNextConfig) -> Vocabulary:
    """Return the words of a configuration."""
    sequence = config.sequence
    return Vocabulary.nano(sequence.bins, config.n_classes, sequence.latent, INSTRUCTION)


@torch.no_grad()
def see(segmenter: Segmenter, pixels: Tensor) -> Seen:
    """Return what a segmenter's encoder and dense heads make of normalised pixels."""
    features = segmenter.encoder(pixels)
    f0, f1, f2 = segmenter.mask_decoder.project(features)
    assert segmenter.dense is not None
    dense = segmenter.dense(features[0])
    maps = torch.cat([dense.foreground, dense.heatmap, dense.distance], 1)
    classes = F.avg_pool2d(dense.classes.softmax(1), CELL // STRIDE)
    return Seen(f0, f1, f2, maps, classes)


def _heat(maps: Tensor) -> Tensor:
    """Return logits of centres ``(B, 1, h, w)``, of the encoder's own dense maps.

    Where the map of centres and the distance to the border agree; either alone has more peaks that
    are none.
    """
    foreground, centre, distance = maps.float().split(1, 1)
    both = (distance.clamp(0, 1) * foreground.sigmoid() + centre.sigmoid()) / 2
    smooth = F.avg_pool2d(both, 3, 1, 1, count_include_pad=False)
    return torch.logit(smooth, 1e-3)


def _inside(maps: Tensor, sizes: Tensor, stride: int) -> Tensor:
    """Return ``(B, h, w)``: the cells of maps that begin inside their windows."""
    h, w = maps.shape[-2:]
    rows = torch.arange(h, device=maps.device) * stride < sizes[:, :1]
    columns = torch.arange(w, device=maps.device) * stride < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None]


def _centres(heat: Tensor, ratio: int) -> Tensor:
    """Return ``(B, T, 2)``: where in each cell the heat is, y and x in pixels of the window."""
    b, _, h, w = heat.shape
    share = F.pixel_unshuffle(heat, ratio).flatten(2).softmax(1)
    at = torch.arange(ratio, device=heat.device) * float(STRIDE) + STRIDE / 2
    within_y = (share.view(b, ratio, ratio, -1) * at[None, :, None, None]).sum((1, 2))
    within_x = (share.view(b, ratio, ratio, -1) * at[None, None, :, None]).sum((1, 2))
    rows, columns = h // ratio, w // ratio
    cell = torch.arange(rows * columns, device=heat.device)
    return torch.stack([within_y + cell // columns * CELL, within_x + cell % columns * CELL], -1)
