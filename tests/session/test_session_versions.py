"""Project files of older versions: brought up to date whole or not at all, or read as they are."""

import os
import sqlite3

import filelock
import imagecodecs
import numpy as np
import orjson
import pytest
from session_helpers import check_consistent, snapshot

from napari_nucleus.errors import ProjectError
from napari_nucleus.session import actions, schema
from napari_nucleus.session.project import Project
from napari_nucleus.session.reading import peek, reading
from napari_nucleus.session.table import NucleusRow, NucleusState

SHAPE = (600, 5000)

VERSION_1 = """
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tile (r INTEGER NOT NULL, c INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (r, c));
CREATE TABLE nucleus (
  id INTEGER PRIMARY KEY,
  y0 INTEGER NOT NULL, x0 INTEGER NOT NULL, y1 INTEGER NOT NULL, x1 INTEGER NOT NULL,
  area INTEGER NOT NULL, cy REAL NOT NULL, cx REAL NOT NULL,
  class_id INTEGER NOT NULL, class_prob BLOB NOT NULL,
  score REAL NOT NULL, iou REAL, state TEXT NOT NULL, source TEXT NOT NULL
);
CREATE TABLE place (
  r INTEGER NOT NULL, c INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (r, c, id)
) WITHOUT ROWID;
CREATE TABLE memory (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE action (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0, made TEXT NOT NULL, annotator TEXT NOT NULL
);
CREATE INDEX action_turn ON action (undone, id);
CREATE TABLE edit (
  action_id INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
  UNIQUE (action_id, number)
);
PRAGMA application_id = 1314210636;
PRAGMA user_version = 1;
"""

FACTS = {
    "height": "600",
    "width": "5000",
    "tile_size": "512",
    "next_id": "3",
    "image": '["slide.tif","0123456789abcdef","/pictures/slide.tif"]',
    "scheme": '["Two",[[1,"Tumour",[230,75,53],null],[2,"Other",[60,84,136],null]],[9,9,9]]',
    "mpp": "0.25",
    "program": "napari-nucleus 0.1",
}

BOXES = {1: (10, 20, 30, 50), 2: (500, 4000, 540, 4060)}
"""Two full rectangles; the second lies in four tiles' corners."""


def row_of(number, class_id=1, state="automatic"):
    """A row as version 1 wrote it into the journal."""
    y0, x0, y1, x1 = BOXES[number]
    prob = [0.75, 0.25] if state == "automatic" else []
    centre = [(y0 + y1) / 2, (x0 + x1) / 2]
    area = (y1 - y0) * (x1 - x0)
    return [number, BOXES[number], area, centre, class_id, prob, 0.9, None, state, "uninuc-nano"]


def packed(head, *arrays):
    text = orjson.dumps(head)
    data = len(text).to_bytes(4, "little") + text + b"".join(arrays)
    return bytes(imagecodecs.zstd_encode(data, level=1))


def entry(number, before, after):
    """An edit that brings a nucleus or takes it away, or changes its row."""
    y0, x0, y1, x1 = BOXES[number]
    patches, bits = [], b""
    if before is None or after is None:
        bits = np.packbits(np.ones((y1 - y0, x1 - x0), bool)).tobytes()
        labels = [0 if before is None else number, 0 if after is None else number]
        patches = [[y0, x0, y1, x1, len(bits), *labels]]
    return packed({"patches": patches, "changes": [[before, after, None, None, True]]}, bits)


@pytest.fixture
def file(tmp_path):
    """A project of version 1: a run of two pieces, a class given by the user, a removal undone."""
    path = tmp_path / "old.nucleus"
    labels = np.zeros((1024, 5120), "<i4")
    for number, (y0, x0, y1, x1) in BOXES.items():
        labels[y0:y1, x0:x1] = number
    rows = [row_of(1, 2, "user"), row_of(2)]
    journal = [
        ("Segment image", 0, [entry(1, None, row_of(1)), entry(2, None, row_of(2))]),
        ("Classify nucleus as Other", 0, [entry(1, row_of(1), row_of(1, 2, "user"))]),
        ("Remove nucleus", 1, [entry(2, row_of(2), None)]),
    ]
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.executemany("INSERT INTO fact VALUES (?, ?)", FACTS.items())
    for r in range(2):
        for c in range(10):
            tile = labels[r * 512 : r * 512 + 512, c * 512 : c * 512 + 512]
            if tile.any():
                data = bytes(imagecodecs.zstd_encode(tile.tobytes(), level=1))
                connection.execute("INSERT INTO tile VALUES (?, ?, ?)", (r, c, data))
    for number, box, area, centre, class_id, prob, *rest in rows:
        values = (number, *box, area, *centre, class_id, np.array(prob, "<f8").tobytes(), *rest)
        connection.execute(f"INSERT INTO nucleus VALUES ({', '.join('?' * 14)})", values)
        for r in range(box[0] // 512, (box[2] - 1) // 512 + 1):
            for c in range(box[1] // 512, (box[3] - 1) // 512 + 1):
                connection.execute("INSERT INTO place VALUES (?, ?, ?)", (r, c, number))
    click = packed([1, None, None, None], np.array([[520.5, 4030.5]]).tobytes(), b"\x01")
    connection.execute("INSERT INTO memory VALUES (2, ?)", (click,))
    for number, (name, undone, edits) in enumerate(journal, start=1):
        connection.execute(
            "INSERT INTO action VALUES (?, ?, ?, '2026-01-01T10:00:00', 'A')",
            (number, name, undone),
        )
        for place, data in enumerate(edits, start=1):
            connection.execute("INSERT INTO edit VALUES (?, ?, ?)", (number, place, data))
    connection.commit()
    connection.close()
    return path


def check_content(document):
    assert document.scheme.name_of(2) == "Other"
    assert document.mpp == 0.25
    assert document.rows() == [
        NucleusRow(
            1, BOXES[1], 600, (20.0, 35.0), 2, (), 0.9, None, NucleusState.USER, "uninuc-nano"
        ),
        NucleusRow(
            2,
            BOXES[2],
            2400,
            (520.0, 4030.0),
            1,
            (0.75, 0.25),
            0.9,
            None,
            NucleusState.AUTOMATIC,
            "uninuc-nano",
        ),
    ]
    assert document.prompts(2).points_yx.tolist() == [[520.5, 4030.5]]
    assert document.regions == ()
    assert document.store.levels > 1
    assert {0, 2} <= set(np.unique(document.store.read_labels((0, 0, 300, 2500), 1)).tolist())
    assert document.history.undo_name == "Classify nucleus as Other"
    assert document.history.redo_name == "Remove nucleus"
    check_consistent(document)


def version_of(path):
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


def test_a_file_of_version_1_is_brought_up_to_date_and_its_steps_can_be_undone(file):
    project = Project.open(file)
    assert not project.read_only
    document = project.document
    check_content(document)
    before = snapshot(document)
    assert document.redo() == "Remove nucleus"
    assert document.ids.tolist() == [1]
    document.undo()
    assert snapshot(document) == before
    assert document.undo() == "Classify nucleus as Other"
    assert document.row(1).state is NucleusState.AUTOMATIC
    assert document.undo() == "Segment image"
    assert document.count == 0
    assert not document.labels().any()
    check_consistent(document)
    for _ in range(2):
        document.redo()
    assert [row.agreement for row in document.rows()] == [None, None]
    project.close()
    assert version_of(file) == schema.VERSION


def test_what_is_new_works_in_a_file_of_version_1(file):
    project = Project.open(file)
    actions.sign_off(project.document, [[(490, 3990), (550, 3990), (550, 4100), (490, 4100)]])
    after = snapshot(project.document)
    project.close()
    again = Project.open(file)
    assert snapshot(again.document) == after
    assert again.document.row(2).state is NucleusState.ACCEPTED
    again.document.undo()
    assert again.document.row(2).state is NucleusState.AUTOMATIC
    assert again.document.regions == ()
    again.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_that_cannot_be_brought_up_to_date_is_left_as_it_was(file, monkeypatch, version):
    whole = schema.MIGRATIONS[version]

    def broken(connection):
        whole(connection)
        raise sqlite3.OperationalError("disk I/O error")

    before = file.read_bytes()
    monkeypatch.setitem(schema.MIGRATIONS, version, broken)
    with pytest.raises(ProjectError, match=r"old\.nucleus: made by an older .*as it was"):
        Project.open(file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]
    monkeypatch.undo()
    project = Project.open(file)
    check_content(project.document)
    project.close()


def test_a_damaged_tile_stops_the_change_of_version_in_words(file):
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE tile SET data = x'00112233' WHERE r = 0 AND c = 0")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(ProjectError, match="cannot be brought up to date"):
        Project.open(file)
    assert file.read_bytes() == before


def test_a_protected_file_of_version_1_can_be_read_and_stays_what_it_is(file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    project = Project.open(file)
    assert project.read_only
    check_content(project.document)
    with pytest.raises(ProjectError, match="read only"):
        actions.remove(project.document, [1])
    project.close()
    assert file.read_bytes() == before
    assert version_of(file) == 1


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_file_of_version_1_can_be_looked_into_and_read_as_a_whole(file, mode):
    other = sqlite3.connect(file)
    other.execute(f"PRAGMA journal_mode = {mode}")
    other.execute("SELECT COUNT(*) FROM fact").fetchone()
    found = peek(file)
    assert (found.nuclei, found.looked_at) == (2, 1)
    with reading(file) as store:
        assert [row.id for row in store.rows()] == [1, 2]
        assert set(np.unique(store.read_labels((0, 0, *SHAPE))).tolist()) == {0, 1, 2}
        assert store.regions() == ()
    other.close()
    assert version_of(file) == 1


def test_a_file_of_version_1_that_an_older_program_works_on_can_be_read_and_saved_elsewhere(
    file, tmp_path
):
    with filelock.FileLock(file.with_name(f".{file.name}.lock")):
        project = Project.open(file)
        assert "Another window" in project.why_read_only
        check_content(project.document)
        project.save_as(tmp_path / "mine.nucleus")
        assert not project.read_only
        project.document.undo()
        project.close()
    assert version_of(file) == 1
    assert version_of(tmp_path / "mine.nucleus") == schema.VERSION
    mine = Project.open(tmp_path / "mine.nucleus")
    assert mine.document.row(1).state is NucleusState.AUTOMATIC
    mine.close()
