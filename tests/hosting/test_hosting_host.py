import subprocess
import sys
from concurrent.futures import CancelledError as FutureCancelledError

import numpy as np
import pytest
from hosting_fakes import INFO, Threshold

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.errors import CancelledError, HostError, ImageError, ModelError, WeightsError
from napari_nucleus.hosting.host import Host
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.hosting.messages import ModelSpec
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.models.api import Calibration

T = 60.0
"""Seconds after which a future that does not come is a failure; none should take a fraction."""
CALIBRATION = Calibration(1.0, 0.5)
SHAPE = (300, 280)
DISC = (48.5, 64.5)


def click(y: float = DISC[0], x: float = DISC[1]) -> Prompts:
    return Prompts(np.array([[y, x]]), np.array([True]))


def tile_of(y: float, x: float):
    return click_tile((y, x), SHAPE, INFO, CALIBRATION)


def refine(host: Host, source: ArraySource, point=DISC, **options):
    return host.refine(source, tile_of(*point), CALIBRATION, [click(*point)], **options)


def in_order(nuclei: Nuclei) -> list[tuple]:
    rows = [
        (*map(int, box), mask.tobytes())
        for box, mask in zip(nuclei.boxes, nuclei.masks, strict=True)
    ]
    return sorted(rows)


def steps_of(folder) -> list[str]:
    """What the worker was asked to do, in order."""
    return [line.split()[0] for line in (folder / "log").read_text().splitlines()]


def waiting_in(host: Host) -> int:
    return len(host._dispatcher._queue)


@pytest.fixture
def source(blobs):
    return ArraySource(blobs, 0.5)


@pytest.fixture
def blocked(start, source, tmp_path, until):
    """A host whose worker is held up in a tile until the order is deleted."""
    host = start()
    (tmp_path / "segment").write_text("wait")
    job = host.segment(source, CALIBRATION)
    until((tmp_path / "waiting").exists)
    return host, job, lambda: (tmp_path / "segment").unlink()


def test_the_model_and_its_device_are_known_once_loaded(start):
    host = start()
    assert host.loaded.result(T).info == INFO
    assert host.info == INFO
    assert host.device == "cpu"


def test_states_are_told_in_order(start, tmp_path, until):
    states = []
    host = Host(ModelSpec("hosting_fakes:threshold"))
    host.state_changed.connect(states.append)
    assert host.state == "new"
    with host:
        host.describe().result(T)
        until(lambda: states[-1] == "ready")
    assert states == ["starting", "ready", "busy", "ready", "closed"]


def test_a_click_is_answered_in_level0_pixels(start, source):
    (prediction,) = refine(start(), source).result(T)
    assert prediction.box == (44, 60, 53, 69)
    assert prediction.area == 69
    assert prediction.logits.window == (44.0, 60.0, 52.0, 68.0)


def test_several_prompts_of_a_tile_are_answered_in_their_order(start, source):
    points = [(48.5, 64.5), (64.5, 80.5), (56.5, 56.5)]
    box = tile_of(*DISC)
    future = start().refine(source, box, CALIBRATION, [click(*p) for p in points])
    assert [p.area for p in future.result(T)] == [69, 69, 0]


def test_a_tile_is_encoded_once_and_the_notice_comes_only_then(start, source, tmp_path):
    host = start()
    encoding = []
    for point in (DISC, (50.0, 66.0), DISC):
        refine(host, source, point, on_encoding=encoding.append).result(T)
    assert encoding == [tile_of(*DISC)]
    assert steps_of(tmp_path).count("embed") == 1


def test_equal_pixels_share_their_embeddings_and_other_pixels_do_not(start, blobs, tmp_path):
    host = start()
    for picture in (blobs, blobs.copy(), np.roll(blobs, 5, axis=0)):
        refine(host, ArraySource(picture, 0.5)).result(T)
    assert steps_of(tmp_path).count("embed") == 2


def test_a_tile_that_had_to_go_is_encoded_again(start, source, tmp_path):
    host = start(cache_bytes=1)
    for point in (DISC, (208.5, 208.5), DISC):
        assert refine(host, source, point).result(T)[0].area == 69
    assert steps_of(tmp_path).count("embed") == 3


def test_a_wrong_mirror_is_healed(start, source, tmp_path):
    host = start()
    host._mirror.add(host._mirror.key(source, tile_of(*DISC), CALIBRATION), ())
    encoding = []
    future = refine(host, source, on_encoding=encoding.append)
    assert future.result(T)[0].area == 69
    assert encoding == [tile_of(*DISC)]


def test_the_newest_click_wins(blocked, source):
    host, _, release = blocked
    first = refine(host, source, key="nucleus 1")
    other = refine(host, source, key="nucleus 2")
    second = refine(host, source, (208.5, 208.5), key="nucleus 1")
    assert first.cancelled()
    release()
    assert second.result(T)[0].box == (204, 204, 213, 213)
    assert other.result(T)[0].box == (44, 60, 53, 69)


def test_clicks_without_a_key_are_all_answered(blocked, source):
    host, _, release = blocked
    futures = [refine(host, source) for _ in range(3)]
    release()
    assert [f.result(T)[0].area for f in futures] == [69, 69, 69]


def test_a_click_overtakes_the_tiles_that_wait(start, source, tmp_path, until):
    host = start()
    refine(host, source).result(T)
    (tmp_path / "segment").write_text("wait")
    job = host.segment(source, CALIBRATION)
    until((tmp_path / "waiting").exists)
    until(lambda: waiting_in(host) == 1)
    future = refine(host, source)
    (tmp_path / "segment").unlink()
    future.result(T)
    job.wait(T)
    assert steps_of(tmp_path)[:5] == ["embed", "refine", "segment", "refine", "segment"]


def test_visible_tiles_go_before_those_of_another_job(blocked, source, until):
    host, job, release = blocked
    view = (200, 200, 260, 260)
    until(lambda: waiting_in(host) == 1)
    seen = host.segment(source, CALIBRATION, region=view, visible=view)
    done = []
    job.future.add_done_callback(lambda _: done.append("all"))
    seen.future.add_done_callback(lambda _: done.append("view"))
    until(lambda: waiting_in(host) > 1)
    release()
    job.wait(T)
    seen.wait(T)
    assert done == ["view", "all"]


def test_segmenting_gives_what_the_command_line_gives(start, source):
    streamed = []
    calibration = start().calibrate(source).result(T)
    job = start().segment(source, calibration, on_tile=lambda _, found: streamed.append(found))
    count = job.wait(T)
    here = segment_source(Threshold(), source, calibrate_source(Threshold(), source))
    assert calibration == calibrate_source(Threshold(), source)
    assert count == len(here) == 18 * 17
    assert in_order(Nuclei.concatenate(streamed)) == in_order(here)


def test_a_region_and_a_starting_point_are_respected(start, source):
    tiles = []
    job = start().segment(
        source,
        CALIBRATION,
        region=(0, 0, 200, 200),
        start_yx=(190.0, 190.0),
        on_tile=lambda spec, found: tiles.append((spec.core, found)),
    )
    assert job.wait(T) == sum(len(found) for _, found in tiles)
    assert tiles[0][0] == (192, 192, 200, 200)
    assert tiles[-1][0] == (0, 0, 64, 64)
    for core, _ in tiles:
        assert core[2] <= 200
        assert core[3] <= 200


def test_progress_is_told_from_the_beginning_to_the_end(start, source):
    reports = []
    start().segment(source, CALIBRATION, on_progress=reports.append).wait(T)
    assert [r.done for r in reports] == list(range(26))
    assert {r.total for r in reports} == {25}
    assert len({r.started for r in reports}) == 1


def test_pixels_are_read_while_the_worker_is_in_a_tile(blobs, start, tmp_path, until):
    class Watched(ArraySource):
        reads = 0

        def read(self, box):
            Watched.reads += 1
            return super().read(box)

    host = start()
    (tmp_path / "segment").write_text("wait")
    host.segment(Watched(blobs, 0.5), CALIBRATION)
    until((tmp_path / "waiting").exists)
    until(lambda: Watched.reads == 2)


def test_cancelling_stops_within_one_tile(blocked, source, tmp_path):
    host, job, release = blocked
    job.cancel()
    release()
    with pytest.raises(CancelledError):
        job.wait(T)
    refine(host, source).result(T)
    assert steps_of(tmp_path) == ["segment", "embed", "refine"]


def test_cancelling_a_job_that_waits_for_its_turn_is_immediate(blocked, source):
    host, _, release = blocked
    later = host.segment(source, CALIBRATION)
    later.cancel()
    with pytest.raises(CancelledError):
        later.wait(T)
    release()


def test_cancelling_while_the_model_is_being_loaded_is_immediate(start, source, tmp_path):
    (tmp_path / "load").write_text("wait")
    job = start("loads_slowly").segment(source, CALIBRATION)
    job.cancel()
    with pytest.raises(CancelledError):
        job.wait(T)
    (tmp_path / "load").unlink()


def test_requests_made_before_the_model_is_loaded_are_kept(start, source, tmp_path):
    (tmp_path / "load").write_text("wait")
    host = start("loads_slowly")
    click_future = refine(host, source)
    calibration = host.calibrate(source)
    assert host.state == "starting"
    assert host.info is None
    (tmp_path / "load").unlink()
    assert click_future.result(T)[0].area == 69
    assert calibration.result(T).mpp == 0.5


def test_prefetched_tiles_are_ready_for_a_click(start, source):
    host = start()
    boxes = [tile_of(*DISC), tile_of(208.5, 208.5)]
    assert host.prefetch(source, boxes, CALIBRATION).wait(T) == 2
    assert host.prefetch(source, boxes, CALIBRATION).wait(T) == 0
    encoding = []
    refine(host, source, on_encoding=encoding.append).result(T)
    assert encoding == []
    assert host.describe().result(T).cached_tiles == 2


def test_a_moved_view_replaces_what_was_to_be_prefetched(blocked, source):
    host, _, release = blocked
    older = host.prefetch(source, [tile_of(*DISC)], CALIBRATION)
    newer = host.prefetch(source, [tile_of(208.5, 208.5)], CALIBRATION)
    with pytest.raises(CancelledError):
        older.wait(T)
    release()
    assert newer.wait(T) == 1


def test_an_image_without_a_pixel_size_is_estimated(start, blobs):
    calibration = start().calibrate(ArraySource(blobs)).result(T)
    assert calibration.mpp_estimated


def test_errors_of_a_model_arrive_as_they_are_and_the_host_goes_on(start, source, tmp_path):
    host = start()
    (tmp_path / "segment").write_text("model error")
    with pytest.raises(ModelError, match="too wonderful"):
        host.segment(source, CALIBRATION).wait(T)
    (tmp_path / "segment").write_text("out of memory")
    with pytest.raises(HostError, match="out of memory"):
        host.segment(source, CALIBRATION).wait(T)
    (tmp_path / "segment").write_text("fault")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        host.segment(source, CALIBRATION).wait(T)
    (tmp_path / "segment").unlink()
    assert host.segment(source, CALIBRATION).wait(T) == 306


def test_an_image_that_cannot_be_read_fails_what_needs_it(start, blobs):
    class Vanished(ArraySource):
        def read(self, box):
            raise ImageError("slide.svs: the file has vanished.")

    host, source = start(), Vanished(blobs, 0.5)
    for future in (
        refine(host, source),
        host.segment(source, CALIBRATION).future,
        host.calibrate(source),
        host.prefetch(source, [tile_of(*DISC)], CALIBRATION).future,
    ):
        with pytest.raises(ImageError, match="vanished"):
            future.result(T)


def test_weights_that_do_not_fit_fail_everything_with_their_own_words(start, source):
    host = start("bad_weights")
    waiting = [refine(host, source), host.calibrate(source), host.describe(), host.loaded]
    for future in waiting:
        with pytest.raises(WeightsError, match="3 keys do not fit"):
            future.result(T)
    assert host.state == "failed"
    for future in (refine(host, source), host.segment(source, CALIBRATION).future):
        with pytest.raises(WeightsError, match="3 keys do not fit"):
            future.result(T)


def test_a_listener_that_fails_does_not_stop_the_host(start, source):
    host = Host(ModelSpec("hosting_fakes:threshold"))

    def broken(_: str) -> None:
        raise ValueError("a listener's fault")

    host.state_changed.connect(broken)
    with host:
        assert refine(host, source).result(T)[0].area == 69


def test_a_callback_that_fails_ends_its_job_alone(start, source):
    def broken(*_):
        raise ValueError("a drawing fault")

    host = start()
    with pytest.raises(ValueError, match="drawing"):
        host.segment(source, CALIBRATION, on_tile=broken).wait(T)
    assert refine(host, source).result(T)[0].area == 69


def test_closing_cancels_what_waits_and_refuses_what_comes(blocked, source):
    host, job, _ = blocked
    waiting = refine(host, source, key=1)
    host.close()
    host.close()
    with pytest.raises(CancelledError):
        job.wait(T)
    with pytest.raises((FutureCancelledError, CancelledError)):
        waiting.result(T)
    with pytest.raises(CancelledError, match="closed"):
        refine(host, source).result(T)
    assert host.state == "closed"


def test_a_host_that_was_never_started_can_be_closed():
    host = Host(ModelSpec("hosting_fakes:threshold"))
    host.close()
    assert host.state == "closed"
    assert host.loaded.cancelled()


@pytest.mark.parametrize("module", ["host", "local", "planning", "worker", "messages"])
def test_nothing_of_hosting_imports_torch_or_qt(module):
    code = (
        f"import napari_nucleus.hosting.{module}, sys; "
        "print([m for m in ('torch', 'transformers', 'napari', 'qtpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
