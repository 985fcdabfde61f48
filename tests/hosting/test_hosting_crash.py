import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hosting_fakes import DEADLY, INFO

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.errors import CancelledError, HostError
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.hosting.shared import BLOCK_PREFIX
from napari_nucleus.models.api import Calibration

T = 60.0
CALIBRATION = Calibration(1.0, 0.5)
DISC = (48.5, 64.5)
SHM = Path("/dev/shm")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def refine(host, source, point=DISC, **options):
    box = click_tile(point, source.shape, INFO, CALIBRATION)
    prompts = Prompts(np.array([point]), np.array([True]))
    return host.refine(source, box, CALIBRATION, [prompts], **options)


def blocks_of(pid: int) -> list[str]:
    return [p.name for p in SHM.glob(f"{BLOCK_PREFIX}{pid}-*")] if SHM.is_dir() else []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.fixture
def source(blobs):
    return ArraySource(blobs, 0.5)


@pytest.fixture
def deadly(blobs):
    """A picture on which the worker dies whenever it sees the upper left tile."""
    picture = blobs.copy()
    picture[0, 0] = DEADLY
    return ArraySource(picture, 0.5)


@needs_posix
@pytest.mark.parametrize("step", ["embed", "refine"])
def test_a_click_on_which_the_worker_is_killed_is_answered_all_the_same(
    start, source, tmp_path, step
):
    states = []
    host = start()
    first = host.loaded.result(T) and host.pid
    host.state_changed.connect(states.append)
    (tmp_path / step).write_text("die once")
    assert refine(host, source).result(T)[0].area == 69
    assert host.pid != first
    assert "restarting" in states


@needs_posix
def test_a_click_on_a_cached_tile_is_answered_by_the_next_worker(start, source, tmp_path):
    host = start()
    refine(host, source).result(T)
    (tmp_path / "refine").write_text("die once")
    encoding = []
    assert refine(host, source, on_encoding=encoding.append).result(T)[0].area == 69
    assert len(encoding) == 1


@needs_posix
def test_a_job_survives_the_death_of_its_worker_without_losing_or_repeating_nuclei(
    start, source, tmp_path
):
    host = start()
    expected = host.segment(source, CALIBRATION).wait(T)
    tiles = []

    def on_tile(spec, _):
        tiles.append(spec)
        if len(tiles) == 3:
            (tmp_path / "segment").write_text("die once")

    assert host.segment(source, CALIBRATION, on_tile=on_tile).wait(T) == expected
    assert len(tiles) == len(set(tiles)) == 25


@needs_posix
def test_what_is_queued_survives_a_death(start, source, tmp_path, until):
    host = start()
    (tmp_path / "segment").write_text("wait")
    job = host.segment(source, CALIBRATION)
    until((tmp_path / "waiting").exists)
    waiting = [refine(host, source), host.calibrate(source)]
    os.kill(host.pid, signal.SIGKILL)
    (tmp_path / "segment").unlink()
    for future in waiting:
        future.result(T)
    assert job.wait(T) > 0


@needs_posix
def test_an_idle_worker_that_is_killed_is_replaced(start, source):
    host = start()
    refine(host, source).result(T)
    os.kill(host.pid, signal.SIGKILL)
    assert refine(host, source).result(T)[0].area == 69


def test_a_request_that_kills_twice_fails_and_the_host_goes_on(start, source, deadly):
    host = start()
    with pytest.raises(HostError, match="died twice on the click: it ended with exit code 3"):
        refine(host, deadly, (10.5, 10.5)).result(T)
    assert refine(host, deadly, (208.5, 208.5)).result(T)[0].area == 69
    with pytest.raises(HostError, match="died twice on the tile at y 0, x 0"):
        host.segment(deadly, CALIBRATION).wait(T)
    assert refine(host, source).result(T)[0].area == 69


@needs_posix
def test_a_death_by_want_of_memory_is_named(start, source, tmp_path, until):
    host = start()
    (tmp_path / "embed").write_text("wait")
    future = refine(host, source)
    for _ in range(2):
        until((tmp_path / "waiting").exists)
        (tmp_path / "waiting").unlink()
        os.kill(host.pid, signal.SIGKILL)
    with pytest.raises(HostError, match=r"SIGKILL.*memory"):
        future.result(T)
    (tmp_path / "embed").unlink()


def test_a_worker_that_dies_once_while_loading_is_started_again(start, source):
    assert refine(start("dies_once_while_loading"), source).result(T)[0].area == 69


def test_a_model_that_kills_every_worker_is_given_up(start, source):
    host = start("dies_while_loading")
    waiting = refine(host, source)
    with pytest.raises(HostError, match="exit code 7"):
        waiting.result(T)
    assert host.state == "failed"
    with pytest.raises(HostError, match="exit code 7"):
        host.loaded.result(T)


def test_nothing_is_left_after_crashes_and_close(start, source, deadly):
    host = start()
    with pytest.raises(HostError):
        host.segment(deadly, CALIBRATION).wait(T)
    host.calibrate(source).result(T)
    host.describe().result(T)
    pid = host.pid
    assert pid
    host.close()
    assert blocks_of(os.getpid()) == []
    assert not is_alive(pid)
    assert pid not in {child.pid for child in multiprocessing.active_children()}


def test_a_busy_worker_does_not_outlive_close(start, source, tmp_path, until):
    host = start()
    (tmp_path / "segment").write_text("wait")
    job = host.segment(source, CALIBRATION)
    until((tmp_path / "waiting").exists)
    pid = host.pid
    host.close()  # would wait for ever if it waited for the tile
    assert not is_alive(pid)
    with pytest.raises(CancelledError):
        job.wait(T)


def test_closing_while_the_model_is_being_loaded_does_not_wait_for_it(start, tmp_path, until):
    (tmp_path / "load").write_text("wait")
    host = start("loads_slowly")
    until((tmp_path / "waiting").exists)
    pid = host.pid
    host.close()
    assert not is_alive(pid)
    assert host.loaded.cancelled()


SCRIPT = """
import json, os, sys, time
sys.path.insert(0, {tests!r})
import numpy as np
from napari_nucleus.core.image import ArraySource
from napari_nucleus.hosting.host import Host
from napari_nucleus.hosting.messages import ModelSpec
from napari_nucleus.models.api import Calibration

def main():
    host = Host(ModelSpec("hosting_fakes:threshold", {{"folder": {folder!r}}}))
    host.start()
    host.loaded.result(60)
    picture = np.full((600, 600, 3), 240, np.uint8)
    host.calibrate(ArraySource(picture), 0.5).result(60)
{before}
    try:
        print(json.dumps([os.getpid(), host.pid]), flush=True)
        time.sleep({seconds})
    except KeyboardInterrupt:
        {on_interrupt}

if __name__ == "__main__":
    main()
"""


def run_script(
    folder: Path, before: str = "", seconds: int = 600, on_interrupt: str = "raise"
) -> subprocess.Popen:
    """Start a program that owns a host and prints its process id and the worker's."""
    code = SCRIPT.format(
        tests=str(Path(__file__).parent),
        folder=str(folder),
        before=textwrap.indent(textwrap.dedent(before), " " * 4),
        seconds=seconds,
        on_interrupt=on_interrupt,
    )
    path = folder / "program.py"
    path.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def pids_of(program: subprocess.Popen) -> tuple[int, int]:
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line, program.communicate()[1]
    return tuple(json.loads(line))


BUSY = "host.segment(ArraySource(picture), Calibration(1.0, 0.5))"


@needs_posix
@pytest.mark.parametrize("work", ["", BUSY])
def test_no_worker_and_no_memory_outlive_a_program_that_is_killed(tmp_path, until, work):
    if work:
        (tmp_path / "segment").write_text("wait")
    program = run_script(tmp_path, work)
    parent, worker = pids_of(program)
    if work:
        until((tmp_path / "waiting").exists)
    os.kill(parent, signal.SIGKILL)
    program.communicate(timeout=T)
    until(lambda: not is_alive(worker))
    until(lambda: not blocks_of(parent))


@needs_posix
@pytest.mark.parametrize("work", ["", BUSY])
def test_a_program_that_just_ends_leaves_nothing_and_says_nothing(tmp_path, until, work):
    if work:
        (tmp_path / "segment").write_text("wait")
    program = run_script(tmp_path, work, seconds=0)
    parent, worker = pids_of(program)
    _, complaints = program.communicate(timeout=T)
    assert complaints == ""
    assert program.returncode == 0
    until(lambda: not is_alive(worker))
    assert blocks_of(parent) == []


@needs_posix
def test_an_interrupt_from_the_terminal_is_left_to_the_program(tmp_path):
    show = "print(host.describe().result(60).device, host.pid)"
    program = run_script(tmp_path, on_interrupt=show)
    parent, worker = pids_of(program)
    os.killpg(parent, signal.SIGINT)
    out, complaints = program.communicate(timeout=T)
    assert out.split() == ["cpu", str(worker)]
    assert complaints == ""


@needs_posix
def test_an_interrupt_while_the_worker_starts_prints_nothing(tmp_path):
    start_another = """
        second = Host(ModelSpec("hosting_fakes:threshold"))
        second.start()
    """
    show = "print(second.loaded.result(60).device)"
    program = run_script(tmp_path, start_another, on_interrupt=show)
    parent, _ = pids_of(program)
    os.killpg(parent, signal.SIGINT)
    out, complaints = program.communicate(timeout=T)
    assert out.strip() == "cpu"
    assert complaints == ""


def test_a_script_without_a_main_guard_is_not_run_again_by_the_worker(tmp_path):
    path = tmp_path / "unguarded.py"
    path.write_text(
        f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
print("run", __name__, flush=True)
from napari_nucleus.hosting.host import Host
from napari_nucleus.hosting.messages import ModelSpec
with Host(ModelSpec("hosting_fakes:threshold")) as host:
    print(host.loaded.result(60).device, sys.modules["__main__"].__file__ == __file__)
"""
    )
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=T)
    assert done.stdout.split() == ["run", "__main__", "cpu", "True"]
    assert done.stderr == ""
