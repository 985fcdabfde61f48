from __future__ import annotations

import pytest

from napari_nucleus.core.progress import Cancel, Progress, ignore_progress
from napari_nucleus.errors import CancelledError, NucleusError


def test_fraction_and_time_left_follow_the_pace():
    progress = Progress(5, 20, "tiles", started=100.0)
    assert progress.fraction == 0.25
    assert progress.seconds_left(now=110.0) == pytest.approx(30.0)


def test_nothing_is_estimated_before_the_first_step():
    assert Progress(0, 20).seconds_left() is None


def test_a_job_without_steps_is_done():
    assert Progress(0, 0).fraction == 1.0


def test_more_steps_than_planned_end_at_the_end():
    progress = Progress(25, 20, started=0.0)
    assert progress.fraction == 1.0
    assert progress.seconds_left(now=50.0) == 0.0


def test_a_cancelled_job_stops_at_its_next_step():
    cancel = Cancel()
    assert not cancel
    cancel.check()
    cancel.set()
    assert cancel
    with pytest.raises(CancelledError, match="kept"):
        cancel.check()
    assert issubclass(CancelledError, NucleusError)


def test_reports_can_be_ignored():
    assert ignore_progress(Progress(1, 2)) is None
