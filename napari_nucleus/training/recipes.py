"""``napari-nucleus train``: a model by name, from a data folder to a packed weights file.

The run folder holds one folder a stage (see `loop`), the synthetic fields that were drawn for it,
and at the end ``MODEL.safetensors``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_nucleus.errors import ModelError

__all__ = ["MODELS", "TrainingOrder", "train_model"]

MODELS = (
    "uninuc-nano",
    "uperhover-nano",
    "uperhover-uni2h",
    "promptgroup-nano",
    "sam3",
    "nunext-nano",
)
"""Models that there is a recipe for."""


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What is to be trained.

    Parameters
    ----------
    data
        Folder with the training data sets.
    out
        Run folder.
    stage
        A stage of the recipe, or ``"all"``.
    steps
        Steps of each stage in place of the recipe's, or None.
    device, workers, seed
        Where it runs, how many processes prepare batches, and what it draws from.
    start
        Weights file of the model to go on from, or None.
    unlabelled
        Folder of images without annotation, for stages that label them themselves, or None.
    """

    data: Path
    out: Path
    stage: str = "all"
    steps: int | None = None
    device: str = "auto"
    workers: int = 1
    seed: int = 0
    start: Path | None = None
    unlabelled: Path | None = None

    def wanted(self, stages: tuple[str, ...]) -> tuple[str, ...]:
        """Return the stages to train, of those that a recipe has.

        Raises
        ------
        ModelError
            If it has none of that name.
        """
        if self.stage == "all":
            return stages
        if self.stage not in stages:
            raise ModelError(f"No stage {self.stage!r}; there is all, {', '.join(stages)}.")
        return (self.stage,)


def train_model(model: str, order: TrainingOrder, say: Callable[[str], None]) -> None:
    """Train a bundled model, or one stage of it.

    Raises
    ------
    ModelError
        If there is no recipe for the model, or no such stage in it.
    ImageError, LabelsError
        If the data folder lacks something.
    AnnotationError
        If the run folder cannot be made.
    WeightsError
        If a stage is asked for before the one that it starts from, or ``start`` does not fit.
    """
    if model not in MODELS:
        raise ModelError(f"No recipe for {model!r}; there is one for {', '.join(MODELS)}.")
    if model == "uninuc-nano":
        from napari_nucleus.training.uninuc_recipe import train_uninuc

        train_uninuc(order, say)
    elif model == "promptgroup-nano":
        from napari_nucleus.training.promptgroup_recipe import train_promptgroup

        train_promptgroup(order, say)
    elif model == "sam3":
        from napari_nucleus.training.sam3_recipe import train_sam3

        train_sam3(order, say)
    elif model == "nunext-nano":
        from napari_nucleus.training.nunext_recipe import train_nunext

        train_nunext(order, say)
    else:
        from napari_nucleus.training.uperhover_recipe import train_uperhover

        train_uperhover(model, order, say)
