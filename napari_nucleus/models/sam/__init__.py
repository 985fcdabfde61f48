"""SAM, SAM2.1, PathoSAM and MedSAM: models that take clicks and boxes, with weights of the user's.

Checkpoints as their authors offer them are adopted once (``napari-nucleus adopt sam-vit-b FILE``);
the networks are `transformers`' own.

A predictor that is made already is adapted where it is: `adapt` takes a
``segment_anything.SamPredictor`` or a ``sam2.sam2_image_predictor.SAM2ImagePredictor``, of any
weights, and returns a promptable model like the others. To have it answer the clicks of the app,
name a function that makes it, since models run in a process of their own::

    # mine.py
    from napari_nucleus.models.sam import adapt

    def make():
        from segment_anything import SamPredictor, sam_model_registry
        return adapt(SamPredictor(sam_model_registry["vit_b"]("mine.pth")), name="mine")

    # in a script, or in napari's console
    from napari_nucleus.hosting.messages import ModelSpec
    from napari_nucleus.models.sam import live_info
    from napari_nucleus.widgets.dock import NucleusDock
    from napari_nucleus.widgets.model import AppModel
    from napari_nucleus.widgets.models import AppModels

    mine = AppModel("mine", spec=ModelSpec("mine:make"), info=live_info("mine"))
    viewer.window.add_dock_widget(NucleusDock(viewer, AppModels([mine, AppModel()])))

The first model that takes clicks answers them.
"""

from napari_nucleus.models.sam.live import LivePredictor, adapt, live_info

__all__ = ["LivePredictor", "adapt", "live_info"]
