"""The errors a user can meet; each message says what was seen, what was wanted and what to do."""

from __future__ import annotations

import importlib
from typing import Any


class SinewError(Exception):
    """Base of every error that is the user's to mend; the command line prints it without a traceback."""


class ConfigError(SinewError):
    """A setting, flag, preset or config file is wrong."""


class DataError(SinewError):
    """Recorded or given data cannot be used."""


class SpecError(SinewError):
    """Two sides disagree about the robot they talk of."""


class CheckpointError(SinewError):
    """A checkpoint or run directory is missing, broken or of another kind."""


class TrainingError(SinewError):
    """Training cannot go on, such as after repeated non-finite losses."""


class DependencyError(SinewError):
    """A package that this feature needs is not installed."""


def require(module: str, *, extra: str) -> Any:  # noqa: ANN401  (a module)
    """Return an optional package.

    Args:
        module: to import.
        extra: of this distribution that brings it.

    Raises:
        DependencyError: it is not installed; the message is the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise DependencyError(
            f"this needs the package {module.partition('.')[0]}. Install it: pip install 'sinew-vla[{extra}]'"
        ) from error
