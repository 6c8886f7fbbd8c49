"""Checkpoints that are complete or absent: written aside, checked by sums, never a pickle."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from safetensors import SafetensorError

from sinew.core.errors import CheckpointError, DataError, SinewError
from sinew.core.files import new_directory, point_link, read_json, require_free, restore_aside, write_json
from sinew.engine.codec import Tree, num_bytes, read_tree, write_tree
from sinew.engine.distributed import world

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

MANIFEST = "checksums.json"
STATE = "training_state"


class Pretrained(Protocol):
    """A policy that owns the files of its directory."""

    def save_pretrained(self, directory: Path, /) -> Any:  # noqa: ANN401  (nobody reads it)
        """Write weights, configuration, spec and statistics into an existing directory."""
        ...


class Checkpoints:
    """The directory ``checkpoints/``: one directory an update, links ``last`` and ``best``.

    Each holds the acting policy's own files, ``training_state/`` and a manifest of SHA-256 sums. It
    is written under a temporary name, flushed and renamed; only then do the links move, only then
    are old ones removed. A kill at any moment leaves a state from which training goes on.

    Args:
        path: the directory; made when needed.
        keep: newest checkpoints kept beside the best one; at least 1.
        note: told about broken checkpoints.
    """

    def __init__(self, path: Path, *, keep: int = 2, note: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.keep = max(1, keep)
        self._note = note or unheard

    @property
    def updates(self) -> tuple[int, ...]:
        """Updates of the checkpoints present, oldest first; whole or broken."""
        if not self.path.exists():
            return ()
        return tuple(sorted(int(item.name) for item in self.path.iterdir() if item.name.isdigit() and item.is_dir()))

    def save(self, update: int, policy: Pretrained, state: Tree, *, best: int | None) -> Path:
        """Write the checkpoint of an update; every rank must ask.

        Args:
            update: updates done.
            policy: what is evaluated and deployed.
            state: everything needed to go on.
            best: update of the best checkpoint so far, this one perhaps; None leaves the link alone.

        Raises:
            SinewError: the disk is full.
        """
        ranks = world()
        directory = self.write(str(update), update, policy, state)
        if ranks.is_main:
            self.link(last=update, best=best)
            self._prune(best)
        ranks.barrier()
        return directory

    def write(self, name: str, update: int, policy: Pretrained, state: Tree) -> Path:
        """Write a checkpoint under any name; only one that is named by its update is ever gone on from.

        Every rank must ask.

        Raises:
            SinewError: the disk is full.
        """
        ranks, directory = world(), self.path / name
        if not ranks.is_main:
            place = ranks.tell(directory)
            if isinstance(place, str):
                raise SinewError(place)
            write_tree(place / STATE, state)
            return directory
        try:
            weights = getattr(policy, "state_dict", dict)()
            require_free(self.path, num_bytes(state) + num_bytes(weights) + 2**20, f"checkpoint {name}")
        except SinewError as error:
            ranks.tell(str(error))
            raise
        try:
            with new_directory(directory) as temporary:
                policy.save_pretrained(temporary)
                (temporary / STATE).mkdir()
                ranks.tell(temporary)
                write_tree(temporary / STATE, state)
                write_json(temporary / MANIFEST, {"schema_version": 1, "update": update, "sha256": _sums(temporary)})
        except SafetensorError as error:  # how its writer reports an OSError
            raise SinewError(
                f"{directory}: could not be written ({error}). What was there before is untouched."
            ) from error
        return directory

    def link(self, *, last: int | None = None, best: int | None = None) -> None:
        """Point ``last`` and ``best`` to the checkpoints of these updates, where they exist."""
        for name, update in (("last", last), ("best", best)):
            if update is not None and (self.path / str(update)).is_dir():
                point_link(self.path / name, str(update))

    def newest(self, mesh: DeviceMesh | None = None, *, before: int | None = None) -> tuple[int, Tree] | None:
        """Return update and state of the newest whole checkpoint, or None when there is none; every rank must ask.

        Removes what a killed process left half-written, but puts back what it was about to replace. Broken ones are
        named through ``note``.

        Args:
            mesh: of the ranks that share tensors; None to get them whole.
            before: look at checkpoints of earlier updates only.
        """
        ranks = world()
        found = self._newest(mesh, before) if ranks.is_main else None
        update = ranks.tell(None if found is None else found[0])
        if ranks.is_main or update is None:
            return found
        return update, read_tree(self.path / str(update) / STATE, mesh)

    def _newest(self, mesh: DeviceMesh | None, before: int | None) -> tuple[int, Tree] | None:
        restore_aside(self.path)
        for leftover in self.path.glob(".*"):
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        for update in reversed([update for update in self.updates if before is None or update < before]):
            directory = self.path / str(update)
            try:
                verify(directory)
                return update, read_tree(directory / STATE, mesh)
            except (CheckpointError, DataError) as error:
                self._note(f"{error} Trying an older one.")
        return None

    def remove_after(self, update: int) -> None:
        """Remove the checkpoints of later updates; every rank must ask."""
        ranks = world()
        for later in self.updates:
            if ranks.is_main and later > update:
                shutil.rmtree(self.path / str(later))
        ranks.barrier()

    def _prune(self, best: int | None) -> None:
        for update in self.updates[: -self.keep]:
            if update != best:
                shutil.rmtree(self.path / str(update))


def unheard(text: str) -> None:
    """Say nothing: stands in where nobody listens."""


def verify(directory: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        CheckpointError: a file is missing or was changed.
        DataError: the manifest is missing or unreadable.
    """
    wanted = read_json(directory / MANIFEST)["sha256"]
    found = _sums(directory)
    wrong = sorted(name for name in wanted if found.get(name) != wanted[name])
    if wrong:
        raise CheckpointError(f"{directory}: broken, {', '.join(wrong)} differs from its checksum in {MANIFEST}.")


def _sums(directory: Path) -> dict[str, str]:
    sums: dict[str, str] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                sums[str(path.relative_to(directory))] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
