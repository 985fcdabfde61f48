"""The models of the app: the one that answers clicks, and those that find all nuclei."""

from __future__ import annotations

from collections.abc import Sequence

from psygnal import Signal

from napari_nucleus.models import zoo
from napari_nucleus.widgets.model import AppModel

__all__ = ["AppModels"]


class AppModels:
    """Models, each in a process of its own that is started when the model is first needed.

    A run of one model never keeps a click waiting that another one answers.

    Parameters
    ----------
    models
        By default those of the zoo. The first that takes clicks answers them; of those that find
        all nuclei, the first is chosen.

    Attributes
    ----------
    clicks
        Answers clicks, boxes and scribbles.
    offered
        All that can find every nucleus of an image.
    chosen_changed
        Emitted when another of them is to find the nuclei.
    state_changed
        Emitted on the main thread when the state of a model is another.
    """

    chosen_changed = Signal()
    state_changed = Signal()

    def __init__(self, models: Sequence[AppModel] | None = None) -> None:
        self._all = [AppModel(name) for name in _names()] if models is None else list(models)
        self.clicks = next(m for m in self._all if "promptable" in m.info.capabilities)
        self.offered = tuple(m for m in self._all if "automatic" in m.info.capabilities)
        self._chosen = self.offered[0]
        for model in self._all:
            model.state_changed.connect(self._on_state)

    @property
    def automatic(self) -> AppModel:
        """The model that is to find the nuclei."""
        return self._chosen

    @property
    def others(self) -> tuple[AppModel, ...]:
        """Those that could find them as well."""
        return tuple(model for model in self.offered if model is not self._chosen)

    def choose(self, name: str) -> None:
        """Let the model of this name find the nuclei from now on; an unknown one changes nothing."""
        found = next((model for model in self.offered if model.name == name), self._chosen)
        if found is not self._chosen:
            self._chosen = found
            self.chosen_changed.emit()

    def close(self) -> None:
        """End all processes."""
        for model in self._all:
            model.state_changed.disconnect(self._on_state)
            model.close()

    def _on_state(self, _: str) -> None:
        self.state_changed.emit()


def _names() -> tuple[str, ...]:
    """Return the models of the zoo, the default first."""
    return tuple(sorted(zoo.names(), key=lambda name: name != zoo.DEFAULT_MODEL))
