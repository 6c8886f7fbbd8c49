"""Our stores and other data sets, written in a format of the field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sinew.core.errors import ConfigError, DataError
from sinew.data.config import IngestConfig
from sinew.data.episode import Episode
from sinew.data.formats import WRITERS
from sinew.data.formats.ingest import open_source, read_episode, robot_of, through_mask
from sinew.data.formats.source import Progress
from sinew.data.mask import Mask, cut_episode, mask_path, read_mask
from sinew.data.store import Store


def convert(
    path: Path,
    out: Path,
    *,
    to: str,
    storage: str | None = None,
    config: IngestConfig | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Write a store or a recorded data set as a new data set.

    Written are images, state, the labels as actions, instruction, success and the robot's spec. Auxiliary labels,
    the actions really executed and which episodes are held out have no place in these formats.

    Args:
        path: store, or data set of a known format.
        out: file or directory to write; must not exist.
        to: name of the format.
        storage: how images are kept, one of the format's; its first by default.
        config: what the data set at ``path`` does not say, and the size of images.
        on_progress: called with episodes written and in all.

    Raises:
        ConfigError: there is no such format or storage.
        DataError: the data cannot be read, or cannot be told in that format; or ``out`` exists.
    """
    if to not in WRITERS:
        raise ConfigError(f"{to}: no such format to write. There are: {', '.join(WRITERS)}.")
    kind = WRITERS[to]
    storage = storage or kind.storages[0]
    if storage not in kind.storages:
        raise ConfigError(f"{to} stores images as {' or '.join(kind.storages)}; {storage} was asked for.")
    count, episodes = episodes_of(path, config or IngestConfig())

    def report(written: int) -> None:
        if on_progress is not None:
            on_progress(written, count)

    kind.write(out, episodes, storage=storage, on_episode=report)


def episodes_of(path: Path, config: IngestConfig) -> tuple[int, Iterator[Episode]]:
    """Return how many episodes a store or data set holds, and these, read one at a time.

    Raises:
        DataError: it cannot be read, or its robot is not fully told.
    """
    if (path / "store.json").exists():
        if config != IngestConfig():
            raise DataError(
                f"{path}: is a store, which says all of its robot; leave spec, image size and sentence out."
            )
        store = Store.open(path)
        lengths = tuple(record.frames for record in store.records)
        mask = read_mask(mask_path(path), lengths) if mask_path(path).exists() else Mask(len(lengths))
        kept = mask.kept(lengths)
        return len(kept), (cut_episode(store.episode(number), keep) for number, keep in kept.items())
    whole = open_source(path)
    spec = robot_of(whole, config)
    source = through_mask(whole)
    count = len(source.lengths)
    return count, (read_episode(source, number, spec, instruction=config.instruction) for number in range(count))
