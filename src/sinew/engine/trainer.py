"""The loop that every recipe runs in: it owns time, disk and randomness; the recipe owns learning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from sinew.core.errors import CheckpointError
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor, Recipe, Sized
from sinew.engine import rng
from sinew.engine.checkpoint import Checkpoints, Pretrained, unheard
from sinew.engine.config import LoopConfig
from sinew.engine.diagnose import Diagnosis
from sinew.engine.distributed import Vote, world
from sinew.engine.guards import Guard
from sinew.engine.interrupt import Interrupt
from sinew.engine.optim import Optim
from sinew.engine.ranks import over_ranks, restore_draws, verified
from sinew.engine.track import MetricsLog, Row, read_rows
from sinew.engine.window import Window

BatchT = TypeVar("BatchT", bound=Sized)
NONE = torch.zeros(())


@dataclass
class TrainState:
    """What the engine itself must remember.

    Attributes:
        update: updates done.
        elapsed_s: wall time spent so far, evaluations included [s].
        best_score: highest score of ``on_eval``, or None before the first.
        best_update: the update that had it.
    """

    update: int = 0
    elapsed_s: float = 0.0
    best_score: float | None = None
    best_update: int | None = None


class Trainer(Generic[BatchT]):
    """Trains a recipe to its end, from wherever its run directory stands.

    After a kill, a crash or Ctrl-C the same call goes on, and the final weights are bit for bit
    those of an uninterrupted run.

    Args:
        recipe: what is learned and how.
        config: how long, and what happens on the way.
        rundir: claimed by the caller.
        seed: of every random choice.
        on_eval: given the number of updates done, tries out ``recipe.acting()`` and returns a score, higher being
            better, or None; or a row of numbers of which "score" is it. It may draw random numbers and change modes;
            both are put back.
        on_log: given each row of metrics.jsonl.
        on_note: given sentences for the user, such as that an older checkpoint is used.
    """

    def __init__(
        self,
        recipe: Recipe[BatchT],
        config: LoopConfig,
        rundir: RunDir,
        *,
        seed: int,
        on_eval: Callable[[int], float | Mapping[str, float] | None] | None = None,
        on_log: Callable[[Row], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.recipe, self.config, self.rundir, self.seed = recipe, config, rundir, seed
        self.ranks = world()
        self.on_eval, self.on_log = on_eval, on_log
        self.note = on_note if on_note is not None and self.ranks.is_main else unheard
        self.state = TrainState()
        self.metrics = MetricsLog(rundir.metrics)
        self.checkpoints = Checkpoints(rundir.checkpoints, keep=config.keep, note=self.note)
        self.eval_updates = (
            {max(1, round(share * config.updates)) for share in config.eval_at} if on_eval else set[int]()
        )
        self.diagnosis = Diagnosis(config.updates)
        self._window = Window()
        self._alive_since = time.perf_counter()

    def run(self) -> TrainState:
        """Train until ``config.updates`` are done.

        Raises:
            TrainingError: too many updates in a row were not finite.
            CheckpointError: the saved state does not fit this recipe.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once everything is saved.
        """
        self.resume()
        guard = Guard(
            self.recipe.optims,
            self.rundir.nan_dump,
            seed=self.seed,
            max_bad=self.config.max_bad,
            every=self.config.log_every,
            note=self.note,
        )
        vote = Vote(self.ranks)
        batches = self.recipe.batches(Cursor(self.state.update))
        self._alive_since = time.perf_counter()
        self._window.begin()
        with Interrupt() as interrupt:
            while self.state.update < self.config.updates:
                batch = self._window.fetch(batches)
                metrics = self.recipe.update(batch)
                self.state.update += 1
                self._window.add(metrics)
                guard.watch(self.state.update, batch, metrics)
                self._boundary(stop=vote(interrupt.asked, last=self.state.update == self.config.updates))
        return self.state

    def resume(self) -> None:
        """Seed everything, then take the newest whole checkpoint, if there is one."""
        mesh = verified(self.recipe.optims, self.note)
        rng.seed_all(self.seed if self.ranks.is_main else self.ranks.seed(self.seed))
        found = self.checkpoints.newest(mesh)
        if found is None:
            self._cut(0)
            return
        update, tree = found
        try:
            self.state = TrainState(**tree["train"])
            self.recipe.load_state_dict(tree["recipe"])
            restore_draws([tree["rng"], *tree.get("others", [])], self.ranks.seed(self.seed, update), self.note)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.checkpoints.path / str(update)}: does not fit this recipe ({error}). "
                "Use the configuration and version that wrote it, or another run directory."
            ) from error
        if self.ranks.is_main:
            self.checkpoints.link(last=update, best=self.state.best_update)
        self._cut(update)
        self.diagnosis = Diagnosis(self.config.updates, read_rows(self.metrics.path))
        self.note(f"Going on after update {update} of {self.config.updates}.")

    def _cut(self, update: int) -> None:
        if self.ranks.is_main:
            self.metrics.cut(update)
        self.ranks.barrier()

    def _boundary(self, *, stop: bool) -> None:
        """Log, evaluate and save between two updates, as far as each is due."""
        update, last = self.state.update, self.state.update == self.config.updates
        if last or update % self.config.log_every == 0:
            self._log()
        evaluated = update in self.eval_updates
        if evaluated:
            self._evaluate()
        if last or evaluated or stop or update % self.config.save_every == 0:
            self._save()
        if stop and not last:
            raise KeyboardInterrupt(
                f"Stopped after update {update} of {self.config.updates}; all of it is saved in {self.rundir.path}. "
                "The same command goes on from here."
            )

    def _log(self) -> None:
        optims = {name: optim for name, optim in self.recipe.optims.items() if isinstance(optim, Optim)}
        measured: dict[str, Tensor] = {}
        for name, optim in optims.items():
            place = "" if len(optims) == 1 else f"{name}."
            measured |= {f"grad_rms/{place}{part}": rms for part, rms in optim.gradients().items()}
        measured["skipped"] = torch.stack([optim.bad_total for optim in optims.values()]).sum() if optims else NONE
        row: Row = {"update": self.state.update, **over_ranks(self._window.close(measured))}
        for name, optim in optims.items():
            row["lr" if len(optims) == 1 else f"lr/{name}"] = optim.lr
        row["skipped"] = int(row["skipped"])
        row["elapsed_s"] = self.state.elapsed_s + time.perf_counter() - self._alive_since
        self._record(row)

    def _evaluate(self) -> None:
        if self.on_eval is None:
            return
        with self._aside():
            score = self.ranks.tell(self.on_eval(self.state.update))
        found = dict(score) if isinstance(score, Mapping) else {"score": score}
        score = found.get("score")
        if score is None or not math.isfinite(score):
            return
        self._record({"update": self.state.update, **found})
        if self.state.best_score is None or score > self.state.best_score:
            self.state.best_score, self.state.best_update = score, self.state.update

    def _save(self) -> None:
        with self._aside():
            if self.ranks.is_main:
                self.metrics.sync()
            now = time.perf_counter()
            self.state.elapsed_s += now - self._alive_since
            self._alive_since = now
            first, *others = self.ranks.gather(rng.capture())
            tree: dict[str, Any] = {
                "train": asdict(self.state),
                "recipe": self.recipe.state_dict(),
                "rng": first,
                **({"others": others} if others else {}),
            }
            policy = cast("Pretrained", self.recipe.acting())
            self.checkpoints.save(self.state.update, policy, tree, best=self.state.best_update)

    def _record(self, row: Row) -> None:
        if not self.ranks.is_main:
            return
        self.metrics.append(row)
        if self.on_log is not None:
            self.on_log(row)
        for finding in self.diagnosis.take(row):
            self.metrics.append(finding.row(self.state.update))
            for line in finding.lines:
                self.note(line)

    @contextmanager
    def _aside(self) -> Generator[None]:
        """Keep randomness and modes as they are, and the time out of samples per second."""
        began = time.perf_counter()
        modes = {part: part.training for module in self._modules() for part in module.modules()}
        with rng.kept():
            yield
        for part, training in modes.items():
            part.training = training
        self._window.left_out(time.perf_counter() - began)

    def _modules(self) -> list[nn.Module]:
        return [*self.recipe.modules.values(), self.recipe.acting()]
