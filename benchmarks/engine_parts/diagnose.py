"""Every diagnosis on a run that was built to have its fault, and on runs that have none.

The runs are real ones: behaviour cloning of demonstrations in the small world of the tests, by the engine's own loop, a
few CPU seconds each. A fault counts as found when ``sinew diagnose`` would name it at the end of the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from rows import ROOT, Row
from torch import Tensor, nn

sys.path.insert(0, str(ROOT / "tests"))
sys.modules["models"] = TESTS = ModuleType("models")  # benchmarks/models.py would be taken for tests/models
TESTS.__path__ = [str(ROOT / "tests" / "models")]

from recipes.line_world import POLICY, WORLD, small_policy  # noqa: E402
from sinew.core.rundir import RunDir  # noqa: E402
from sinew.core.types import Batch, Cursor, NumpyBatch, NumpyObservation  # noqa: E402
from sinew.data.collect import collect  # noqa: E402
from sinew.data.config import CollectConfig  # noqa: E402
from sinew.data.windows import Windows  # noqa: E402
from sinew.engine.config import LoopConfig, OptimConfig  # noqa: E402
from sinew.engine.diagnose import diagnose  # noqa: E402
from sinew.engine.track import read_rows  # noqa: E402
from sinew.engine.trainer import Trainer  # noqa: E402
from sinew.evaluate.offline import action_error  # noqa: E402
from sinew.evaluate.probe import probe  # noqa: E402
from sinew.recipes.bc import BehaviourCloning  # noqa: E402
from sinew.recipes.config import BcConfig  # noqa: E402
from sinew.run.diagnosing import record  # noqa: E402

UPDATES = 600
HEALTHY_OPTIM = OptimConfig(lr=3e-3, ema=0.98)
COMMAND = "python benchmarks/engine.py --only diagnose"
Change = Callable[[NumpyBatch], NumpyBatch]
RECORDED = ROOT / "runs" / "first_run"
"""Recorded runs of the first-run benchmark, where it was measured in this checkout."""
UNHEALTHY = {"tabletop-012a0e73", "tabletop-a411bcaa", "tabletop-b1aa16db"}
"""Those among them whose policies ended at 1 to 7 % success: the ablation without labels of where things are."""


class Seen:
    """Windows through a lens: every batch is changed on its way."""

    def __init__(self, windows: Windows, change: Change) -> None:
        self.windows, self.change = windows, change

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.windows, name)

    def gather(self, frames: Any) -> NumpyBatch:  # noqa: ANN401
        """Return the changed windows at these frames."""
        return self.change(self.windows.gather(frames))


def unchanged(thing: Any) -> Any:  # noqa: ANN401
    """Return the same."""
    return thing


@dataclass(frozen=True)
class Case:
    """A training, and what is changed about it.

    Attributes:
        change: of every batch. module: of the policy. wrap: of the recipe.
        few: learn from few episodes. state: let the policy know the state, which tells all that the images do.
        updates: length. optim: settings of the optimiser. batch: rows per update.
    """

    change: Change = unchanged
    module: Callable[[nn.Module], object] = unchanged
    wrap: Callable[[BehaviourCloning], object] = unchanged
    few: bool = False
    state: bool = False
    updates: int = UPDATES
    optim: OptimConfig = HEALTHY_OPTIM
    batch: int = 16


class Bench:
    """The demonstrations, and a training of them with one thing changed.

    Args:
        place: directory for all of it.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        many, few = (CollectConfig(episodes=count, group=6, held_out=share) for count, share in ((60, 0.2), (12, 0.5)))
        self.many, self.few = collect(place / "many", WORLD, many, seed=0), collect(place / "few", WORLD, few, seed=0)

    def train(self, name: str, case: Case) -> list[dict[str, Any]]:
        """Train and return the record."""
        store = self.few if case.few else self.many
        policy = small_policy(store, config=dataclasses.replace(POLICY, state=case.state))
        case.module(policy)
        windows, held_out = (
            Seen(Windows([store], history=1, horizon=POLICY.horizon, held_out=kept), case.change)
            for kept in (False, True)
        )
        recipe = BehaviourCloning(
            policy,
            windows,  # type: ignore[arg-type]
            BcConfig(batch=case.batch),
            case.optim,
            updates=case.updates,
            seed=0,
        )
        case.wrap(recipe)

        def on_eval(_: int) -> Mapping[str, float]:
            acting: Any = recipe.acting()
            found = probe(acting, windows, held_out)  # type: ignore[arg-type]
            return {"score": -found["error/held_out"], **found, **skills(acting, windows)}

        path = self.place / name
        config = LoopConfig(updates=case.updates, log_every=10, save_every=case.updates, eval_at=(0.5,))
        path.mkdir()
        Trainer(recipe, config, RunDir(path), seed=0, on_eval=on_eval).run()
        return read_rows(path / "metrics.jsonl")


def skills(policy: Any, windows: Any) -> dict[str, float]:  # noqa: ANN401
    """Return by task the share of steps that are right."""
    found: dict[str, float] = {}
    for task in windows.tasks:
        one = Only(windows, task)
        found[f"score/{task}"] = action_error(policy, one, frames=128, tolerance=0.2).accuracy  # type: ignore[arg-type]
    return found


class Only:
    """The windows of one task."""

    def __init__(self, windows: Any, task: str) -> None:  # noqa: ANN401
        self.windows, self.frames = windows, frames_of_task(windows, task)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.windows, name)

    @property
    def num_frames(self) -> int:
        """Windows to choose from."""
        return len(self.frames)

    def gather(self, frames: Any) -> NumpyBatch:  # noqa: ANN401
        """Return the windows at these of its frames."""
        return self.windows.gather(self.frames[frames])


def frames_of_task(windows: Any, task: str) -> Any:  # noqa: ANN401
    """Return the frames of a task, by the sentence of its episodes."""
    found = [windows.frames_of(number) for number in range(windows.num_episodes) if task in windows.named(number)[1]]
    return np.concatenate(found)


# ------------------------------------------------------------------------------------------- faults


def deep_sigmoids(policy: nn.Module) -> None:
    """Put ten saturating layers between the network and the head."""
    width = POLICY.width
    layers = [layer for _ in range(10) for layer in (nn.Linear(width, width), nn.Sigmoid())]
    policy.network.fuse = nn.Sequential(*policy.network.fuse, *layers)  # type: ignore[union-attr]


def wild_from(update: int) -> Callable[[BehaviourCloning], None]:
    """Return what makes the state a thousand times larger from an update on, as a sensor that changes its unit does."""

    def wrap(recipe: BehaviourCloning) -> None:
        plain = recipe.update

        def wild(batch: Batch[Tensor]) -> Any:  # noqa: ANN401
            obs = dataclasses.replace(batch.obs, state=batch.obs.state * 1000)
            grown = dataclasses.replace(batch, obs=obs) if recipe.num_updates >= update else batch
            return plain(grown)

        recipe.update = wild  # type: ignore[method-assign]

    return wrap


def slow(recipe: BehaviourCloning) -> None:
    """Make every batch wait, as a slow disk does."""
    plain = recipe.batches

    def batches(start: Cursor) -> Iterator[Batch[Tensor]]:
        for batch in plain(start):
            time.sleep(0.12)
            yield batch

    recipe.batches = batches  # type: ignore[method-assign]


def by_task(share: Callable[[float], float]) -> Callable[[BehaviourCloning], None]:
    """Return what draws "go left" with a share that depends on how much of the run is done."""

    def wrap(recipe: BehaviourCloning) -> None:
        def frames(update: int) -> Any:  # noqa: ANN401
            random = np.random.default_rng(update)
            left = random.random(recipe.config.batch) < share(update / UPDATES)
            known = {task: frames_of_task(recipe.windows, task) for task in ("left", "right")}
            return np.array([random.choice(known["left" if one else "right"]) for one in left])

        recipe._frames = frames  # type: ignore[method-assign]  # noqa: SLF001

    return wrap


def noisy(recipe: BehaviourCloning) -> None:
    """Make the acting policy draw its actions with far too much noise."""
    policy: Any = recipe.acting()
    plain = policy.predict_action_chunk

    def predict(obs: NumpyObservation, **options: Any) -> Any:  # noqa: ANN401
        chunk = plain(obs, **options)
        return chunk + 0.5 * torch.randn(chunk.shape).numpy()

    vars(policy)["predict_action_chunk"] = predict


def black(batch: NumpyBatch) -> NumpyBatch:
    """Return the batch as a covered camera records it."""
    images = {name: np.zeros_like(pixels) for name, pixels in batch.obs.images.items()}
    return dataclasses.replace(batch, obs=dataclasses.replace(batch.obs, images=images))


def any_words(batch: NumpyBatch) -> NumpyBatch:
    """Return the batch with sentences that have nothing to do with what is done."""
    random = np.random.default_rng(int(np.asarray(batch.ids).sum()))
    words = tuple(("go left", "go right")[one] for one in random.integers(0, 2, batch.num_rows))
    return dataclasses.replace(batch, obs=dataclasses.replace(batch.obs, instruction=words))


def any_actions(batch: NumpyBatch) -> NumpyBatch:
    """Return the batch with actions of other rows."""
    order = np.random.default_rng(int(np.asarray(batch.ids).sum())).permutation(batch.num_rows)
    return dataclasses.replace(batch, actions=batch.actions[order])


FAULTS = {
    "vanishing gradients": Case(module=deep_sigmoids),
    "exploding gradients": Case(wrap=wild_from(500), state=True),
    "overfitting": Case(few=True, updates=900, state=True),
    "oscillation": Case(optim=OptimConfig(lr=0.05, warmup=0.001, final=1.0, clip=0.0, ema=0.0), batch=2),
    "stagnation": Case(change=any_actions, optim=OptimConfig(lr=3e-3, final=0.5), updates=1200),
    "mode collapse": Case(change=any_actions),
    "action jitter": Case(wrap=noisy),
    "dead input, images": Case(change=black),
    "dead input, instruction": Case(change=any_words),
    "catastrophic forgetting": Case(wrap=by_task(lambda done: 1.0 if done < 0.5 else 0.0)),
    "task imbalance": Case(wrap=by_task(lambda _: 0.02)),
    "input-bound": Case(wrap=slow, updates=300),  # half a minute: of shorter runs it is not said
}
"""What is changed about a healthy training, by the fault that it must be found to have."""


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001
    """Yield a row for each fault, one for a healthy run, and one for the recorded runs."""
    torch.set_num_threads(1)
    found: dict[str, list[str]] = {}
    chosen = list(FAULTS)[:4] if quick else list(FAULTS)
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place))
        healthy = diagnose(bench.train("healthy", Case()))
        print("healthy:", [finding.lines[0] for finding in healthy], file=sys.stderr, flush=True)
        for name in chosen:
            record_of = bench.train(name.replace(" ", "-").replace(",", ""), FAULTS[name])
            findings = diagnose(record_of)
            found[name] = [finding.title for finding in findings]
            print(f"{name}:", [finding.lines[0] for finding in findings], file=sys.stderr, flush=True)
    for name, titles in found.items():
        hit = any(title == name or title.startswith(f"{name},") for title in titles)
        others = ", ".join(title for title in titles if not title.startswith(name)) or "nothing else"
        yield Row(
            f"found on a run built to have it: {name}",
            float(hit),
            "",
            bar="found",
            ok=hit,
            n=1,
            command=COMMAND,
            note=f"also found there: {others}",
        )
    yield Row(
        "findings on the same run without a fault",
        float(len(healthy)),
        "",
        bar="0",
        ok=not healthy,
        n=1,
        command=COMMAND,
        note="; ".join(finding.lines[0] for finding in healthy),
    )
    yield from recorded()


def recorded() -> Iterator[Row]:
    """Yield what is found on the recorded runs of the first-run benchmark, at their end."""
    if not RECORDED.is_dir():
        yield Row("findings on recorded healthy runs", None, "", bar="0", command=COMMAND, note="none recorded here")
        return
    told: dict[str, list[str]] = {}
    for path in sorted(RECORDED.glob("tabletop-*")):
        with contextlib.suppress(json.JSONDecodeError):
            told[path.name] = [finding.lines[0] for finding in diagnose(record(path))]
    wrong = {name: lines for name, lines in told.items() if lines and name not in UNHEALTHY}
    true = {name: lines for name, lines in told.items() if lines and name in UNHEALTHY}
    yield Row(
        "findings on recorded healthy runs",
        float(sum(map(len, wrong.values()))),
        "",
        bar="0",
        ok=not wrong,
        n=len(told) - len(UNHEALTHY & set(told)),
        command=COMMAND,
        note=f"of {len(UNHEALTHY & set(told))} recorded runs that ended at 1 to 7 % success: {true or 'nothing'}",
    )
