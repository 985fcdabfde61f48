"""A model of the app: its host, and its calibrations; all calls return at once."""

from __future__ import annotations

import weakref
from concurrent.futures import Future

import numpy as np
from psygnal import Signal

from napari_nucleus import __version__
from napari_nucleus.core.image import ArraySource, ImageSource
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.hosting.host import Host
from napari_nucleus.hosting.messages import Description, ModelSpec
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.widgets.background import on_main_thread

__all__ = ["AppModel"]


class AppModel:
    """A model of the zoo in a worker process.

    Parameters
    ----------
    name, device
        As `zoo.load_model`.
    spec
        What the worker loads; by default the zoo's model.
    warm_up
        False to leave out the click on empty glass that a loaded model which takes clicks answers
        first.
    info
        What is said of it before it is loaded; by default what the zoo says.

    Attributes
    ----------
    state_changed
        Emitted on the main thread with the host's state.
    """

    state_changed = Signal(str)

    def __init__(
        self,
        name: str = zoo.DEFAULT_MODEL,
        device: str = "auto",
        spec: ModelSpec | None = None,
        warm_up: bool = True,
        info: ModelInfo | None = None,
    ) -> None:
        spec = spec or ModelSpec(
            "napari_nucleus.models.zoo:load_model", {"name": name, "device": device}
        )
        self.name = name
        self._told = info
        self._closed = False
        self.host = Host(spec)
        self.host.state_changed.connect(self._on_state)
        self._calibrations: dict[
            tuple[int, float | None], tuple[weakref.ref[ImageSource], Future[Calibration]]
        ] = {}
        if warm_up:
            self.host.loaded.add_done_callback(self._warm_up)

    def start(self) -> None:
        """Start the worker unless it is; requests may come before it is ready."""
        if self.host.state == "new":
            self.host.start()

    def close(self) -> None:
        """End the worker."""
        self._closed = True
        self.host.state_changed.disconnect(self._on_state)
        self.host.close()

    @property
    def info(self) -> ModelInfo:
        """What the model can do, known before it is loaded."""
        return self.host.info or self._told or zoo.describe(self.name)

    @property
    def made_by(self) -> MadeBy:
        """What is noted with everything that the model makes."""
        info = self.info
        return MadeBy(info.name, self.host.weights, f"napari-nucleus {__version__}", info.classes)

    def calibration(self, source: ImageSource, mpp: float | None) -> Future[Calibration]:
        """Return the calibration of an image, estimated once for each pixel size.

        All work on an image begins with it, so that it starts the worker.
        """
        self.start()
        key = (id(source), mpp)
        reference, known = self._calibrations.get(key, (None, None))
        # Another source may have the number of one that is gone.
        same = reference is not None and reference() is source
        if known is None or not same or (known.done() and known.exception() is not None):
            known = self.host.calibrate(source, mpp)
            self._calibrations[key] = weakref.ref(source), known
        return known

    def _warm_up(self, loaded: Future[Description]) -> None:
        """Have a click on empty glass answered, once: a model's first answer takes the longest."""
        if loaded.cancelled() or loaded.exception() is not None:
            return
        info = loaded.result().info
        if "promptable" not in info.capabilities:
            return
        side = info.click_tile + 2 * info.halo
        glass = ArraySource(np.full((side, side, 3), 240, np.uint8), info.working_mpp, "glass")
        calibration = Calibration(1.0, info.working_mpp)
        click = Prompts().with_point((side / 2, side / 2), positive=True)
        self.host.refine(glass, (0, 0, side, side), calibration, [click])

    def _on_state(self, state: str) -> None:
        on_main_thread(self._tell, state)

    def _tell(self, state: str) -> None:
        # What was on its way when the app closed reaches nobody.
        if not self._closed:
            self.state_changed.emit(state)
