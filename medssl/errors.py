"""Every error a user can meet, each refining the built-in exception it stands for.

A message says what was given, what was expected and what to do. It never carries patient data:
cases are named by their index id, files by the name the user typed.
"""

__all__ = [
    "CollapseError",
    "ConfigError",
    "DatasetError",
    "GeometryError",
    "InputError",
    "MedsslError",
    "OutputError",
    "StoreError",
    "TrainingError",
    "UnknownNameError",
    "UsageError",
    "VolumeReadError",
    "WeightsMismatchError",
]


class MedsslError(Exception):
    """Root of every error that medssl raises on purpose.

    Attributes:
        exit_code: What the command line returns: 2 for wrong usage, 3 for unusable input.
    """

    exit_code: int = 3


class UsageError(MedsslError, ValueError):
    """An option was wrong: the value, or two options together."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key or value was wrong."""


class UnknownNameError(UsageError, LookupError):
    """A method, encoder or key of that name does not exist; the message names the nearest one."""


class InputError(MedsslError, ValueError):
    """What was given to work on can't be used."""


class VolumeReadError(InputError, OSError):
    """A file could not be read as an image.

    Attributes:
        code: The reason code of the quarantine table.
        detail: What is wrong, without the name of the file.
    """

    def __init__(self, message: str, *, code: str = "unreadable", detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail or message


class GeometryError(InputError):
    """Two grids that must agree in space do not."""


class DatasetError(InputError):
    """A labelled dataset contradicts itself: labels, splits or files."""


class StoreError(InputError):
    """A store is damaged, incomplete or of another recipe."""


class WeightsMismatchError(InputError):
    """Weights do not fit the network; the message names the tensors and the nearest matches."""


class OutputError(MedsslError, OSError):
    """The output folder can't be written: it exists, is read-only or is full."""


class TrainingError(MedsslError, RuntimeError):
    """Training can't go on; the message names the step and the cases."""


class CollapseError(TrainingError):
    """The features of all inputs became alike."""
