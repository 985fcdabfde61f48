"""Going through the doubtful nuclei of an annotation, and through what only another model found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nucleus.session import actions
from napari_nucleus.session.outcomes import Done
from napari_nucleus.session.review import ReviewQueue

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["Reviewing"]


class Reviewing:
    """The review of an annotation.

    Attributes
    ----------
    queue
        What there is to look at.
    """

    def __init__(self, annotation: Annotation) -> None:
        self._annotation = annotation
        self.queue = ReviewQueue(annotation.document)

    def next(self, forward: bool = True) -> None:
        """Go to the next nucleus to look at, or to the one before, and bring it into view."""
        annotation, queue = self._annotation, self.queue
        selected, proposed = annotation.tool.selected, annotation.opinion.at
        found = queue.step(selected if selected is not None else proposed, forward)
        if found is None:
            left = queue.remaining
            annotation.said.emit(
                f"The end of the queue; {left:,} were passed over." if left else "All is looked at."
            )
        elif found < 0:
            annotation.escape()
            annotation.opinion.look_at(found)
        else:
            annotation.select(found)
            annotation.said.emit(
                f"{annotation.describe(found)}. {queue.remaining:,} to look at; Enter accepts."
            )

    def accept(self) -> None:
        """Accept the chosen nuclei; or what is looked at, and go to the next.

        A proposal that is accepted becomes a nucleus.
        """
        annotation = self._annotation
        if annotation.by_hand.on_group(actions.accept_in_steps):
            return
        nucleus, proposal = annotation.tool.selected, annotation.opinion.focus
        if nucleus is not None:
            annotation.do(lambda: Done(actions.accept(annotation.document, [nucleus])))
        elif proposal is not None:
            annotation.opinion.take(proposal)
        self.next()

    def delete(self) -> None:
        """Remove the chosen nuclei, else the selected one, else the one under the pointer.

        A proposal that is looked at is left, and the next comes.
        """
        annotation = self._annotation
        proposal = annotation.opinion.focus
        if proposal is not None:
            annotation.opinion.dismiss(proposal)
            self.next()
        elif not annotation.by_hand.on_group(actions.remove_in_steps):
            annotation.do(annotation.tool.delete)
