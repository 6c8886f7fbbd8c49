"""Opens whatever holds a policy: a run, a checkpoint or an exported artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sinew.core.errors import CheckpointError
from sinew.core.history import ChunkQueue, History
from sinew.core.types import ChunkPolicy, PointingPolicy

WEIGHTS = "model.safetensors"
CHECKPOINTS = (".", "checkpoints/chosen", "checkpoints/last", "checkpoints/best")
"""Where a checkpoint may lie below a named directory, in the order of preference."""


class LoadedPolicy(PointingPolicy, ChunkPolicy, Protocol):
    """What every policy can do that was kept on disk, and how it remembers and executes."""

    history: History
    queue: ChunkQueue


def load_policy(path: Path, *, device: str = "auto") -> LoadedPolicy:
    """Return the policy of a run directory, a checkpoint directory or an exported artefact.

    A run means its last checkpoint, or the one chosen on held-out recordings. An artefact needs numpy
    and onnxruntime, and auto means the CPU there; the others need torch.

    Args:
        path: the directory.
        device: auto, cpu, cuda or mps.

    Raises:
        CheckpointError: nothing there holds a policy, or it is broken.
        ConfigError: there is no such device here, or it is a policy of several bodies and acts as none.
        DependencyError: a package that it needs is not installed.
    """
    from sinew.deploy.artefact import is_artefact

    if is_artefact(path):
        from sinew.deploy.infer import VLAInferenceEngine

        return VLAInferenceEngine(path, device=device)
    from sinew.models.device import pick_device
    from sinew.models.policy import VLAPolicy

    policy = VLAPolicy.from_pretrained(checkpoint_of(path), device=str(pick_device(device)))
    if policy.bodies is not None:
        policy.acting()  # which refuses where nobody said as whom
    if not all(bool(value.isfinite().all()) for value in policy.own.buffers()):
        raise CheckpointError(
            f"{path}: the policy has no statistics of state and action, so it cannot act. Teach it first: "
            f"sinew train bc --init {path} --data PATH"
        )
    return policy


def checkpoint_of(path: Path) -> Path:
    """Return the checkpoint directory that a run or checkpoint path means.

    Raises:
        CheckpointError: there is none.
    """
    found = next((path / place for place in CHECKPOINTS if (path / place / WEIGHTS).is_file()), None)
    if found is None:
        seen = "no policy here" if path.is_dir() else "no such directory"
        raise CheckpointError(
            f"{path}: {seen}. Name a run that has trained, one of its checkpoints, or what sinew export wrote."
        )
    return found
