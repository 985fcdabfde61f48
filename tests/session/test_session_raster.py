from __future__ import annotations

import numpy as np
import pytest
from session_helpers import STORES, batch, block, make_document

from napari_nucleus.core.outlines import INTERIOR, UNCLASSIFIED_OUTLINE
from napari_nucleus.session import actions
from napari_nucleus.session.pyramid import level_shape
from napari_nucleus.session.raster import ClassRaster, RasterTiles

SHAPE = (4200, 600)
MARK = 253


def followed(document, raster, tiles):
    """Keep a raster up to date as a view does."""

    def on_changed(box, kinds):
        raster.follow(box)
        tiles.redraw(box)

    document.changed.connect(on_changed)
    return on_changed


def whole(raster_or_tiles, level):
    return raster_or_tiles.read((0, 0, *level_shape(SHAPE, level)), level)


@STORES
def test_what_is_kept_is_what_would_be_drawn_anew_after_any_edit(make):
    document = make_document(SHAPE, store=make(SHAPE, 64))
    raster = ClassRaster(document)
    tiles = RasterTiles(raster)
    listener = followed(document, raster, tiles)
    levels = range(raster.levels)
    assert not any(whole(tiles, level).any() for level in levels)
    rng = np.random.default_rng(1)
    for i in range(12):
        y, x = int(rng.integers(0, 4150)), int(rng.integers(0, 560))
        actions.add(document, block(y, x, y + 30, x + 25), i % 6)
    actions.classify(document, [2, 5], 3)
    actions.remove(document, [4])
    document.undo()
    for box in raster.mark(6, MARK):
        tiles.redraw(box)
    fresh = ClassRaster(document)
    fresh.mark(6, MARK)
    for level in levels:
        kept = whole(tiles, level)
        np.testing.assert_array_equal(kept, whole(RasterTiles(fresh), level))
        assert kept.any()
    assert (whole(tiles, 0) == MARK).any()
    document.changed.disconnect(listener)


def test_tiles_that_do_not_fit_are_drawn_when_they_are_looked_at_again():
    document = make_document(SHAPE)
    actions.add(document, block(10, 10, 30, 30), 2)
    raster = ClassRaster(document)
    tiles = RasterTiles(raster, cached=1)
    first = whole(tiles, 0)
    np.testing.assert_array_equal(whole(tiles, 0), first)
    assert set(np.unique(first)) == {0, 2, 2 + INTERIOR}


def test_unmarking_gives_the_class_back():
    document = make_document((64, 64))
    actions.add(document, block(10, 10, 30, 30))
    raster = ClassRaster(document)
    assert raster.mark(1, MARK) == [(10, 10, 30, 30)]
    assert raster.mark(1, MARK) == []
    assert MARK in raster.draw((0, 0, 64, 64))
    assert raster.mark(None, MARK) == [(10, 10, 30, 30)]
    values = {0, UNCLASSIFIED_OUTLINE, UNCLASSIFIED_OUTLINE + INTERIOR}
    assert set(np.unique(raster.draw((0, 0, 64, 64)))) == values


def test_several_are_chosen_and_let_go():
    document = make_document((64, 64))
    for y in (0, 20, 40):
        actions.add(document, block(y, y, y + 10, y + 10), 2)
    raster = ClassRaster(document)
    whole_image = (0, 0, 64, 64)
    before = raster.draw(whole_image)
    assert raster.choose([3, 1], MARK) == [(0, 0, 50, 50)]
    raster.mark(2, MARK + 1)
    drawn = raster.draw(whole_image)
    assert (drawn[0, 0], drawn[20, 20], drawn[40, 40]) == (MARK, MARK + 1, MARK)
    assert drawn[5, 5] == 2 + INTERIOR
    raster.mark(None, MARK)
    assert raster.choose([], MARK) == [(0, 0, 50, 50)]
    np.testing.assert_array_equal(raster.draw(whole_image), before)


@pytest.mark.parametrize("ids", [(1, 2), (70_000, 2_000_000_000)])
def test_ids_may_lie_anywhere(ids):
    document = make_document((64, 64))
    nuclei = batch((0, 0, 9, 9), (20, 20, 40, 40), class_prob=np.eye(5)[[1, 3]])
    actions.import_nuclei(document, nuclei, ids=np.array(ids))
    assert document.ids.tolist() == list(ids)
    values = set(np.unique(ClassRaster(document).draw((0, 0, 64, 64))))
    assert values == {0, 2, 4, 2 + INTERIOR, 4 + INTERIOR}
