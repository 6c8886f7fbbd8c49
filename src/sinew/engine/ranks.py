"""What the training loop asks of all ranks: that they share weights as said, one row of the log, their generators."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sinew.core.errors import ConfigError
from sinew.core.types import Stateful
from sinew.engine import rng
from sinew.engine.distributed import world
from sinew.engine.optim import Optim

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

SUMMED = "samples_per_s"


def verified(optims: Mapping[str, Stateful], note: Callable[[str], None]) -> DeviceMesh | None:
    """Check how every optimiser's module is shared, and say so; return the mesh of the ranks where they hold shards.

    Raises:
        ConfigError: DeepSpeed has one of several.
        TrainingError: it is not shared as asked for, or the ranks disagree.
    """
    if len(optims) > 1 and any(isinstance(item, Optim) and item.stepper is not None for item in optims.values()):
        raise ConfigError(
            f"this recipe has {len(optims)} optimisers ({', '.join(optims)}), and DeepSpeed's engine is made for one: "
            "what one of them does would be reduced for the other too. Use --optim.parallel fsdp2 or ddp."
        )
    mesh: DeviceMesh | None = None
    for optim in optims.values():
        if isinstance(optim, Optim):
            text = optim.sharing.verify()
            mesh = optim.sharing.mesh or mesh
            if not world().alone:
                note(f"{text}.")
    return mesh


def over_ranks(row: Mapping[str, float]) -> dict[str, float]:
    """Return the row of all ranks: samples per second added up, of all else the mean of what is finite.

    A task that a rank did not see had no share of its rows.
    """
    told = world().gather(dict(row))
    if len(told) == 1:
        return told[0]
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for one in told for name in one):
        values = [one.get(name, 0.0 if name.startswith("share/") else math.nan) for one in told]
        finite = [value for value in values if math.isfinite(value)]
        mean = sum(finite) / len(finite) if finite else math.nan
        found[name] = sum(finite) if name == SUMMED else mean
    return found


def mean_of_ranks(losses: Sequence[float]) -> list[float]:
    """Return the mean loss over the ranks of each of the same updates."""
    told = world().gather(list(losses))
    return told[0] if len(told) == 1 else [math.fsum(each) / len(told) for each in zip(*told, strict=True)]


def restore_draws(known: Sequence[Mapping[str, Any]], seed: int, note: Callable[[str], None]) -> None:
    """Take back this rank's random generators; where there were more or fewer ranks, seed them anew and say so.

    Args:
        known: states of the generators by rank.
        seed: of this rank, at this update.
        note: told what is no longer exact.
    """
    ranks = world()
    if len(known) == ranks.size:
        rng.restore(known[ranks.rank])
        return
    note(
        f"{len(known)} processes wrote the checkpoint, {ranks.size} go on, with the same rows in the same order. But "
        "sums are rounded otherwise, and dropout, noise and augmentation draw other numbers: from here on it is not "
        "bit for bit what it would have been."
    )
    rng.seed_all(seed)
