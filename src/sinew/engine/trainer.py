"""The loop that every recipe runs in: it owns time, disk and randomness; the recipe owns learning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from torch import Tensor, nn

from sinew.core.errors import CheckpointError
from sinew.core.heap import keep_freed_memory
from sinew.core.rundir import RunDir, compare
from sinew.core.types import Cursor, Recipe, Sized
from sinew.engine import rng
from sinew.engine.checkpoint import Checkpoints, Pretrained, unheard
from sinew.engine.compiling import compile_recipe
from sinew.engine.config import LoopConfig
from sinew.engine.diagnose import Diagnosis
from sinew.engine.distributed import Vote, world
from sinew.engine.guards import Guard
from sinew.engine.incidents import Incidents, Kind
from sinew.engine.interrupt import Interrupt
from sinew.engine.load import load
from sinew.engine.optim import Optim
from sinew.engine.ranks import mean_of_ranks, over_ranks, restore_draws, verified
from sinew.engine.skipped import BEFORE, Skipped
from sinew.engine.spikes import Spikes
from sinew.engine.track import MetricsLog, Row, read_rows
from sinew.engine.window import Window

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

BatchT = TypeVar("BatchT", bound=Sized)
Tried = float | Mapping[str, float | None] | None


@dataclass
class TrainState:
    """What the engine itself must remember.

    Attributes:
        update: updates done.
        elapsed_s: wall time spent so far, evaluations included [s].
        best_score: highest score of ``on_eval``, or None before the first.
        best_update: the update that had it, the latest of several.
        stale: tries since the score last rose.
    """

    update: int = 0
    elapsed_s: float = 0.0
    best_score: float | None = None
    best_update: int | None = None
    stale: int = 0


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
            better, or None; or numbers by name, "score" among them, for the log. It may draw random numbers and
            change modes; both are put back.
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
        on_eval: Callable[[int], Tried] | None = None,
        on_log: Callable[[Row], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.recipe, self.config, self.rundir, self.seed = recipe, config, rundir, seed
        self.ranks = world()
        self.on_eval, self.on_log = on_eval, on_log
        self.note = on_note if on_note is not None and self.ranks.is_main else unheard
        self.state = TrainState()
        self.metrics = MetricsLog(rundir.metrics)
        self.incidents = Incidents(rundir.incidents)
        broken = partial(self._tell, "broken checkpoint")
        self.checkpoints = Checkpoints(rundir.checkpoints, keep=config.keep, note=broken)
        self.eval_updates = (
            {max(1, round(share * config.updates)) for share in config.eval_at} if on_eval else set[int]()
        )
        self.skipped = Skipped(rundir.checkpoints / "skipped.json")
        self.spikes = Spikes()
        self.guard = Guard(
            recipe.optims,
            rundir.nan_dump,
            seed=seed,
            max_bad=config.max_bad,
            note=self.note,
            keep=self._keep_debug,
            skipped=lambda update, text: self.incidents.add("skipped update", update, text),
        )
        self._mesh: DeviceMesh | None = None
        self.diagnosis = Diagnosis(config.updates)
        self._window = Window()
        self._alive_since = time.perf_counter()

    def run(self) -> TrainState:
        """Train until ``config.updates`` are done, or until ``config.patience`` tries showed no better score.

        Raises:
            TrainingError: too many updates in a row were not finite.
            CheckpointError: the saved state does not fit this recipe.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once everything is saved.
        """
        keep_freed_memory()
        self.resume()
        vote = Vote(self.ranks)
        batches = self.recipe.batches(Cursor(self.state.update))
        self._alive_since = time.perf_counter()
        self._window.begin()
        backend = self.config.compile
        with Interrupt() as interrupt:
            while not self._ended:
                batch = self._window.fetch(batches)
                if backend is not None:
                    compile_recipe(self.recipe, batch, backend, self.note)
                    backend = None
                    self._window.begin()
                self.state.update += 1
                if self.state.update not in self.skipped:
                    metrics = self.recipe.update(batch)
                    self._window.add(metrics)
                    self.guard.watch(self.state.update, batch, metrics)
                stop = vote(interrupt.asked, last=self.state.update == self.config.updates)
                if self._boundary(stop=stop):
                    batches = self.recipe.batches(Cursor(self.state.update))
        return self.state

    @property
    def _ended(self) -> bool:
        return self.state.update >= self.config.updates or self._stopped_early

    @property
    def _stopped_early(self) -> bool:
        return self.config.patience is not None and self.state.stale >= self.config.patience

    def resume(self) -> None:
        """Seed everything, then take the newest whole checkpoint, if there is one.

        Raises:
            CheckpointError: it is of another seed, of other settings of an optimiser, or of another recipe.
        """
        self._mesh = verified(self.recipe.optims, self.note)
        rng.seed_all(self.seed if self.ranks.is_main else self.ranks.seed(self.seed))
        back = self.ranks.tell(self.skipped.back)
        if back is not None:
            self.checkpoints.remove_after(back)
            self.skipped.done()
        if self._load():
            self._tell("resumed", f"Going on after update {self.state.update} of {self.config.updates}.")

    def _load(self, before: int | None = None) -> bool:
        """Take the newest whole checkpoint; whether there was one."""
        found = self.checkpoints.newest(self._mesh, before=before)
        if found is None:
            self._cut(0)
            return False
        update, tree = found
        place = self.checkpoints.path / str(update)
        other = list(compare(tree.get("settings", self._settings), self._settings))
        if other:
            lines = "\n".join(f"  {line}" for line in other)
            raise CheckpointError(
                f"{place}: was trained with other settings (there, here):\n{lines}\n"
                "Go on with those, or train in another directory."
            )
        try:
            self.state = TrainState(**tree["train"])
            self.recipe.load_state_dict(tree["recipe"])
            restore_draws([tree["rng"], *tree.get("others", [])], self.ranks.seed(self.seed, update), self.note)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{place}: does not fit this recipe ({error}). "
                "Use the configuration and version that wrote it, or another run directory."
            ) from error
        self.spikes = Spikes(tree.get("losses", ()))
        if self.ranks.is_main:
            self.checkpoints.link(last=update, best=self.state.best_update)
        self._cut(update)
        self.diagnosis = Diagnosis(self.config.updates, read_rows(self.metrics.path))
        self.guard.begin()
        self._window.begin()
        return True

    def _cut(self, update: int) -> None:
        if self.ranks.is_main:
            self.metrics.cut(update)
        self.ranks.barrier()

    @property
    def _settings(self) -> dict[str, Any]:
        """What decides every number of a run, as far as the engine knows it."""
        optims = {name: item.settings for name, item in self.recipe.optims.items() if isinstance(item, Optim)}
        return {"seed": self.seed, "optims": getattr(self.recipe, "settings", optims)}  # of all stages, where there are

    def _boundary(self, *, stop: bool) -> bool:
        """Log, try out and save between two updates, as far as each is due; whether the run went back instead."""
        update, ended = self.state.update, self._ended
        tried = self.on_eval is not None and (ended or self._try_is_due)
        saved = ended or tried or stop or update % self.config.save_every == 0
        if saved or update % self.config.log_every == 0:  # what is saved must not lack a part of the log
            spike = self._log()
            if spike is not None and self._went_back(spike):
                return True
        if tried:
            self._evaluate()
        if saved:
            self._save()
        if self._stopped_early:
            self._tell(
                "early stop",
                f"Stopped early after update {update}: {self.state.stale} tries without a better score; "
                f"the best was after update {self.state.best_update}.",
            )
        elif stop and not ended:
            self.incidents.add("stopped", update, "By Ctrl-C or a signal; all was saved.")
            raise KeyboardInterrupt(
                f"Stopped after update {update} of {self.config.updates}; all of it is saved in {self.rundir.path}. "
                "The same command goes on from here."
            )
        return False

    @property
    def _try_is_due(self) -> bool:
        every = self.config.eval_every
        return self.state.update in self.eval_updates or (every is not None and self.state.update % every == 0)

    def _log(self) -> int | None:
        """Write a line about the updates since the last one, and return the first spike of the loss among them."""
        optims, counters = self.guard.optims, dict(enumerate(self.guard.counters))
        alone = len(optims) == 1
        measured: dict[str, Tensor] = {f"counter {number}": counter for number, counter in counters.items()}
        for name, optim in optims.items():
            place = "" if alone else f"{name}."
            measured |= {f"grad_rms/{place}{part}": rms for part, rms in optim.gradients().items()}
        row: Row = {"update": self.state.update, **over_ranks(self._window.close(measured))}
        counts = [row.pop(f"counter {number}") for number in counters]
        row |= {"lr" if alone else f"lr/{name}": optim.lr for name, optim in optims.items()}
        row["skipped"] = int(sum(counts[: len(optims)]))
        row["elapsed_s"] = self.state.elapsed_s + time.perf_counter() - self._alive_since
        row |= load(next(next(iter(self.recipe.modules.values())).parameters()).device)
        losses = mean_of_ranks(self._window.losses)
        spikes = self._spikes_among(losses)
        if spikes:
            row["spikes"] = len(spikes)
        self._record(row)
        self.guard.look(counts)
        if not spikes:
            return None
        first, loss = self.state.update - len(losses) + 1 + spikes[0], losses[spikes[0]]
        text = f"Update {first}: the loss jumped to {loss:.4g}, {len(spikes)} x since the last line."
        self._tell("spike", text, first)
        return first

    def _spikes_among(self, losses: Sequence[float]) -> list[int]:
        """Return the places of spikes among the last losses; those of a stage are not judged by those of another."""
        places: list[int] = []
        judged = 0
        for end in getattr(self.recipe, "ends", ()):
            border = len(losses) - (self.state.update - end)
            if 0 < border <= len(losses):
                places += [judged + place for place in self.spikes.judge(losses[judged:border])]
                self.spikes, judged = Spikes(), border
        return places + [judged + place for place in self.spikes.judge(losses[judged:])]

    def _went_back(self, spike: int) -> bool:
        """Go back to the checkpoint before a spike, and pass over the batches around it; whether that was done."""
        first, last = max(1, spike - BEFORE), self.state.update
        known = self.ranks.tell([update for update in self.checkpoints.updates if update < first])
        if len(self.skipped) >= (self.config.rollback or 0) or not known:
            return False
        self.skipped.add(first, last, known[-1])
        text = f"Going back to update {known[-1]}; the batches of updates {first} to {last} are left out."
        self._tell("rollback", text, last)
        elapsed = self.state.elapsed_s
        if not self._load(before=first):
            raise CheckpointError(f"{self.checkpoints.path}: no checkpoint before update {first} can be read any more.")
        self.checkpoints.remove_after(self.state.update)
        self.skipped.done()
        self.state.elapsed_s = elapsed
        return True

    def _evaluate(self) -> None:
        if self.on_eval is None:
            return
        with self._aside():
            found = self.ranks.tell(self.on_eval(self.state.update))
        numbers = found if isinstance(found, Mapping) else {"score": found}
        finite = {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}
        if finite:
            self._record({"update": self.state.update, **finite})
        score, best = finite.get("score"), self.state.best_score
        if score is None:
            return
        self.state.stale = 0 if best is None or score > best else self.state.stale + 1
        if best is None or score >= best:  # of equals, the one that learned longest
            self.state.best_score, self.state.best_update = score, self.state.update

    def _save(self) -> None:
        with self._aside():
            if self.ranks.is_main:
                self.metrics.sync()
            now = time.perf_counter()
            self.state.elapsed_s += now - self._alive_since
            self._alive_since = now
            self.checkpoints.save(self.state.update, self._policy, self._tree(), best=self.state.best_update)

    def _keep_debug(self) -> None:
        """Write the checkpoint ``nan_debug`` of this moment, for people; no run goes on from it."""
        with self._aside():
            place = self.checkpoints.write("nan_debug", self.state.update, self._policy, self._tree())
        self.note(f"The state of that moment is in {place}.")

    def _tree(self) -> dict[str, Any]:
        first, *others = self.ranks.gather(rng.capture())
        return {
            "train": asdict(self.state),
            "recipe": self.recipe.state_dict(),
            "rng": first,
            **({"others": others} if others else {}),
            "settings": self._settings,
            "losses": self.spikes.losses,
        }

    @property
    def _policy(self) -> Pretrained:
        return cast("Pretrained", self.recipe.acting())

    def _tell(self, kind: Kind, text: str, update: int | None = None) -> None:
        """Tell the user what happened, and keep it for the run card."""
        self.note(text)
        self.incidents.add(kind, self.state.update if update is None else update, text)

    def _record(self, row: Row) -> None:
        if not self.ranks.is_main:
            return
        self.metrics.append(row)
        if self.on_log is not None:
            self.on_log(row)
        for finding in self.diagnosis.take(row):
            self._record(finding.row(self.state.update))
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
        trained = list(self.recipe.modules.values())
        return trained if self._parted else [*trained, self.recipe.acting()]  # of shards it is a copy

    @property
    def _parted(self) -> bool:
        return any(isinstance(item, Optim) and item.sharing.parted for item in self.recipe.optims.values())
