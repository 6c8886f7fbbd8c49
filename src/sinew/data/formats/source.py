"""What every reader of a recorded data set answers to, and what the readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.spec import check_spec
from sinew.core.types import RobotSpec
from sinew.data.episode import Episode
from sinew.data.formats.robot import Facts

NUMBERS = ("float16", "float32", "float64", "int8", "int32", "int64", "uint32", "uint64")
"""Types of numbers that are kept as float32."""
RAW = "raw"
"""The unit of numbers in whose unit nobody says anything."""
Progress = Callable[[int, int], None]
"""Called with episodes done and episodes in all."""


class Readable(Protocol):
    """Episodes of a recorded data set, read one at a time.

    Attributes:
        path: file or directory.
        facts: what the data tell of the robot.
        lengths: frames by episode, at least 1 each.
        instructions: by episode; "" where there is none.
        tasks: names for tables, by episode; the instruction where the data have no other.
        files: all that the data set consists of.
        unread: columns that are there and are not read, for people.
        judged: whether the data say which episodes succeeded; where they do not, all count as successes.
    """

    path: Path
    facts: Facts
    lengths: tuple[int, ...]
    instructions: tuple[str, ...]
    tasks: tuple[str, ...]
    unread: tuple[str, ...]
    judged: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the data set consists of."""
        ...

    def reach(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the smallest and the largest action, (A,) each, over all frames."""
        ...

    def episode(self, number: int, spec: RobotSpec) -> Episode:
        """Read one episode, images scaled to the size in the spec.

        Raises:
            DataError: damaged, of other shapes or types, or not fitting the spec; names file, episode and frame.
        """
        ...


class Source(Readable, Protocol):
    """A recorded data set of one format, opened for reading.

    Opening reads the table of contents and refuses what is damaged or of another layout. Readers hold
    no file open between calls and pickle by path.
    """

    def __init__(self, path: Path) -> None: ...

    @staticmethod
    def detect(path: Path) -> bool:
        """Return whether this looks like a data set of the format."""
        ...

    @staticmethod
    def spec_file(path: Path) -> Path:
        """Return where the spec.json of a data set lies."""
        ...


@runtime_checkable
class DividedSource(Protocol):
    """A data set that says itself which of its episodes are held out.

    Attributes:
        held_out: their numbers.
    """

    held_out: frozenset[int]


class WritableSource(Source, Protocol):
    """A format that can also be written.

    Attributes:
        storages: how images can be written, the default first.
    """

    storages: ClassVar[tuple[str, ...]]

    @staticmethod
    def write(
        path: Path,
        episodes: Iterable[Episode],
        *,
        storage: str,
        on_episode: Callable[[int], None] | None = None,
    ) -> None:
        """Write episodes as a new data set of this format; labels and noise have no place in it.

        Args:
            path: file or directory; must not exist.
            episodes: of one robot, read one at a time.
            storage: one of ``storages``.
            on_episode: called with the number of episodes written so far.

        Raises:
            DataError: there is something already, or an episode cannot be told in this format.
            SinewError: the place cannot be written.
        """
        ...


@runtime_checkable
class Timed(Protocol):
    """A source whose format keeps the time of every frame; what it has beyond a ``Source``."""

    def times(self, number: int) -> NDArray[np.float64]:
        """Return the seconds of an episode's frames as they are recorded, (T,).

        Raises:
            DataError: they cannot be read.
        """
        ...


def numbers(array: NDArray[Any], where: str, *, floating: bool) -> NDArray[np.float32]:
    """Return a column as (T, n) float32.

    Args:
        array: (T, n), or (T,) for a single value a frame.
        where: file, episode and column, for messages.
        floating: refuse integers too, which would be numbers of bins or encoder steps.

    Raises:
        DataError: another type or number of dimensions.
    """
    wanted = "f" if floating else "fiub"
    if array.dtype.kind not in wanted:
        kinds = "floating point" if floating else "numbers"
        raise DataError(f"{where} is {array.dtype}, {kinds} are needed. Convert the column to float32.")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise DataError(f"{where} has shape {array.shape}, (frames, values) is needed.")
    with np.errstate(over="ignore"):  # what becomes infinite is refused by the episode's own check
        return np.ascontiguousarray(array, dtype=np.float32)


def check_sensors(path: str, spec: RobotSpec, found: Mapping[str, object]) -> None:
    """Refuse a spec that names sensors which the data do not have.

    Raises:
        DataError: names them, and those that there are.
    """
    absent = [name for name in spec.sensors if name not in found]
    if absent:
        raise DataError(
            f"{path}: no sensor {', '.join(absent)}; the data hold {', '.join(found) or 'none'}. Correct the spec."
        )


def numbered(word: str, size: int) -> tuple[str, ...]:
    """Return a name for each value of a column whose values the data do not name."""
    return tuple(f"{word}_{number}" for number in range(size))


def sensor_type(array_type: str) -> Literal["float32", "uint8", "int16", "uint16"] | None:
    """Return in which type readings of a type are kept, None where they are no numbers."""
    if array_type in ("uint8", "int16", "uint16"):
        return cast(Any, array_type)
    if array_type == "bool":
        return "uint8"
    return "float32" if array_type in NUMBERS else None


def range_of(columns: Mapping[str, NDArray[np.float32]], size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the smallest and the largest of each value, NaN aside.

    Args:
        columns: (N, size) each, by file and episode for messages.
        size: values a frame.

    Raises:
        DataError: a column has another number of values.
    """
    for where, column in columns.items():
        if column.shape[1] != size:
            raise DataError(
                f"{where} has {column.shape[1]} values a frame, {size} are said elsewhere. Record it again."
            )
    low = np.fmin.reduce([np.fmin.reduce(column) for column in columns.values()])
    high = np.fmax.reduce([np.fmax.reduce(column) for column in columns.values()])
    return tuple(low.tolist()), tuple(high.tolist())


def check_lengths(where: str, lengths: Mapping[str, int]) -> int:
    """Return the number of frames that all columns of an episode agree on.

    Raises:
        DataError: they differ, or there are none.
    """
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(
            f"{where}: columns differ in length ({text} frames). Leave the episode out, or record it again."
        )
    length = next(iter(lengths.values()))
    if length == 0:
        raise DataError(f"{where}: has no frames. Leave empty episodes out.")
    return length


def check_writable(path: Path) -> None:
    """Refuse to write over something.

    Raises:
        DataError: there is a file or directory already.
    """
    if path.exists():
        raise DataError(f"{path}: there is something here already. Choose another place, or remove it.")


def check_tellable(episode: Episode) -> None:
    """Refuse an episode whose meaning other formats have no words for.

    Raises:
        DataError: its labels are good for a few steps only; read back, they would pass for a demonstration.
    """
    episode.check()
    if episode.label_horizon is not None:
        raise DataError(
            f"episode {episode.id}: its labels are good for {episode.label_horizon} steps only, which this format "
            "cannot say. Write demonstrations, not episodes in which a learner acted."
        )


def of_one_robot(
    path: Path, episodes: Iterable[Episode], on_episode: Callable[[int], None] | None = None
) -> Iterator[Episode]:
    """Yield episodes that can be written together.

    Args:
        path: of the data set, for messages.
        episodes: read one at a time.
        on_episode: called with how many were written, when the next one is asked for.

    Raises:
        DataError: there are none, or one cannot be told.
        SpecError: one is of another robot than the first.
    """
    spec: RobotSpec | None = None
    for number, episode in enumerate(episodes, 1):
        check_tellable(episode)
        spec = spec or episode.spec
        check_spec(spec, episode.spec, sides=("first episode", f"episode {episode.id}"))
        yield episode
        if on_episode is not None:
            on_episode(number)
    if spec is None:
        raise DataError(f"{path}: there are no episodes to write.")


def first_of(episodes: Sequence[str]) -> str:
    """Return the names of a few episodes, for messages."""
    return ", ".join(episodes[:5]) + (f" and {len(episodes) - 5} more" if len(episodes) > 5 else "")
