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
from torch.utils._python_dispatch import TorchDispatchMode

from sinew.core.types import Cursor
from sinew.data.collect import collect
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.models.policy import VLAPolicy
from sinew.presets import PRESETS
from sinew.recipes.bc import BehaviourCloning
from sinew.run.parts import build_policy

BLOCKS, UPDATES, HORIZON = 9, 12, 4


class Count(TorchDispatchMode):
    """Counts aten calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401, PLW3201
        """Count and go on."""
        self.calls += 1
        return function(*args, **(kwargs or {}))


def by_hand(policy: VLAPolicy, store: Store, config: Any) -> Any:  # noqa: ANN401
    """Yield after every update of a bare loop: arrays, network, losses, AdamW, clipping, averaged weights."""
    images, state = store.column("images.front"), store.column("state")
    action = np.array(store.column("action"))
    points = [np.array(store.column(f"targets.{name}")) for name in ("target", "goal")]
    ends = np.repeat([r.offset + r.frames for r in store.records], [r.frames for r in store.records])
    texts = np.repeat([r.instruction for r in store.records], [r.frames for r in store.records])
    norm = policy.normalizer
    parameters = list(policy.parameters())
    matrices = [p for p in parameters if p.ndim > 1]
    groups = [{"params": matrices}, {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.optim.lr, weight_decay=config.optim.weight_decay, fused=True)
    average = [p.detach().clone() for p in parameters]
    random = np.random.default_rng(0)
    from sinew.models.grounding import heat

    while True:
        at = random.integers(0, len(ends), config.recipe.inner.batch)
        steps = np.minimum(at[:, None] + np.arange(HORIZON), ends[at][:, None] - 1)
        pad = torch.from_numpy(at[:, None] + np.arange(HORIZON) >= ends[at][:, None])
        pixels = torch.from_numpy(images[at])[:, None]
        shade = 1 + 0.15 * (2 * torch.rand(len(at), 1, 1, 1, 1) - 1)
        spread = 1 + 0.15 * (2 * torch.rand(len(at), 1, 1, 1, 1) - 1)
        as_float = pixels.float() * shade
        middle = as_float.mean(dim=(2, 3, 4), keepdim=True)
        pixels = ((as_float - middle) * spread + middle).clamp_(0, 255).to(torch.uint8)
        ids = policy.word_ids([str(text) for text in texts[at]])
        scene = policy.network({"front": pixels}, ids, norm.to_unit("state", torch.from_numpy(state[at])[:, None]))
        wanted = norm.to_unit("action", torch.from_numpy(action[steps]))
        raw = policy.head(scene.features)
        error = (raw - wanted).abs()
        logit = torch.nn.functional.binary_cross_entropy_with_logits(raw, (wanted > 0.5).float(), reduction="none")
        terms = torch.where(policy.head.loss_per_row.binary, 0.3 * logit, error).mean(-1)
        keep = (~pad).float()
        loss = ((terms * keep).sum(-1) / keep.sum(-1)).mean()
        for number, name in enumerate(("target", "goal")):
            label = torch.from_numpy(points[number][at])
            known = label.isfinite().all(-1)
            label = torch.where(known[:, None], label, torch.zeros_like(label))
            off = (scene.points[name] - norm.to_unit(f"targets_{name}", label)).abs().mean(-1)
            cells = heat(policy.projections[0](label), *scene.logits.shape[-2:])
            off = off - 0.1 * (cells * scene.logits[:, 0, number].flatten(1).log_softmax(-1)).sum(-1)
            loss = loss + torch.where(known, off, torch.zeros_like(off)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm_of = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if bool(norm_of.isfinite()):
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
        loops = [
            by_recipe(build_policy(config, store), store, config),
            by_hand(build_policy(config, store), store, config),
        ]
        calls = []
        for loop in loops:
            for _ in range(3):
                next(loop)
            with Count() as count:
                next(loop)
            calls.append(count.calls)
        seconds: list[list[float]] = [[], []]
        for block in range(BLOCKS):
            for which in (0, 1) if block % 2 else (1, 0):
                start = time.process_time()
                for _ in range(UPDATES):
                    next(loops[which])
                seconds[which].append(time.process_time() - start)
    ratios = sorted(ours / theirs for ours, theirs in zip(*seconds, strict=True))
    print(json.dumps({
        "cpu_ratio": round(ratios[len(ratios) // 2], 3), "low": round(ratios[0], 3), "high": round(ratios[-1], 3),
        "blocks": BLOCKS, "aten_ratio": round(calls[0] / calls[1], 3), "aten": calls,
        "ms": [round(1000 * min(part) / UPDATES, 1) for part in seconds],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
