"""The project file: what is in it after any end, who may write, and what is refused."""

import multiprocessing
import os
import re
import shutil
import sqlite3
import stat
import time

import numpy as np
import pytest
from session_helpers import (
    batch,
    block,
    check_consistent,
    clicks,
    logits_of,
    snapshot,
)

from napari_nucleus.core.classes import ClassScheme, NucleusClass
from napari_nucleus.errors import ProjectError
from napari_nucleus.session import actions, drives, project_file, schema
from napari_nucleus.session.actions import Outline
from napari_nucleus.session.project import ImageReference, Project

IMAGE = ImageReference("slide.tif", "0123456789abcdef", "/pictures/slide.tif")
SHAPE = (600, 700)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "work.nucleus"


@pytest.fixture
def made(file):
    made = Project.create(file, IMAGE, SHAPE, mpp=0.25)
    yield made
    made.close()


def annotate(document):
    """Do a bit of everything; return the ids that were made."""
    first = actions.add(document, block(5, 5, 20, 25), 2).ids[0]
    box = (500, 505, 520, 530)
    outline = Outline(
        np.ones((20, 25), bool), box, clicks((510, 510, True)), logits_of(box, 0.3), iou=0.7
    )
    second = actions.add(document, outline).ids[0]
    actions.classify(document, [first], 4)
    actions.refine(document, first, block(5, 5, 24, 25))
    with document.run("Segment image") as run:
        prob = np.eye(5)[:2] * 0.9
        run.add_tile(
            (0, 0, *SHAPE), batch((100, 100, 110, 112), (508, 300, 520, 316), class_prob=prob)
        )
    actions.remove(document, [second])
    document.undo()
    return first, second


def test_all_of_it_is_there_again(file, made):
    _, second = annotate(made.document)
    before = snapshot(made.document)
    assert made.document.history.redo_name == "Remove nucleus"
    made.close()
    again = Project.open(file)
    assert snapshot(again.document) == before
    assert again.document.mpp == 0.25
    assert again.image == IMAGE
    assert not again.read_only
    check_consistent(again.document)
    assert again.document.redo() == "Remove nucleus"
    assert second not in again.document
    while again.document.undo() is not None:
        check_consistent(again.document)
    assert again.is_empty is False, "what was undone can be done again"
    assert again.document.count == 0
    again.close()


def test_one_file_is_left_when_it_is_closed(file, made):
    annotate(made.document)
    made.close()
    assert os.listdir(file.parent) == [file.name]


def test_a_new_action_after_reopening_never_takes_an_old_id(file, made):
    _, second = annotate(made.document)
    made.document.redo()
    made.close()
    again = Project.open(file)
    assert second not in again.document
    new = actions.add(again.document, block(300, 300, 310, 310)).ids[0]
    assert new > second
    again.close()


def test_pixel_size_and_classes_are_kept(file, made):
    made.document.mpp = 0.4983
    made.close()
    again = Project.open(file)
    assert again.document.mpp == 0.4983
    again.document.mpp = None
    again.close()
    assert Project.open(file).document.mpp is None
    own = ClassScheme("own", (NucleusClass(7, "mitosis", (255, 0, 0), "m"),), (1, 2, 3))
    Project.create(file.with_name("own.nucleus"), IMAGE, SHAPE, own).close()
    assert Project.open(file.with_name("own.nucleus")).document.scheme == own


def test_an_edit_is_in_the_file_before_anybody_is_told(file, made):
    seen = []

    def look(*_):
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as other:
            seen.append(other.execute("SELECT COUNT(*) FROM nucleus").fetchone()[0])

    made.document.changed.connect(look)
    actions.add(made.document, block(5, 5, 20, 25))
    actions.add(made.document, block(50, 50, 60, 65))
    made.document.undo()
    assert seen == [1, 2, 1]


def test_steps_say_who_made_them_and_when(file, made):
    made.annotator = "A. Pathologist"
    actions.add(made.document, block(5, 5, 20, 25))
    with sqlite3.connect(file) as other:
        name, annotator, when = other.execute("SELECT name, annotator, made FROM action").fetchone()
    assert (name, annotator) == ("Add nucleus", "A. Pathologist")
    assert when.startswith("20")


def test_a_run_that_found_nothing_before_the_end_leaves_no_step(file, made):
    actions.add(made.document, block(5, 5, 20, 25))
    made.document.run("Segment image")
    made.close()  # the run is still open
    again = Project.open(file)
    assert again.document.history.undo_name == "Add nucleus"
    again.close()


# ---- who may write


def test_a_second_opener_reads_only_and_is_told(file, made):
    annotate(made.document)
    second = Project.open(file)
    assert "Another window" in second.why_read_only
    assert snapshot(second.document) == snapshot(made.document)
    with pytest.raises(ProjectError, match="read only"):
        actions.remove(second.document, second.document.ids.tolist())
    with pytest.raises(ProjectError, match="read only"):
        second.document.undo()
    actions.add(made.document, block(400, 5, 410, 25))
    second.close()
    made.close()
    third = Project.open(file)
    assert not third.read_only
    third.close()


def hold(path, ready, _done):
    project = Project.open(path)
    ready.send(project.read_only)
    time.sleep(60)


def test_the_lock_of_a_killed_program_is_gone(file, made):
    made.close()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=hold, args=(file, theirs, None))
    child.start()
    assert ours.recv() is False
    assert Project.open(file).read_only
    child.kill()
    child.join()
    again = Project.open(file)
    assert not again.read_only
    again.close()


@pytest.mark.skipif(os.name == "nt", reason="folders are protected otherwise there")
def test_a_protected_file_is_read_only(file, made, monkeypatch):
    annotate(made.document)
    before = snapshot(made.document)
    made.close()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    protected = Project.open(file)
    assert "protected" in protected.why_read_only
    assert snapshot(protected.document) == before
    protected.close()
    assert stat.S_ISREG(file.stat().st_mode)


def test_a_file_with_a_log_that_nobody_finished_can_be_read_where_nothing_can_be_written(
    file, made, tmp_path, monkeypatch
):
    annotate(made.document)
    shutil.copytree(file.parent, tmp_path / "copy")  # as after a kill: with its log
    monkeypatch.setattr(os, "access", lambda *_: False)
    copy = Project.open(tmp_path / "copy" / file.name)
    assert snapshot(copy.document) == snapshot(made.document)
    copy.close()


def test_a_network_drive_gets_no_log_and_every_edit_waits_for_the_disk(file, monkeypatch):
    monkeypatch.setattr(project_file, "is_network_drive", lambda _: True)
    made = Project.create(file, IMAGE, SHAPE)
    actions.add(made.document, block(5, 5, 20, 25))
    assert not file.with_name(f"{file.name}-wal").exists()
    assert made._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    made.close()


@pytest.mark.parametrize(
    ("kind", "options", "network"),
    [("nfs4", "rw", True), ("ext4", "rw", False), ("NTFS", "rw,remote", True), ("", "rw", False)],
)
def test_network_drives_are_known_by_what_is_mounted(tmp_path, monkeypatch, kind, options, network):
    class Part:
        def __init__(self, mountpoint, fstype, opts):
            self.mountpoint, self.fstype, self.opts = mountpoint, fstype, opts

    other = Part(str(tmp_path / "other"), "nfs", "rw")
    parts = [Part("/", "ext4", "rw"), Part(str(tmp_path), kind, options), other]
    monkeypatch.setattr(drives.psutil, "disk_partitions", lambda all: parts)
    assert drives.is_network_drive(tmp_path / "a" / "b.nucleus") is network


# ---- what goes wrong


def test_a_full_disk_refuses_the_edit_and_changes_nothing(file, made):
    annotate(made.document)
    pages = made._connection.execute("PRAGMA page_count").fetchone()[0]
    made._connection.execute(f"PRAGMA max_page_count = {pages}")
    told, number = [], 0
    made.document.changed.connect(lambda *_: told.append(1))
    while number < 2000:
        before, number = snapshot(made.document), number + 1
        told.clear()
        try:
            actions.classify(made.document, [1], 1 + number % 5)
        except ProjectError as error:
            message = str(error)
            break
    assert re.match(
        r"work\.nucleus: the last change was not made.*disk is full.*Make room", message
    )
    assert snapshot(made.document) == before
    assert told == []
    check_consistent(made.document)
    made._connection.execute("PRAGMA max_page_count = 1000000")
    actions.add(made.document, block(560, 5, 570, 25))
    made.close()
    again = Project.open(file)
    check_consistent(again.document)
    again.close()


def test_what_is_no_project_is_refused_by_name(file, tmp_path):
    with pytest.raises(ProjectError, match=r"none\.nucleus: there is no such file"):
        Project.open(tmp_path / "none.nucleus")
    file.write_bytes(b"no database at all, but long enough to look like something" * 100)
    with pytest.raises(ProjectError, match=r"work\.nucleus: no project"):
        Project.open(file)
    other = tmp_path / "other.nucleus"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE fact (key, value)")
    with pytest.raises(ProjectError, match="another program"):
        Project.open(other)
    assert sorted(os.listdir(tmp_path)) == ["other.nucleus", "work.nucleus"]


def test_a_file_of_a_newer_version_is_left_alone(file, made):
    made.close()
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = file.read_bytes()
    with pytest.raises(ProjectError, match="newer napari-nucleus"):
        Project.open(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE fact SET value = 'x' WHERE key = 'scheme'", "classes"),
        ("UPDATE fact SET value = '-3' WHERE key = 'mpp'", "pixel size"),
        ("UPDATE fact SET value = '[]' WHERE key = 'image'", "which image"),
        ("DELETE FROM fact WHERE key = 'height'", "height"),
    ],
)
def test_damaged_facts_are_named(file, made, change, says):
    made.close()
    with sqlite3.connect(file) as connection:
        connection.execute(change)
    with pytest.raises(ProjectError, match=says):
        Project.open(file)


def test_a_damaged_tile_is_named_when_it_is_read(file, made):
    annotate(made.document)
    made.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE tile SET data = x'00112233' WHERE r = 0")
    again = Project.open(file)
    with pytest.raises(ProjectError, match=r"label tile \(0, 0\) of level 0 is damaged"):
        again.document.labels()
    again.close()


def test_a_file_that_is_there_is_not_replaced(file, made):
    with pytest.raises(ProjectError, match="such a file already"):
        Project.create(file, IMAGE, SHAPE)


def test_a_project_cannot_be_made_below_a_file(file, made):
    with pytest.raises(ProjectError, match="cannot be made"):
        Project.create(file / "below.nucleus", IMAGE, SHAPE)


# ---- versions


def test_older_tables_become_newer_ones_whole_or_not_at_all(file, made):
    annotate(made.document)
    before = snapshot(made.document)
    made.close()

    def one(connection):
        connection.execute("ALTER TABLE nucleus ADD COLUMN note TEXT")

    def two(connection):
        connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")

    def broken(connection):
        connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")
        raise sqlite3.OperationalError("disk I/O error")

    now = schema.VERSION
    connection = sqlite3.connect(file, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, {now: one, now + 1: broken}, now + 2)
    assert connection.execute("PRAGMA user_version").fetchone() == (now,)
    assert schema.migrate(connection, {now: one, now + 1: two}, now + 2) == now
    assert connection.execute("PRAGMA user_version").fetchone() == (now + 2,)
    assert schema.migrate(connection, {}, now + 2) == now + 2
    connection.execute(f"PRAGMA user_version = {now}")
    connection.close()
    again = Project.open(file)
    assert snapshot(again.document) == before
    again.close()


# ---- elsewhere


def test_save_as_goes_on_in_the_copy(file, made, tmp_path):
    annotate(made.document)
    state = snapshot(made.document)
    target = tmp_path / "folder" / "named.nucleus"
    target.parent.mkdir()
    made.save_as(target)
    assert made.path == target
    assert snapshot(made.document) == state
    actions.add(made.document, block(560, 5, 570, 25))
    later = snapshot(made.document)
    made.close()
    old, new = Project.open(file), Project.open(target)
    assert snapshot(old.document) == state
    assert snapshot(new.document) == later
    assert not old.read_only
    old.close()
    new.close()
    assert os.listdir(target.parent) == [target.name]


def test_save_as_does_not_take_a_project_that_is_worked_on(file, made, tmp_path):
    other = Project.create(tmp_path / "other.nucleus", IMAGE, SHAPE)
    annotate(other.document)
    state = snapshot(other.document)
    with pytest.raises(ProjectError, match="Another window"):
        made.save_as(other.path)
    assert snapshot(other.document) == state
    actions.add(made.document, block(560, 5, 570, 25))
    other.close()


def test_a_project_that_is_read_only_can_be_saved_elsewhere_and_changed_there(file, made, tmp_path):
    annotate(made.document)
    second = Project.open(file)
    second.save_as(tmp_path / "mine.nucleus")
    assert not second.read_only
    actions.add(second.document, block(560, 5, 570, 25))
    assert second.document.count == made.document.count + 1
    second.close()


def test_a_moved_image_is_found_beside_the_project(tmp_path, file, made):
    assert IMAGE.found(file) is None
    (tmp_path / "slide.tif").write_bytes(b"x")
    assert IMAGE.found(file) == tmp_path / "slide.tif"
    there = ImageReference("slide.tif", "f", str(tmp_path / "slide.tif"))
    made.refer_to(there)
    made.close()
    again = Project.open(file)
    assert again.image == there
    again.close()
