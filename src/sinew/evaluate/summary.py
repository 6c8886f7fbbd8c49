"""The record of an evaluation: what was measured, on what, how long it took; kept as JSON."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import sinew
from sinew.core.config import from_dict, to_dict
from sinew.core.errors import DataError
from sinew.core.files import read_json, write_json
from sinew.core.types import EnvConfig, Policy
from sinew.evaluate.checks import Check, checks
from sinew.evaluate.config import EvaluateConfig
from sinew.evaluate.plan import Listing, plan
from sinew.evaluate.rates import Rate, rates
from sinew.evaluate.success import Cell, measure

SCHEMA_VERSION = 1
PACKAGES = ("numpy", "torch")


@dataclass(frozen=True)
class Evaluation:
    """Everything measured of one policy.

    Attributes:
        policy: the directory measured, or the name of its class.
        config: the evaluation's settings.
        env: the world's settings, as plain values.
        cells: the table, in the order of the plan.
        seconds: wall time of the episodes.
        seed: of whatever the policies drew.
        machine: processor, cores and system.
        versions: by package.
        schema_version: version of this record.
    """

    policy: str
    config: EvaluateConfig
    env: Mapping[str, Any]
    cells: tuple[Cell, ...]
    seconds: float
    seed: int = 0
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def num_episodes(self) -> int:
        """Episodes run."""
        return sum(cell.n for cell in self.cells)

    @property
    def episodes_per_s(self) -> float:
        """Episodes run per second of wall time."""
        return self.num_episodes / max(self.seconds, 1e-9)

    def rates(self) -> tuple[Rate, ...]:
        """Return the success rate of every cell and over all tasks, with Wilson's interval."""
        return rates([self.cells])

    def checks(self) -> tuple[Check, ...]:
        """Return the bars and whether they are met."""
        return checks(self.rates())


def evaluate(
    policy: str | Policy,
    env: EnvConfig,
    config: EvaluateConfig,
    *,
    listings: tuple[Listing, ...] | None = None,
    pool: Executor | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a policy and return the record.

    Args:
        policy: a policy's directory, "expert", "random" or the policy itself; see ``measure``.
        env: the world's settings.
        config: how many episodes.
        listings: which ones; None means ``plan``'s.
        pool: processes that run the episodes; None runs them here.
        seed: of whatever the policies draw.
        progress: called with (episodes done, episodes in all).
    """
    if listings is None:
        listings = plan(env.build(1), config)
    start = time.perf_counter()
    cells = measure(policy, env, listings, rows=config.rows, pool=pool, seed=seed, progress=progress)
    seconds = time.perf_counter() - start
    name = policy if isinstance(policy, str) else type(policy).__name__
    return Evaluation(name, config, to_dict(env), cells, seconds, seed, _machine(), _versions())


def pool_runs(evaluations: list[Evaluation]) -> tuple[Rate, ...]:
    """Return the rates of several training seeds together; see ``Rate`` for their interval.

    Raises:
        DataError: they did not try the same states.
    """
    return rates([evaluation.cells for evaluation in evaluations])


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the record as plain values, with its rates and checks for readers without this package."""
    summary = {
        "rates": [{**dataclasses.asdict(rate), "rate": rate.rate} for rate in evaluation.rates()],
        "checks": [{**dataclasses.asdict(check), "ok": check.ok} for check in evaluation.checks()],
        "episodes": evaluation.num_episodes,
        "episodes_per_s": evaluation.episodes_per_s,
    }
    return {**to_dict(evaluation), "summary": summary}


def from_json(content: Any, source: str = "evaluation") -> Evaluation:  # noqa: ANN401  (any JSON value)
    """Return the record that ``to_json`` wrote; its summary is computed anew, not read.

    Args:
        content: plain values.
        source: where they came from, for messages.

    Raises:
        ConfigError: the content is not such a record.
        DataError: a newer version wrote it.
    """
    if isinstance(content, dict):
        version = content.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise DataError(
                f"{source}: schema version {version}, this package reads up to {SCHEMA_VERSION}. Upgrade sinew-vla."
            )
        content = {key: value for key, value in content.items() if key != "summary"}
    return from_dict(Evaluation, content, source)


def save(evaluation: Evaluation, path: Path) -> None:
    """Write the record atomically."""
    write_json(path, to_json(evaluation))


def load(path: Path) -> Evaluation:
    """Read a record.

    Raises:
        DataError: the file is missing, not JSON, or of a newer version.
        ConfigError: it holds something else.
    """
    return from_json(read_json(path), str(path))


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "sinew": sinew.__version__}
    return {**versions, **{name: metadata.version(name) for name in PACKAGES}}
