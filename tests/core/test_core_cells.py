"""Cells of label maps and of other class schemes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tme_helpers import cells_at

from napari_nucleus.core.cells import Cells, canonical_classes, cells_of_labels
from napari_nucleus.core.classes import PANNUKE, UNKNOWN_CLASS, ClassScheme, NucleusClass
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.schemes import CONSEP, MONUSAC
from napari_nucleus.errors import LabelsError


@given(
    arrays(
        np.int32,
        array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([0, 0, 1, 2, 7, 900]),
    )
)
def test_cells_of_a_label_map_are_where_its_nuclei_are(labels):
    nuclei, ids = Nuclei.from_labels(labels)
    cells = cells_of_labels(labels, {1: 3, 7: 5}, 0.25)
    assert cells.ids.tolist() == ids.tolist()
    assert cells.areas.tolist() == nuclei.areas.tolist()
    np.testing.assert_allclose(cells.centroids_yx, nuclei.centroids_yx)
    assert cells.class_ids.tolist() == [{1: 3, 7: 5}.get(i, 0) for i in ids]


@pytest.mark.parametrize("shape", [(4, 5, 3), (2, 4, 5), (5,)])
def test_an_instance_mask_with_channels_is_refused_by_its_shape(shape):
    with pytest.raises(ValueError, match="2 dimensions") as refused:
        cells_of_labels(np.ones(shape, int), {1: 1}, 0.25, "mask.tif")
    assert isinstance(refused.value, LabelsError)
    assert "mask.tif" in str(refused.value)
    assert str(shape) in str(refused.value)


def test_cells_that_cannot_be_are_refused():
    for wrong, said in (
        ({"centroids_yx": [(1, np.nan)]}, "not a number"),
        ({"areas": [1, 2]}, "1 centroids and 2 areas"),
        ({"class_ids": [6]}, "class 6 is not canonical"),
        ({"mpp": 0.0}, "mpp"),
        ({"ids": [4, 5]}, "2 ids"),
    ):
        right = {"centroids_yx": [(1, 2)], "areas": [3], "class_ids": [1], "mpp": 0.25}
        with pytest.raises(ValueError, match=said):
            Cells(**{**right, **wrong})
    with pytest.raises(ValueError, match="same id"):
        Cells(np.zeros((2, 2)), np.ones(2), np.ones(2, int), 0.25, np.array([3, 3]))


def test_cells_within_a_geometry_keep_what_belongs_to_them():
    cells = cells_at([(10, 50), (50, 10), (50, 50)], [1, 2, 3])
    inside = cells.within(shapely.box(0, 40, 30, 60))  # x 0–30, y 40–60
    assert inside.class_ids.tolist() == [2]
    assert inside.ids.tolist() == [2]
    assert cells.counted.all()


def test_classes_of_other_schemes_become_canonical():
    same, together = canonical_classes(np.array([0, 1, 5, UNKNOWN_CLASS]), PANNUKE)
    assert same.tolist() == [0, 1, 5, UNKNOWN_CLASS]
    assert together == ()
    consep, together = canonical_classes(np.array([0, 1, 2, 3, 4]), CONSEP)
    assert consep.tolist() == [0, 0, 2, 5, 3]
    assert together == (1, 5)
    assert canonical_classes(np.array([1, 2, 3, 4]), MONUSAC)[0].tolist() == [5, 2, 2, 2]
    own = ClassScheme("own", (NucleusClass(1, "tumour", (1, 2, 3)),))
    assert canonical_classes(np.array([1]), own) == (np.array([1]), ())
