"""A scripted editing session that is killed at some moment, and what must be true afterwards.

The script is decided by its seed and by the document alone, so that it can be replayed on a
document in memory: the file must hold the last state that was reported as done, or the one that
came after it and was not yet reported.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import multiprocessing
import sqlite3
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from session_helpers import batch, check_consistent, clicks, logits_of, snapshot

from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Outline
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.project import ImageReference, Project

SHAPE = (700, 600)
STEPS = 400
KINDS = ["add", "refine", "remove", "class", "import", "run", "undo", "redo", "region", "lift"]


def script(document: Document, seed: int) -> Iterator[None]:
    """Edit a document; yields whenever something has just been shown as done."""
    rng = np.random.default_rng(seed)
    run = None
    for number in range(STEPS):
        kind = rng.choice(KINDS)
        size, y, x = rng.integers(4, 40, 2), int(rng.integers(0, 660)), int(rng.integers(0, 560))
        box = (y, x, y + int(size[0]), x + int(size[1]))
        outline = Outline(
            rng.random(size) < 0.9, box, clicks((y, x, True)), logits_of(box, rng.random()), iou=0.5
        )
        ids = document.ids
        target = int(ids[rng.integers(len(ids))]) if len(ids) else None
        try:
            if kind == "undo":
                document.undo()
            elif kind == "redo":
                document.redo()
            elif kind == "run":
                if run is None or run.stopped:
                    run = document.run(f"Segment {number}")
                    yield
                prob = np.eye(5)[rng.integers(0, 5, 1)]
                run.add_tile((0, 0, *SHAPE), batch(box, class_prob=prob))
                if rng.random() < 0.3:
                    run.close()
            elif kind == "import":
                actions.import_nuclei(document, batch(box, (box[0], 0, box[2], 9)))
            elif kind == "region":
                place = [(y, x), (y + 300, x), (y + 300, x + 300), (y, x + 200)]
                act = actions.sign_off if number % 2 else actions.exclude
                options = {} if number % 2 else {"remove_nuclei": True}
                act(document, [place], note=f"{number}", made="2026-01-01", **options)
            elif kind == "lift" and document.regions:
                actions.drop_region(document, document.regions[0].id)
            elif kind == "add" or target is None:
                actions.add(document, outline)
            elif kind == "refine":
                actions.refine(document, target, outline)
            elif kind == "remove":
                actions.remove(document, [target])
            else:
                actions.classify(document, [target], number % 6)
        except EditRefusedError:
            pass
        yield


def state_of(document: Document) -> str:
    """Return a digest of all that a user can see, undo and redo included."""
    history = document.history
    seen = (snapshot(document), history.undo_name, history.redo_name)
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def state_after(seed: int, steps: int) -> str:
    """Return the state after so many steps, with runs ended as they are when a file is opened."""
    document = Document(MemoryStore(SHAPE))
    for _ in itertools.islice(script(document, seed), steps):
        pass
    for run in list(document._open_runs.values()):
        run.close()
    return state_of(document)


def edit(path: Path, seed: int, pipe: Connection) -> None:
    """Work through the script in a file, and report each step through a pipe."""
    project = Project.open(path)
    for number, _ in enumerate(script(project.document, seed), start=1):
        pipe.send(number)
    time.sleep(60)


def kill_once(folder: Path, seed: int, seconds: float) -> int:
    """Kill a session after ``seconds`` of editing; check the file; return the steps it had done.

    Raises
    ------
    AssertionError
        If something that was shown is missing, or the file is not whole.
    """
    path = folder / f"kill{seed}.nucleus"
    Project.create(path, ImageReference("image", "f" * 32), SHAPE).close()
    # Forked from a process of its own: this one has threads, which a fork would cut off.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kill_helpers"])
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=edit, args=(path, seed, theirs))
    child.start()
    theirs.close()
    shown = ours.recv()
    time.sleep(seconds)
    child.kill()
    child.join()
    with contextlib.suppress(EOFError):
        while True:
            shown = ours.recv()
    check_file(path, seed, shown)
    return shown


def check_file(path: Path, seed: int, shown: int) -> None:
    """Check a file whose editor was killed after it had shown so many steps."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    allowed = [state_after(seed, shown), state_after(seed, shown + 1)]
    project = Project.open(path)
    assert not project.read_only
    document = project.document
    check_consistent(document)
    assert state_of(document) in allowed, f"not the state after step {shown} or the next one"
    steps = 0
    while document.undo() is not None:
        steps += 1
    check_consistent(document)
    for _ in range(steps):
        assert document.redo() is not None
    check_consistent(document)
    project.close()
