"""One training update against the same network in a loop written by hand, interleaved, in CPU time and aten calls."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from sinew.core.types import Cursor
from sinew.data.collect import collect
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.models.grounding import heat
from sinew.models.policy import VLAPolicy
from sinew.presets import PRESETS
from sinew.recipes.bc import BehaviourCloning
from sinew.run.parts import build_policy

BLOCKS, UPDATES, HORIZON = 9, 12, 4
POINTS = ("target", "goal")


class Count(TorchDispatchMode):
    """Counts aten calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Count and go on."""
        self.calls += 1
        return function(*args, **(kwargs or {}))


class Arrays:
    """The store's columns as plain arrays, and windows cut out of them by hand."""

    def __init__(self, store: Store) -> None:
        self.images, self.state = store.column("images.front"), store.column("state")
        self.action = np.array(store.column("action"))
        self.points = [np.array(store.column(f"targets.{name}")) for name in POINTS]
        frames = [record.frames for record in store.records]
        self.ends = np.repeat([record.offset + record.frames for record in store.records], frames)
        self.texts = np.repeat([record.instruction for record in store.records], frames)


def brighten(pixels: torch.Tensor) -> torch.Tensor:
    """Return images with another brightness and contrast."""
    shade = 1 + 0.15 * (2 * torch.rand(len(pixels), 1, 1, 1, 1) - 1)
    spread = 1 + 0.15 * (2 * torch.rand(len(pixels), 1, 1, 1, 1) - 1)
    light = pixels.float() * shade
    middle = light.mean(dim=(2, 3, 4), keepdim=True)
    return ((light - middle) * spread + middle).clamp_(0, 255).to(torch.uint8)


def loss_by_hand(policy: VLAPolicy, arrays: Arrays, at: Any) -> torch.Tensor:  # noqa: ANN401
    """Return the loss of the frames ``at``."""
    norm, ahead = policy.normalizer, at[:, None] + np.arange(HORIZON)
    last = arrays.ends[at][:, None] - 1
    pixels = brighten(torch.from_numpy(arrays.images[at])[:, None])
    ids = policy.word_ids([str(text) for text in arrays.texts[at]])
    state = norm.to_unit("state", torch.from_numpy(arrays.state[at])[:, None])
    scene = policy.network({"front": pixels}, ids, state)
    wanted = norm.to_unit("action", torch.from_numpy(arrays.action[np.minimum(ahead, last)]))
    raw = policy.head(scene.features)
    logit = functional.binary_cross_entropy_with_logits(raw, (wanted > 0.5).float(), reduction="none")
    terms = torch.where(policy.head.loss_per_row.binary, 0.3 * logit, (raw - wanted).abs()).mean(-1)
    keep = torch.from_numpy(ahead <= last).float()
    loss = ((terms * keep).sum(-1) / keep.sum(-1)).mean()
    for number, name in enumerate(POINTS):
        label = torch.from_numpy(arrays.points[number][at])
        known = label.isfinite().all(-1)
        label = torch.where(known[:, None], label, torch.zeros_like(label))
        off = (scene.points[name] - norm.to_unit(f"targets_{name}", label)).abs().mean(-1)
        cells = heat(policy.projections[0](label), *scene.logits.shape[-2:])
        off = off - 0.1 * (cells * scene.logits[:, 0, number].flatten(1).log_softmax(-1)).sum(-1)
        loss = loss + torch.where(known, off, torch.zeros_like(off)).mean()
    return loss


def by_hand(policy: VLAPolicy, store: Store, config: Any) -> Any:  # noqa: ANN401
    """Yield after every update of a bare loop: arrays, network, losses, AdamW, clipping, averaged weights."""
    arrays, parameters = Arrays(store), list(policy.parameters())
    matrices = [p for p in parameters if p.ndim > 1]
    groups = [{"params": matrices}, {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.optim.lr, weight_decay=config.optim.weight_decay, fused=True)
    average = [p.detach().clone() for p in parameters]
    random = np.random.default_rng(0)
    while True:
        loss = loss_by_hand(policy, arrays, random.integers(0, len(arrays.ends), config.recipe.inner.batch))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if bool(torch.nn.utils.clip_grad_norm_(parameters, 1.0).isfinite()):
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.002)
        yield loss.detach()


def by_recipe(policy: VLAPolicy, store: Store, config: Any) -> Any:  # noqa: ANN401
    """Yield after every update of the recipe."""
    windows = Windows([store], history=1, horizon=HORIZON)
    recipe = BehaviourCloning(policy, windows, config.recipe.inner, config.optim, updates=10_000, seed=0)
    for batch in recipe.batches(Cursor(0)):
        yield recipe.update(batch)["loss"]


def main() -> None:
    """Print ratios as one line of JSON."""
    torch.set_num_threads(1)
    config = PRESETS["tabletop"]("small")
    with tempfile.TemporaryDirectory() as place:
        few = dataclasses.replace(config.collect, episodes=60)
        store = collect(Path(place), config.env, few, seed=0)
        kinds = (by_recipe, by_hand)
        loops = [kind(build_policy(config, store), store, config) for kind in kinds]
        calls = [warm_up(loop) for loop in loops]
        seconds: list[list[float]] = [[], []]
        for block in range(2 * BLOCKS):
            which = (block + block // 2) % 2
            seconds[which].append(spent(loops[which]))
    ratios = sorted(ours / theirs for ours, theirs in zip(*seconds, strict=True))
    found = {
        "cpu_ratio": ratios[len(ratios) // 2],
        "low": ratios[0],
        "high": ratios[-1],
        "aten_ratio": calls[0] / calls[1],
    }
    rounded = {name: round(value, 3) for name, value in found.items()}
    milliseconds = [round(1000 * min(part) / UPDATES, 1) for part in seconds]
    print(json.dumps({**rounded, "blocks": BLOCKS, "aten": calls, "ms": milliseconds}))


def warm_up(loop: Any) -> int:  # noqa: ANN401
    """Run a few updates and return the aten calls of one more."""
    for _ in range(3):
        next(loop)
    with Count() as count:
        next(loop)
    return count.calls


def spent(loop: Any) -> float:  # noqa: ANN401
    """Return the CPU time of a block of updates [s]."""
    start = time.process_time()
    for _ in range(UPDATES):
        next(loop)
    return time.process_time() - start


if __name__ == "__main__":
    main()
