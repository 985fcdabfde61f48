"""Projects without a name, and those used last."""

from pathlib import Path

import pytest
from session_helpers import block

from napari_nucleus.errors import ProjectError
from napari_nucleus.session import actions
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.session.reading import peek
from napari_nucleus.session.shelf import Shelf

IMAGE = ImageReference("my slide: 3/4.tif", "0123456789abcdef0123")
OTHER = ImageReference("other", "f" * 20)
SHAPE = (90, 80)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "data" / "projects")


def test_an_image_finds_its_unnamed_project_again(shelf):
    project, _ = shelf.open_for(IMAGE, SHAPE, mpp=0.5)
    assert shelf.is_unnamed(project)
    actions.add(project.document, block(5, 5, 20, 25))
    shelf.put_away(project)
    again, _ = shelf.open_for(ImageReference("another name", IMAGE.fingerprint), SHAPE)
    assert again.document.count == 1
    assert again.document.mpp == 0.5
    other, _ = shelf.open_for(OTHER, SHAPE)
    assert other.document.count == 0
    other.close()
    again.close()


def test_one_that_was_killed_is_found_again_although_nobody_noted_it(shelf):
    project, _ = shelf.open_for(IMAGE, SHAPE)
    actions.add(project.document, block(5, 5, 20, 25))
    project.close()  # not put away
    again, note = shelf.open_for(ImageReference("another name", IMAGE.fingerprint), SHAPE)
    assert note == ""
    assert again.document.count == 1
    again.close()


def test_one_in_which_nothing_was_done_leaves_nothing(shelf):
    project, _ = shelf.open_for(IMAGE, SHAPE)
    shelf.put_away(project)
    assert list(shelf.folder.glob("*.nucleus*")) == []
    assert shelf.recents() == []


def test_one_that_was_emptied_by_undo_is_kept_for_redo(shelf):
    project, _ = shelf.open_for(IMAGE, SHAPE)
    actions.add(project.document, block(5, 5, 20, 25))
    project.document.undo()
    shelf.put_away(project)
    again, _ = shelf.open_for(IMAGE, SHAPE)
    assert again.document.redo() == "Add nucleus"
    again.close()


def test_a_named_project_is_taken_before_an_unnamed_one(shelf, tmp_path):
    project, _ = shelf.open_for(IMAGE, SHAPE)
    actions.add(project.document, block(5, 5, 20, 25))
    project.save_as(tmp_path / "named.nucleus")
    actions.add(project.document, block(50, 5, 60, 25))
    shelf.put_away(project)
    again, _ = shelf.open_for(IMAGE, SHAPE)
    assert again.path == tmp_path / "named.nucleus"
    assert again.document.count == 2
    assert not shelf.is_unnamed(again)
    again.close()


def test_the_last_used_comes_first_and_those_that_are_gone_are_left_out(shelf, tmp_path):
    for name, image in (("a", IMAGE), ("b", OTHER), ("c", OTHER)):
        project = Project.create(tmp_path / f"{name}.nucleus", image, SHAPE)
        actions.add(project.document, block(5, 5, 20, 25))
        shelf.put_away(project)
    assert [Path(r.path).stem for r in shelf.recents()] == ["c", "b", "a"]
    assert [r.nuclei for r in shelf.recents()] == [1, 1, 1]
    (tmp_path / "c.nucleus").unlink()
    project = Project.open(tmp_path / "a.nucleus")
    shelf.put_away(project)
    assert [Path(r.path).stem for r in shelf.recents()] == ["a", "b"]


@pytest.mark.parametrize("text", [b"", b"[[1]]", b"{}", b"no json"])
def test_a_damaged_list_is_as_if_there_were_none(shelf, text):
    shelf.folder.mkdir(parents=True)
    (shelf.folder / "recent.json").write_bytes(text)
    assert shelf.recents() == []
    project, _ = shelf.open_for(IMAGE, SHAPE)
    actions.add(project.document, block(5, 5, 20, 25))
    shelf.put_away(project)
    assert len(shelf.recents()) == 1


def test_a_damaged_named_project_does_not_stand_in_the_way(shelf, tmp_path):
    project = Project.create(tmp_path / "named.nucleus", IMAGE, SHAPE)
    actions.add(project.document, block(5, 5, 20, 25))
    shelf.put_away(project)
    (tmp_path / "named.nucleus").write_bytes(b"damaged")
    again, note = shelf.open_for(IMAGE, SHAPE)
    assert again.document.count == 0
    assert note.startswith("named.nucleus: no project of napari-nucleus, or damaged")
    again.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ProjectError, match="cannot be made"):
        Shelf(tmp_path / "data" / "projects").open_for(IMAGE, SHAPE)


def annotated(path, image):
    """Make a project with a nucleus, closed."""
    project = Project.create(path, image, SHAPE)
    actions.add(project.document, block(5, 5, 20, 25))
    project.close()


def test_a_project_that_is_preferred_is_opened_with_its_image(shelf, tmp_path):
    for name in ("a", "b"):
        annotated(tmp_path / f"{name}.nucleus", IMAGE)
        shelf.prefer(peek(tmp_path / f"{name}.nucleus"))
    shelf.prefer(peek(tmp_path / "a.nucleus"))
    assert [(Path(r.path).stem, r.nuclei) for r in shelf.recents()] == [("a", 1), ("b", 1)]
    project, _ = shelf.open_for(IMAGE, SHAPE)
    assert project.path.stem == "a"
    project.close()


@pytest.mark.parametrize("named", [True, False])
def test_a_project_goes_with_another_picture_when_told_so(shelf, tmp_path, named):
    project, _ = shelf.open_for(IMAGE, SHAPE)
    actions.add(project.document, block(5, 5, 20, 25))
    if named:
        before = project.path
        project.save_as(tmp_path / "named.nucleus")
        before.unlink()
    shelf.put_away(project)
    shelf.hand_over(project.path, OTHER)
    (shelf.folder / "recent.json").unlink()
    if named:
        shelf.prefer(peek(tmp_path / "named.nucleus"))
    again, note = shelf.open_for(OTHER, SHAPE)
    assert (again.document.count, again.image, note) == (1, OTHER, "")
    again.close()
    fresh, _ = shelf.open_for(IMAGE, SHAPE)
    assert fresh.document.count == 0
    shelf.put_away(fresh)


def test_the_annotation_of_image_files_is_known_without_opening_them(shelf, tmp_path):
    pictures = [tmp_path / f"{name}.tif" for name in "abc"]
    for picture, key in zip(pictures, ("a" * 20, "b" * 20), strict=False):
        project, _ = shelf.open_for(ImageReference(picture.stem, key, str(picture)), SHAPE)
        actions.add(project.document, block(5, 5, 20, 25))
        project.close()
    (shelf.folder / "damaged.nucleus").write_bytes(b"damaged")
    found = shelf.about(pictures)
    assert {p.name: (s.nuclei, s.looked_at) for p, s in found.items()} == {
        "a.tif": (1, 1),
        "b.tif": (1, 1),
    }
