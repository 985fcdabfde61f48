"""The models of the app: the one that answers clicks, and those that find all nuclei."""

from __future__ import annotations

from collections.abc import Sequence

from psygnal import Signal

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.schemes import class_mapping
from napari_nucleus.models import zoo
from napari_nucleus.widgets.model import AppModel

__all__ = ["AppModels"]


class AppModels:
    """Models, each in a process of its own that is started when the model is first needed.

    A run of one model never keeps a click waiting that another one answers.

    Parameters
    ----------
    models
        By default those of the zoo whose weights are here. Of those that take clicks, and of those
        that find all nuclei, the first is chosen.

    Attributes
    ----------
    answering
        All that take clicks, boxes and scribbles.
    offered
        All that can find every nucleus of an image.
    texts
        All that understand words.
    chosen_changed
        Emitted when another of them is to find the nuclei, or to answer clicks.
    state_changed
        Emitted on the main thread when the state of a model is another.
    """

    chosen_changed = Signal()
    state_changed = Signal()

    def __init__(self, models: Sequence[AppModel] | None = None) -> None:
        self._all = [AppModel(name) for name in zoo.available()] if models is None else list(models)
        self.answering = tuple(m for m in self._all if "promptable" in m.info.capabilities)
        self.offered = tuple(m for m in self._all if "automatic" in m.info.capabilities)
        self.texts = tuple(m for m in self._all if "text" in m.info.capabilities)
        self._chosen, self._clicks = self.offered[0], self.answering[0]
        for model in self._all:
            model.state_changed.connect(self._on_state)

    @property
    def automatic(self) -> AppModel:
        """The model that is to find the nuclei."""
        return self._chosen

    @property
    def clicks(self) -> AppModel:
        """The model that answers clicks."""
        return self._clicks

    def named(self, name: str) -> AppModel | None:
        """Return the model of this name that can find nuclei, or None."""
        return next((model for model in self.offered if model.name == name), None)

    def choose(self, name: str) -> None:
        """Let the model of this name, if there is one, find the nuclei from now on."""
        found = self.named(name)
        if found is not None and found is not self._chosen:
            self._chosen = found
            self.chosen_changed.emit()

    def choose_clicks(self, name: str) -> None:
        """Let the model of this name, if there is one, answer clicks from now on."""
        found = next((model for model in self.answering if model.name == name), None)
        if found is not None and found is not self._clicks:
            self._clicks = found
            self.chosen_changed.emit()

    @property
    def guessing(self) -> set[str]:
        """Names of the models that do not tell neoplastic and epithelial nuclei apart."""
        return zoo.guessing(model.info for model in self._all)

    def alike(self, scheme: ClassScheme) -> frozenset[int]:
        """Return the classes of a scheme that some model was not taught to tell apart."""
        ids: set[int] = set()
        for info in (model.info for model in self.offered):
            if info.classes is not None:
                mapping = class_mapping(info.classes, scheme)
                ids |= {mapping[i] for i in info.not_told_apart}
        return frozenset(ids - {0})

    def close(self) -> None:
        """End all processes."""
        for model in self._all:
            model.state_changed.disconnect(self._on_state)
            model.close()

    def _on_state(self, _: str) -> None:
        self.state_changed.emit()
