"""Undo and redo: the journal of actions, one step for each thing the user did.

Knows edits and the store, not what the actions mean. Steps are undone in reverse order; a new
action forgets what was undone. A step costs what its edits cost, whatever lies around them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from napari_nucleus.session.edits import Edit, Touched, apply_edit
from napari_nucleus.session.steps import finished
from napari_nucleus.session.store import ActionEntry, Store

__all__ = ["History"]


class History:
    """The journal of a store.

    Methods that change the document do so in one transaction and return what was touched, so that
    the document can say so. Of a long step no more than one edit is in memory at a time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def undo_name(self) -> str | None:
        """Name of the step that undo takes back, such as ``"Add nucleus"``."""
        entry = self._store.last_done()
        return None if entry is None else entry.name

    @property
    def redo_name(self) -> str | None:
        """Name of the step that redo brings back."""
        entry = self._store.first_undone()
        return None if entry is None else entry.name

    @property
    def last_action_id(self) -> int | None:
        """Id of the step that undo takes back."""
        entry = self._store.last_done()
        return None if entry is None else entry.id

    def record(self, name: str, edits: Iterable[Edit]) -> tuple[int | None, Touched]:
        """Make a new step of these edits; without any edit there is no step and no id.

        Edits may come from a generator: each is applied before the next is asked for.
        """
        return finished(self.record_in_steps(name, edits))

    def record_in_steps(
        self, name: str, edits: Iterable[Edit]
    ) -> Generator[None, None, tuple[int | None, Touched]]:
        """Do as `record`, pausing after each edit, also after an empty one, which is no edit.

        It is one transaction all the same: nothing else may be written while it pauses, and if the
        generator is closed, nothing has happened.
        """
        action_id, touched = None, Touched()
        with self._store.transaction():
            for edit in edits:
                if edit:
                    if action_id is None:
                        action_id = self._store.add_action(name)
                    apply_edit(self._store, edit)
                    self._store.add_edit(action_id, edit)
                    touched.add(edit)
                yield
        return action_id, touched

    def begin(self, name: str) -> int:
        """Make a new step without edits, to which `extend` adds."""
        with self._store.transaction():
            return self._store.add_action(name)

    def extend(self, action_id: int, edit: Edit) -> None:
        """Add an edit to a step that is done, the last one or one before it.

        The edit must share no pixel and no nucleus with the steps begun since, or they could not
        be undone on their own.
        """
        with self._store.transaction():
            apply_edit(self._store, edit)
            self._store.add_edit(action_id, edit)

    def end(self, action_id: int) -> None:
        """Close a step made by `begin`; one that stayed empty is forgotten."""
        try:
            empty = not self._store.edits_of(action_id)
        except KeyError:  # undone meanwhile, and forgotten when a new step was made
            return
        if empty:
            with self._store.transaction():
                self._store.drop_action(action_id)

    def amend(self, action_id: int, make: Callable[[], tuple[str, Edit]]) -> Touched:
        """Put another edit in the place of the last step, as the same step.

        Like a new step it forgets what was undone, which may rest on the edit that goes.

        Parameters
        ----------
        action_id
            The step; it must be the last one done.
        make
            Called when the step's edits are taken back; returns the new name and edit. If it
            raises, everything stays as it was.
        """
        if action_id != self.last_action_id:
            raise ValueError(f"action {action_id} is not the last one, {self.last_action_id} is")
        touched = Touched()
        with self._store.transaction():
            for edit in reversed(self._store.edits_of(action_id)):
                self._apply(edit.inverse(), touched)
            name, new = make()
            self._apply(new, touched)
            self._store.rewrite_action(action_id, name, [new])
        return touched

    def undo(self) -> tuple[ActionEntry, Touched] | None:
        """Take back the last step; None when there is none."""
        return finished(self.undo_in_steps())

    def undo_in_steps(self) -> Generator[None, None, tuple[ActionEntry, Touched] | None]:
        """Do as `undo`, pausing after each edit; see `record_in_steps`."""
        entry = self._store.last_done()
        if entry is None:
            return None
        touched = Touched()
        with self._store.transaction():
            for edit in reversed(self._store.edits_of(entry.id)):
                self._apply(edit.inverse(), touched)
                yield
            self._store.mark_undone(entry.id)
        return entry, touched

    def redo(self) -> tuple[ActionEntry, Touched] | None:
        """Bring back the step undone last; None when there is none."""
        return finished(self.redo_in_steps())

    def redo_in_steps(self) -> Generator[None, None, tuple[ActionEntry, Touched] | None]:
        """Do as `redo`, pausing after each edit; see `record_in_steps`."""
        entry = self._store.first_undone()
        if entry is None:
            return None
        touched = Touched()
        with self._store.transaction():
            for edit in self._store.edits_of(entry.id):
                self._apply(edit, touched)
                yield
            self._store.mark_done(entry.id)
        return entry, touched

    def _apply(self, edit: Edit, touched: Touched) -> None:
        apply_edit(self._store, edit)
        touched.add(edit)
