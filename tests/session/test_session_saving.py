"""Save as while edits go on, looking into a project that is worked on, and faults of its file."""

import os
import sqlite3
import threading
from pathlib import Path

import psutil
import pytest
from session_helpers import batch, block, check_consistent, snapshot

from napari_nucleus.errors import ProjectError
from napari_nucleus.session import actions, project_file
from napari_nucleus.session.document import Document
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.session.reading import peek, reading
from napari_nucleus.session.saving import MOST_COPIES
from napari_nucleus.session.view import View

IMAGE = ImageReference("slide.tif", "0123456789abcdef", "/pictures/slide.tif")
SHAPE = (600, 700)


@pytest.fixture(params=["log", "no log"])
def made(request, tmp_path, monkeypatch):
    """A project on a local disk, and on a network drive."""
    if request.param == "no log":
        monkeypatch.setattr(project_file, "is_network_drive", lambda _: True)
    made = Project.create(tmp_path / "work.nucleus", IMAGE, SHAPE, mpp=0.25)
    actions.add(made.document, block(5, 5, 20, 25), 2)
    yield made
    made.close()


def on_another_thread(work):
    failed = []

    def run():
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_an_edit_made_while_it_is_saved_elsewhere_is_in_the_new_file(made, tmp_path):
    target = tmp_path / "named.nucleus"
    saving = made.begin_save_as(target)
    on_another_thread(saving.copy)
    actions.add(made.document, block(50, 5, 60, 25))
    state = snapshot(made.document)
    assert made.finish_save_as(saving) is False, "the copy lacks the edit"
    assert made.path.name == "work.nucleus"
    on_another_thread(saving.copy)
    assert made.finish_save_as(saving) is True
    assert made.path == target
    assert snapshot(made.document) == state
    actions.add(made.document, block(90, 5, 99, 25))
    later = snapshot(made.document)
    made.close()
    again = Project.open(target)
    assert snapshot(again.document) == later
    check_consistent(again.document)
    again.close()


def test_a_long_change_that_has_paused_is_waited_for(tmp_path):
    made = Project.create(tmp_path / "work.nucleus", IMAGE, SHAPE, mpp=0.25)
    for x in range(3):
        actions.add(made.document, block(5, 30 * x, 20, 30 * x + 20))
    steps = actions.remove_in_steps(made.document, [1, 2, 3])
    next(steps)
    next(steps)
    saving = made.begin_save_as(tmp_path / "named.nucleus")
    on_another_thread(saving.copy)
    assert made.finish_save_as(saving) is False, "it is in the middle of its transaction"
    for _ in steps:
        pass
    assert made.document.count == 0
    on_another_thread(saving.copy)
    assert made.finish_save_as(saving) is False, "it has changed the document since"
    on_another_thread(saving.copy)
    assert made.finish_save_as(saving) is True
    assert made.document.count == 0
    assert made.document.undo() == "Remove 3 nuclei"
    assert made.document.count == 3
    made.close()


def test_one_that_changes_during_every_copy_stays_where_it_is(made, tmp_path):
    saving = made.begin_save_as(tmp_path / "named.nucleus")
    for i in range(MOST_COPIES):
        on_another_thread(saving.copy)
        actions.add(made.document, block(50, 10 * i, 60, 10 * i + 9))
        if i < MOST_COPIES - 1:
            assert made.finish_save_as(saving) is False
    with pytest.raises(ProjectError, match="kept changing"):
        made.finish_save_as(saving)
    assert made.path.name == "work.nucleus"
    assert not [f for f in os.listdir(tmp_path) if "named" in f]
    actions.add(made.document, block(200, 5, 210, 25))
    assert made.document.count == MOST_COPIES + 2


def test_a_copy_that_cannot_be_made_leaves_all_as_it_was(made, tmp_path, monkeypatch):
    target = tmp_path / "named.nucleus"
    target.write_text("an older file")
    saving = made.begin_save_as(target)

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("napari_nucleus.session.saving.copy_whole", full)
    with pytest.raises(ProjectError, match=r"named\.nucleus: the copy cannot be written"):
        saving.copy()
    assert target.read_text() == "an older file"
    assert not [f for f in os.listdir(tmp_path) if f.startswith((".named", "named.nucleus."))]
    actions.add(made.document, block(50, 5, 60, 25))


def test_a_reader_sees_one_moment_and_keeps_nobody_from_writing(made):
    before = snapshot(made.document)
    seen = {}

    def look():
        with reading(made.path) as store:
            document = Document(store)
            seen["count"] = document.count
            opened.set()
            written.wait(30)
            seen["all"] = snapshot(document)

    opened, written = threading.Event(), threading.Event()
    thread = threading.Thread(target=look)
    thread.start()
    opened.wait(30)
    actions.add(made.document, block(50, 5, 60, 25))
    written.set()
    thread.join()
    assert seen == {"count": 1, "all": before}
    assert made.document.count == 2


def test_a_look_into_a_file_says_how_far_it_is(made):
    first = made.document.ids.tolist()
    actions.add(made.document, block(50, 5, 60, 25))
    with made.document.run("Segment image") as run:
        run.add_tile((0, 0, *SHAPE), batch((100, 100, 110, 112), (300, 300, 312, 316)))
    summary = peek(made.path)
    assert (summary.nuclei, summary.looked_at) == (4, 2)
    assert (summary.image, summary.shape) == (IMAGE, SHAPE)
    assert first == [1]


def test_where_one_looked_is_kept_and_is_no_step_to_undo(made):
    assert made.view is None
    made.view = View((3.0, 4.5), 2.0, "Correct", 1)
    assert made.document.history.undo_name == "Add nucleus"
    path = made.path
    made.close()
    again = Project.open(path)
    assert again.view == View((3.0, 4.5), 2.0, "Correct", 1)
    again.close()


def test_one_that_is_only_to_be_looked_at_is_not_changed_and_not_locked(made):
    path = made.path
    made.close()
    looking = Project.open(path, "Its picture has changed.")
    assert looking.why_read_only == "Its picture has changed."
    with pytest.raises(ProjectError, match="read only"):
        actions.remove(looking.document, [1])
    other = Project.open(path)
    assert not other.read_only
    other.close()
    looking.close()


def held_open(path: Path) -> list[str]:
    return [f.path for f in psutil.Process().open_files() if Path(f.path).name == path.name]


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be listed there")
@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.write_bytes(b"no database" * 900),
        lambda file: _execute(file, "UPDATE fact SET value = 'x' WHERE key = 'scheme'"),
        lambda file: _execute(file, "DROP TABLE nucleus"),
        lambda file: _execute(file, "PRAGMA application_id = 1"),
    ],
    ids=["no database", "facts", "tables", "another program's"],
)
@pytest.mark.parametrize("look_only", ["", "Only to look at."])
def test_a_damaged_file_is_closed_again(tmp_path, harm, look_only):
    file = tmp_path / "work.nucleus"
    Project.create(file, IMAGE, SHAPE).close()
    harm(file)
    with pytest.raises(ProjectError) as caught:
        Project.open(file, look_only)
    assert caught.value.args, "kept, so that what its frames hold stays alive"
    assert held_open(file) == []
    assert os.listdir(tmp_path) == [file.name]


def _execute(file: Path, statement: str) -> None:
    connection = sqlite3.connect(file)
    connection.execute(statement)
    connection.commit()
    connection.close()
