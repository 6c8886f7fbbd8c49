"""Files of tensors that ranks share: torch's distributed checkpoint, in safetensors, so that nothing in it can run."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError, SinewError
from sinew.engine.distributed import hosts, world

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def is_shared(value: object) -> bool:
    """Whether a value is a tensor of which ranks hold parts; asking does not import what takes long to import."""
    known = sys.modules.get("torch.distributed.tensor")
    return known is not None and isinstance(value, known.DTensor)


def write_shards(directory: Path, parts: Mapping[str, Tensor]) -> None:
    """Write this rank's part of each tensor; every rank must call it, and nothing is written of nothing.

    Raises:
        SinewError: the disk is full or the place cannot be written, on one of the ranks.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    if not parts:
        return
    with _quiet():
        writer = HuggingFaceStorageWriter(str(directory), save_distributed=True)
        try:
            save(dict(parts), storage_writer=writer, process_group=hosts())
        except (OSError, CheckpointException) as error:
            raise SinewError(f"{directory}: rank {world().rank} could not write its shards ({error}).") from error


def read_shards(
    directory: Path, wanted: Mapping[str, tuple[list[int], torch.dtype]], mesh: DeviceMesh | None
) -> dict[str, Tensor]:
    """Read tensors that any number of ranks wrote.

    Args:
        directory: that was written.
        wanted: size and type by name.
        mesh: of the ranks that share them now, each getting its part; None to get them whole, on the CPU.

    Raises:
        CheckpointError: the files are missing, broken or hold others.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    if not wanted:
        return {}
    found = {name: _empty(size, kind, mesh) for name, (size, kind) in wanted.items()}
    with _quiet():
        try:
            reader = HuggingFaceStorageReader(str(directory))
            load(dict(found), storage_reader=reader, no_dist=True)  # every rank reads what it needs, unasked
        except (OSError, KeyError, RuntimeError, CheckpointException) as error:
            raise CheckpointError(f"{directory}: cannot be read ({error}). Remove it to use an older one.") from error
    return found


def _empty(size: list[int], kind: torch.dtype, mesh: DeviceMesh | None) -> Tensor:
    if mesh is None:
        return torch.empty(size, dtype=kind)
    from torch.distributed.tensor import DTensor, Shard

    rank, ranks = mesh.get_local_rank(), mesh.size()
    chunks = torch.empty(size, dtype=kind, device="meta").chunk(ranks)
    part = list(chunks[rank].shape) if rank < len(chunks) else [0, *size[1:]]
    like = torch.empty(size, dtype=kind, device="meta")
    local = torch.empty(part, dtype=kind, device=mesh.device_type)
    return DTensor.from_local(local, mesh, [Shard(0)], shape=like.shape, stride=like.stride())


@contextmanager
def _quiet() -> Generator[None]:
    """Keep to ourselves what torch says about a single process, and about its own deprecated parts."""
    logger: Any = logging.getLogger("torch.distributed.checkpoint")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)
