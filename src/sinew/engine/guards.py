"""Watches for updates that were not finite: says so, keeps the evidence, stops when they go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from sinew.core.errors import SinewError, TrainingError
from sinew.core.files import new_directory, write_json
from sinew.core.types import Metrics, Stateful
from sinew.engine import rng
from sinew.engine.codec import write_tree
from sinew.engine.distributed import world
from sinew.engine.optim import Optim

MOST_DUMPS = 20


class Guard:
    """Reads the optimisers' counters of skipped steps.

    On a CPU it looks after every update. Where a look would make the host wait for the device, it
    keeps losses and row numbers until it is told the counters.

    Args:
        optims: the recipe's optimisers.
        directory: where dumps go, one directory an update, at most 20.
        seed: of the run, for the dump.
        max_bad: consecutive skipped steps of one optimiser that stop the run.
        note: told about each update that is dumped.
        skipped: told number and description of every update that is skipped, dumped or not.
        keep: writes a checkpoint ``nan_debug`` of the moment; asked at the first update that is dumped.
    """

    def __init__(
        self,
        optims: Mapping[str, Stateful],
        directory: Path,
        *,
        seed: int,
        max_bad: int,
        note: Callable[[str], None],
        keep: Callable[[], object] | None = None,
        skipped: Callable[[int, str], None] | None = None,
    ) -> None:
        self.ranks = world()
        self._all = optims
        self.directory, self.seed, self.max_bad, self.note = directory, seed, max_bad, note
        self.keep, self.skipped = keep, skipped
        self.waits = all(optim.waits for optim in self.optims.values())
        self.total = 0
        self._recent: list[tuple[int, Any, Metrics]] = []

    @property
    def optims(self) -> dict[str, Optim]:
        """Those that count, as they are now: a recipe of several stages has others in each."""
        return {name: optim for name, optim in self._all.items() if isinstance(optim, Optim)}

    def begin(self) -> None:
        """Start from the optimisers as they are now; what they skipped before is known."""
        self.total = sum(int(optim.bad_total) for optim in self.optims.values())
        self._recent.clear()

    @property
    def counters(self) -> list[Tensor]:
        """All skipped steps of each optimiser, then those in a row up to now, 0-dim on its device."""
        return [*(item.bad_total for item in self.optims.values()), *(item.bad_run for item in self.optims.values())]

    def watch(self, update: int, batch: Any, metrics: Metrics) -> None:  # noqa: ANN401  (any batch)
        """Take note of one update (its number counts from 1).

        Raises:
            TrainingError: too many in a row were not finite.
        """
        if not self.optims:
            return
        origin = {name: getattr(batch, name, None) for name in ("ids", "task", "source")}
        self._recent.append((update, origin, metrics))
        if self.waits:
            self.look([float(counter) for counter in self.counters])

    def look(self, counters: Sequence[float]) -> None:
        """Read ``counters``, brought to the host, about all updates since the last look.

        Raises:
            TrainingError: too many in a row were not finite.
        """
        size = len(self.optims)
        total = int(sum(counters[:size]))
        if self._recent and total > self.total:
            self._report({name: int(run) for name, run in zip(self.optims, counters[size:], strict=True)})
        self.total = total
        self._recent.clear()

    def _report(self, runs: Mapping[str, int]) -> None:
        """Dump the culprits and stop if there are too many."""
        numbers = [(update, origin, _floats(metrics)) for update, origin, metrics in self._recent]
        bad = [item for item in numbers if not all(math.isfinite(value) for value in item[2].values())] or numbers[-1:]
        for update, origin, values in bad:
            if self.skipped is not None:
                self.skipped(update, f"Not finite ({_show(values)}).")
            self._dump(update, origin, values)
        self._keep()
        run, name = max((run, name) for name, run in runs.items())
        if run >= self.max_bad:
            raise TrainingError(
                f"Update {bad[-1][0]}: {run} updates of {name!r} in a row were not finite ({_show(bad[-1][2])}). "
                f"The weights are those of the last finite update. Look at {self.directory}; try a lower --optim.lr, a "
                "smaller --optim.clip or a longer --optim.warmup, and check the data for extreme values."
            )

    def _dump(self, update: int, origin: Mapping[str, Any], values: Mapping[str, float]) -> None:
        told = self.ranks.gather((dict(origin), {name: repr(v) for name, v in values.items()}, rng.capture()))
        place = self.directory / str(update)
        if not self.ranks.is_main:
            return
        if self.directory.exists() and len(list(self.directory.iterdir())) >= MOST_DUMPS:
            return  # the log goes on counting them
        self.note(f"Update {update} was not finite ({_show(values)}): step skipped, see {place}.")
        with new_directory(place) as directory:
            content = {"update": update, "seed": self.seed, "metrics": told[0][1]}
            write_json(directory / "report.json", {**content, **self._others("metrics", [item[1] for item in told])})
            tree = {"origin": told[0][0], "rng": told[0][2], **self._others("origin", [item[0] for item in told])}
            write_tree(directory, {**tree, **self._others("rng", [item[2] for item in told])})

    def _others(self, what: str, told: list[Any]) -> dict[str, Any]:
        """Return what the other ranks said, by name with the rank."""
        return {f"{what} of rank {rank}": value for rank, value in enumerate(told) if rank}

    def _keep(self) -> None:
        """Write the checkpoint of the first time; a full disk must not end the run that goes on without it."""
        if self.keep is None:
            return
        try:
            self.keep()
        except SinewError as error:
            self.note(f"nan_debug was not written: {error}")
        self.keep = None


def _floats(metrics: Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _show(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
