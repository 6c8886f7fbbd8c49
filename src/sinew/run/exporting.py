"""Exports the policy of a run and holds the artefact against it: on random observations, then in closed loop."""

from __future__ import annotations

import dataclasses
import hashlib
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from sinew.core import config as configs
from sinew.core.errors import CheckpointError, ConfigError
from sinew.core.history import ChunkQueue, History, next_actions
from sinew.core.types import EnvConfig, NumpyObservation, Rows
from sinew.deploy.artefact import Manifest, is_artefact
from sinew.deploy.exporters import EXPORTERS
from sinew.deploy.infer import VLAInferenceEngine
from sinew.deploy.load import WEIGHTS, checkpoint_of
from sinew.deploy.parity import NoisyChunks, compare_policies
from sinew.engine.workers import start_workers
from sinew.evaluate.compare import Comparison, compare
from sinew.evaluate.plan import Listing, plan
from sinew.evaluate.success import Cell, measure
from sinew.models.policy import VLAPolicy
from sinew.run.measuring import policy_and_config
from sinew.run.screen import console, counting, say

if TYPE_CHECKING:
    from sinew.run import RunConfig

TOLERANCE = 1e-5
"""Largest relative error that counts as the same policy."""
DISCORDANT = 0.01
"""Share of episodes that may end differently."""


class Seeded:
    """A chunk policy whose noise comes from here, so that two of them can be given the same.

    The noise of an episode follows from the seed and from what it begins with. So an episode that ends
    earlier on one side shifts no other's noise, as one common stream would.

    Args:
        policy: acts.
        manifest: says how it remembers and executes, and how large the noise is.
    """

    def __init__(self, policy: NoisyChunks, manifest: Manifest) -> None:
        self.policy, self.spec = policy, manifest.robot
        self.shape = (manifest.horizon, manifest.robot.action_size)
        self.draws = manifest.runner == "denoise"
        self.history = History(manifest.history, previous=manifest.previous, actions=manifest.robot.action_size)
        self.queue = ChunkQueue(manifest.execute)
        self.first_seed = 0
        self.streams: dict[int, np.random.Generator] = {}
        self.asked: list[int] = []

    def seed(self, number: int) -> None:
        """Start the noise anew."""
        self.first_seed = number
        self.streams.clear()

    def reset(self, rows: Rows = None) -> None:
        """Forget these rows."""
        self.history.reset(rows)
        self.queue.reset(rows)
        for row in list(self.streams) if rows is None else rows:
            self.streams.pop(int(row), None)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, A), physical units."""
        index = np.arange(obs.num_rows) if rows is None else np.asarray(rows, dtype=np.int64)
        for position, row in enumerate(index.tolist()):
            if row not in self.streams:
                self.streams[row] = np.random.default_rng((self.first_seed, _digest(obs, position)))
        self.asked = index[self.queue.wanting(index)].tolist()
        return next_actions(obs, index, self.history, self.queue, self._predict)

    def _predict(self, obs: NumpyObservation) -> NDArray[np.float32]:
        noise = [self.streams[row].standard_normal(self.shape, dtype=np.float32) for row in self.asked]
        return self.policy.predict_action_chunk(obs, np.stack(noise) if self.draws else None)


def _digest(obs: NumpyObservation, row: int) -> int:
    """Return a number of what one row sees."""
    parts = [
        obs.instruction[row].encode(),
        obs.state[row].tobytes(),
        *(view[row].tobytes() for view in obs.images.values()),
    ]
    return zlib.crc32(b"".join(parts))


def export_run(path: Path, *, to: str, out: Path | None, episodes: int) -> bool:
    """Export a run or checkpoint, print how near the artefact is to it, and say whether that is near enough.

    Args:
        path: run or checkpoint.
        to: format, a key of ``EXPORTERS``.
        out: directory of the artefact; by default RUN/<format>, or CHECKPOINT-<format> beside a checkpoint.
        episodes: of the closed-loop check over all tasks; 0 leaves it out, as does a run without a world.

    Raises:
        ConfigError: there is no such format.
        CheckpointError: there is no policy, or something else in the artefact's place.
    """
    if to not in EXPORTERS:
        raise ConfigError(f"--to {to}: there is no such format. There is: {', '.join(EXPORTERS)}.")
    if is_artefact(path):
        raise CheckpointError(f"{path}: is an artefact already. Name the run or checkpoint that it was made from.")
    checkpoint = checkpoint_of(path)
    config = _config_of(path)
    place = out or _default_place(path, checkpoint, to)
    say(f"exporting {checkpoint} to {place}")
    policy = VLAPolicy.from_pretrained(checkpoint)
    start = time.perf_counter()
    manifest = EXPORTERS[to](policy, place, source=_source(checkpoint, config))
    seconds = time.perf_counter() - start
    engine = VLAInferenceEngine(place)
    size = sum(file.stat().st_size for file in place.iterdir())
    say(f"{place}: {manifest.runner}, {size / 1e6:.1f} MB, exported in {seconds:.0f} s")
    near = _parity(policy, engine)
    if config is None or config.env is None or episodes == 0:
        say("Closed loop: not run, " + ("as asked." if config is not None and config.env else "no world is known."))
        return near
    compared = closed_loop(policy, engine, config, episodes=episodes)
    return _show_closed_loop(compared, to) and near


class Exported(NoisyChunks, Protocol):
    """What stands for the policy elsewhere, such as the engine of an artefact."""

    manifest: Manifest


def closed_loop(policy: VLAPolicy, engine: Exported, config: RunConfig, *, episodes: int) -> Comparison:
    """Run both policies from the same initial states with the same noise, and return how their endings agree.

    Args:
        policy: as trained.
        engine: as exported.
        config: of the run, whose world and tasks are taken.
        episodes: over all tasks, at least one of each.
    """
    world: EnvConfig = config.world
    tasks = config.evaluate.tasks or world.build(1).tasks
    each = dataclasses.replace(config.evaluate, episodes=-(-episodes // len(tasks)), extra=0, controls=False)
    listings = plan(world.build(1), each)
    sides = {"torch": policy, "exported": engine}
    with start_workers(config.workers) as pool:
        cells = [_run(Seeded(side, engine.manifest), name, config, listings, pool) for name, side in sides.items()]
    return compare(*cells)[-1]


def _run(policy: Seeded, name: str, config: RunConfig, listings: Sequence[Listing], pool: Executor) -> tuple[Cell, ...]:
    rows = config.evaluate.rows
    with counting(f"episodes, {name}") as count:
        return measure(policy, config.world, listings, rows=rows, pool=pool, seed=config.seed, progress=count)


def _parity(policy: VLAPolicy, engine: VLAInferenceEngine) -> bool:
    """Print the table of errors and say whether all are within the tolerance."""
    words = sorted(policy.tokenizer.get_vocab())
    found = compare_policies(policy, engine, engine.manifest, words)
    say("Largest relative error, on the same observations with the same noise:")
    shown = Table("rows", *found[0].errors, box=SIMPLE_HEAD)
    for item in found:
        shown.add_row(str(item.rows), *(f"{error:.1e}" for error in item.errors.values()))
    console.print(shown)
    worst = max(item.worst for item in found)
    if not worst <= TOLERANCE:  # NaN included
        say(f"{worst:.1e} is more than {TOLERANCE:g}: do not use this artefact.")
    return worst <= TOLERANCE


def _show_closed_loop(compared: Comparison, to: str) -> bool:
    """Print how the episodes ended and say whether enough agree."""
    discordant, n = compared.only_first + compared.only_second, compared.n
    first, second = (100 * (compared.both + only) / n for only in (compared.only_first, compared.only_second))
    say(f"torch {first:.1f} %, {to} {second:.1f} % of {n} episodes; {discordant} ended differently.")
    if discordant > DISCORDANT * n:
        say(f"That is more than {100 * DISCORDANT:g} %: look into it before this artefact is used.")
    return discordant <= DISCORDANT * n


def _config_of(path: Path) -> RunConfig | None:
    """Return the configuration of the run around a path, or None when it stands alone."""
    for place in (path, *path.absolute().parents):
        if (place / "state.json").exists():
            return policy_and_config(path)[1]
    return None


def _default_place(path: Path, checkpoint: Path, to: str) -> Path:
    alone = checkpoint.absolute() == path.absolute()
    return path.with_name(f"{path.name}-{to}") if alone else path / to


def _source(checkpoint: Path, config: RunConfig | None) -> dict[str, Any]:
    """Return where a policy comes from, without a path of this machine."""
    with (checkpoint / WEIGHTS).open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    world = None if config is None or config.env is None else configs.to_dict(config.env)
    name = None if config is None else config.name
    return {"run": name, "checkpoint": checkpoint.resolve().name, "weights": weights, "world": world}
