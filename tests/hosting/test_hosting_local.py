from dataclasses import replace

import numpy as np
import pytest
from hosting_fakes import INFO, Threshold
from scipy import ndimage

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.progress import Cancel
from napari_nucleus.errors import CancelledError, ImageError, ModelError
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.models.api import Calibration

CALIBRATION = Calibration(1.0, 0.5)


def in_order(nuclei: Nuclei) -> list[tuple]:
    pairs = zip(nuclei.boxes, nuclei.masks, strict=True)
    return sorted((*map(int, box), mask.tobytes()) for box, mask in pairs)


@pytest.mark.parametrize(("tile", "halo"), [(64, 16), (50, 12), (37, 20), (1000, 0)])
def test_tiles_give_what_the_whole_image_gives(blobs, tile, halo):
    model = Threshold(info=replace(INFO, tile=tile, halo=halo))
    found = segment_source(model, ArraySource(blobs, 0.5), CALIBRATION)
    labels, _ = ndimage.label(blobs.max(axis=-1) < 128)
    assert in_order(found) == in_order(Nuclei.from_labels(labels)[0])


def test_a_region_gives_the_nuclei_whose_centroid_it_holds(blobs):
    region = (50, 60, 200, 210)
    found = segment_source(Threshold(), ArraySource(blobs, 0.5), CALIBRATION, region)
    everything = segment_source(Threshold(), ArraySource(blobs, 0.5), CALIBRATION)
    centres = everything.centroids_yx
    inside = np.all((centres >= region[:2]) & (centres < region[2:]), axis=1)
    assert in_order(found) == in_order(everything.select(inside))


def test_an_empty_picture_has_no_nuclei():
    glass = ArraySource(np.full((100, 90, 3), 240, np.uint8), 0.5)
    assert len(segment_source(Threshold(), glass, CALIBRATION)) == 0


def test_cancelling_between_tiles_stops_at_the_next(blobs):
    cancel, done = Cancel(), []

    def stop_at_the_third(report):
        done.append(report.done)
        if report.done == 3:
            cancel.set()

    with pytest.raises(CancelledError):
        segment_source(
            Threshold(),
            ArraySource(blobs, 0.5),
            CALIBRATION,
            on_progress=stop_at_the_third,
            cancel=cancel,
        )
    assert done == [0, 1, 2, 3]


def test_the_pixel_size_is_the_stated_one_else_the_images_else_estimated(blobs):
    model = Threshold()
    assert calibrate_source(model, ArraySource(blobs, 0.4), 0.3).mpp == 0.3
    assert calibrate_source(model, ArraySource(blobs, 0.4)).mpp == 0.4
    assert calibrate_source(model, ArraySource(blobs)).mpp_estimated


def test_what_the_model_or_the_image_raise_is_raised(blobs, tmp_path):
    class Truncated(ArraySource):
        def read(self, box):
            if box[0] > 100:
                raise ImageError("slide.tif: the file ends at row 100.")
            return super().read(box)

    with pytest.raises(ImageError, match="row 100"):
        segment_source(Threshold(), Truncated(blobs, 0.5), CALIBRATION)
    (tmp_path / "segment").write_text("model error")
    with pytest.raises(ModelError):
        segment_source(Threshold(tmp_path), ArraySource(blobs, 0.5), CALIBRATION)
