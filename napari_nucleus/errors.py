"""Errors a user can act on.

Each message is one sentence or two that name the file and the value, say what was kept and
what to do. The command line prints it and exits with 2; the app shows it as a notification.
Anything that is not a `NucleusError` is a fault of the program.
"""

__all__ = [
    "AnnotationError",
    "CancelledError",
    "EditRefusedError",
    "HostError",
    "ImageError",
    "LabelShapeError",
    "LabelsError",
    "ModelError",
    "NucleusError",
    "ProjectError",
    "QueryError",
    "WeightsError",
]


class NucleusError(Exception):
    """Base of all errors that are addressed to the user."""


class ImageError(NucleusError):
    """An image that cannot be read or is not an H&E picture we can work on."""


class LabelsError(NucleusError):
    """A label map with the wrong type, shape or ids."""


class LabelShapeError(LabelsError, ValueError):
    """A label map that has channels or planes where one picture is wanted."""


class AnnotationError(NucleusError):
    """An annotation file that cannot be read or written."""


class ProjectError(NucleusError):
    """A project file that cannot be opened, or that does not take a change any more."""


class ModelError(NucleusError):
    """A model that is unknown, or cannot do what was asked of it."""


class WeightsError(ModelError):
    """Weights that are missing, damaged, or belong to another model."""


class EditRefusedError(NucleusError):
    """An edit that was not made; the document is as it was before."""


class QueryError(NucleusError):
    """A question about nuclei that was not understood, or cannot be answered on what is there."""


class HostError(NucleusError):
    """The model process could not be started or kept alive."""


class CancelledError(NucleusError):
    """The user cancelled; what was finished before is kept."""
