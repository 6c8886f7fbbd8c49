"""The errors a user can meet; each message says what was seen, what was wanted and what to do."""


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
