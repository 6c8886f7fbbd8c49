"""Combinations of vision, language, projector, fusion and head: which fit, and a few that hold every pair that fits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sinew.core.types import Batch, NumpyObservation
from sinew.models.config import FUSIONS, HEADS, LANGUAGE, PREVIOUS, PROJECTORS, VISION, GroundingConfig, PolicyConfig
from sinew.models.encoder_config import CAUSAL, ENCODERS, TEXT_ENCODERS, ResnetSizes, TextSizes, VitSizes
from sinew.models.policy import VLAPolicy
from sinew.models.text_encoders import tokenizer_of
from sinew.models.visuomotor_config import VISUOMOTOR
from toy import ToyConfig
from toy_policy import SIZE, look, spread

NONE = "none"
PARTS: Mapping[str, tuple[str, ...]] = {
    "vision": tuple(VISION),
    "head": tuple(HEADS),
    "fusion": (NONE, *FUSIONS),
    "projector": (NONE, *PROJECTORS),
    "language": tuple(LANGUAGE),
    "previous": (NONE, *PREVIOUS),
}
"""Names of every part, by the setting of ``PolicyConfig`` that holds it."""
KINDS: Mapping[str, Mapping[str, type[Any]]] = {
    "vision": VISION, "head": HEADS, "fusion": FUSIONS, "projector": PROJECTORS, "language": LANGUAGE,
    "previous": PREVIOUS,
}  # fmt: skip
UNFIT = {
    frozenset({("fusion", NONE), ("projector", "perceiver")}): "perceiver projector leaves latents",
    **{
        frozenset({("fusion", kind), ("vision", vision)}): "looks through a residual network"
        for kind in VISUOMOTOR
        for vision in VISION
        if vision != "resnet"
    },
    **{
        frozenset({("fusion", kind), ("projector", projector)}): "projects by itself"
        for kind in VISUOMOTOR
        for projector in PROJECTORS
    },
    **{
        frozenset({("fusion", "lm"), ("language", name)}): "needs a causal language model"
        for name in LANGUAGE
        if name not in CAUSAL
    },
    **{frozenset({("fusion", "prefix"), ("projector", name)}): "projects by itself" for name in PROJECTORS},
    **{
        frozenset({("fusion", "prefix"), (part, name)}): "read by a causal language model and looks through an encoder"
        for part, known in (("language", (LANGUAGE, CAUSAL)), ("vision", (VISION, ENCODERS)))
        for name in known[0]
        if name not in known[1]
    },
}
"""Pairs that are refused, and what is said."""
TINY: Mapping[str, Any] = {
    "channels": (4, 6, 6), "patch": 4, "width": 16, "layers": 1, "heads": 2, "max_tokens": 8, "hidden": (16,),
    "keypoints": 3, "image": 8, "steps": 2, "readouts": 2, "tokens": 2, "latents": 3, "ticks": 3,
}  # fmt: skip
RANDOM = {
    "resnet": ResnetSizes(image=16, stem=8, widths=(8, 16)),
    **dict.fromkeys(TEXT_ENCODERS, TextSizes(width=16, layers=1, heads=2, kv_heads=1, positions=16)),
}
Combination = Mapping[str, str]


def config_of(combination: Combination) -> PolicyConfig:
    """Return a tiny policy of these parts, with a point to find."""
    parts = {part: None if name == NONE else tiny(KINDS[part][name]) for part, name in combination.items()}
    point = GroundingConfig(points=() if combination["fusion"] in {*VISUOMOTOR, "prefix"} else (("goal", 1),))
    return PolicyConfig(**cast("Any", parts), grounding=point, width=16, horizon=4, history=2, execute=2)


def tiny(kind: type[Any]) -> Any:  # noqa: ANN401  (any config dataclass)
    """Return a config in its smallest sizes."""
    default = kind()
    changes = {
        item.name: TINY[item.name]
        for item in dataclasses.fields(kind)
        if item.name in TINY and type(TINY[item.name]) is type(getattr(default, item.name))
    }
    if hasattr(default, "random"):
        changes["random"] = RANDOM.get(default.kind, VitSizes(image=8, patch=4, width=16, layers=1, heads=2))
    return dataclasses.replace(default, **changes)


def policy_of(combination: Combination) -> VLAPolicy:
    """Return a seeded policy of these parts with statistics."""
    return built(config_of(combination))


def built(config: PolicyConfig) -> VLAPolicy:
    """Return a seeded policy of these settings for the line world, with statistics."""
    torch.manual_seed(0)
    policy = VLAPolicy(config, ToyConfig(size=SIZE).spec, tokenizer_of(config.language, ["go left", "go right"]))
    policy.fit_normalizer({"state": spread(2, 0.1), "action": spread(2, 0.05), "targets.goal": spread(1, 0.2)})
    return policy


def seen(ticks: int = 2, previous: int = 0) -> NumpyObservation:
    """Return observations of four rows, two of which have just begun."""
    now = look(4)
    images = {name: np.repeat(image, ticks, axis=1) for name, image in now.images.items()}
    before = np.random.default_rng(3).normal(size=(4, previous, 2)).astype(np.float32) if previous else None
    if before is not None:
        before[:2, : previous - 1] = np.nan
    state = np.repeat(now.state, ticks, axis=1)
    return dataclasses.replace(now, images=images, state=state, prev_actions=before)


def lesson(ticks: int = 2, horizon: int = 4, previous: int = 0) -> Batch[Tensor]:
    """Return a batch of four rows to learn from, with the ends of chunks padded."""
    random = torch.Generator().manual_seed(1)
    actions = 0.2 * torch.rand(4, horizon, 2, generator=random) - 0.1
    actions[..., 1] = actions[..., 1].sign().clamp(min=0)
    is_pad = torch.zeros(4, horizon, dtype=torch.bool)
    is_pad[:2, 3:] = True
    goal = torch.randn(4, 1, generator=random)
    return Batch(seen(ticks, previous).map(torch.as_tensor), actions, is_pad, torch.ones(4), {"goal": goal})


def check(policy: VLAPolicy, directory: Path) -> None:
    """Take a step, act, save, load, act the same, and run without weights; an AssertionError says what failed."""
    trained = {name: value for name, value in policy.named_parameters() if value.requires_grad}
    optimiser = torch.optim.SGD(trained.values(), lr=1e-3)
    horizon = policy.config.horizon
    losses = policy.train().losses(lesson_of(policy))
    assert all(loss.shape == (4,) and bool(loss.isfinite().all()) for loss in losses.values()), losses
    torch.stack(list(losses.values())).sum().backward()
    idle = [name for name, value in trained.items() if value.grad is None]
    assert idle == [], f"no gradient reaches {idle}"
    optimiser.step()
    noise = np.random.default_rng(0).normal(size=(4, horizon, 2)).astype(np.float32)
    chunk = _act(policy, noise)
    assert chunk.shape == (4, horizon, 2)
    assert np.isfinite(chunk).all()
    policy.save_pretrained(directory)
    again = VLAPolicy.from_pretrained(directory)
    assert again.config == policy.config
    assert np.array_equal(_act(again, noise), chunk), "saved and loaded it acts otherwise"
    _on_meta(again)


def lesson_of(policy: VLAPolicy) -> Batch[Tensor]:
    """Return a batch of what this policy sees and predicts."""
    shape = policy.config
    return lesson(shape.history, shape.horizon, shape.num_previous)


def _act(policy: VLAPolicy, noise: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    torch.manual_seed(2)
    return policy.predict_action_chunk(seen(policy.config.history, policy.config.num_previous), noise)


def _on_meta(policy: VLAPolicy) -> None:
    bare = policy.to("meta")
    batch = lesson_of(policy).map(lambda array: array.to("meta"))
    assert bare.losses(batch)["action"].shape == (4,)


def fits(combination: Combination) -> bool:
    """Return whether none of its pairs is unfit."""
    return not any(pair <= set(combination.items()) for pair in UNFIT)


def everything(parts: Sequence[str] = ("vision", "projector", "fusion", "head")) -> Iterator[Combination]:
    """Yield every combination of these parts that fits; the others take turns."""
    others = [part for part in PARTS if part not in parts]
    for number, names in enumerate(itertools.product(*(PARTS[part] for part in parts))):
        chosen = dict(zip(parts, names, strict=True))
        for part in others if fits(chosen) else ():
            options = [name for name in PARTS[part] if fits({**chosen, part: name})]
            chosen[part] = options[number % len(options)]
        if fits(chosen):
            yield chosen


def pairwise() -> list[Combination]:
    """Return a few combinations that together hold every pair of two parts that fits; the same ones every time.

    Greedy, as AETG does it (Cohen 1997): the first pair that is still missing, then part by part the name that
    brings the most missing pairs.
    """
    missing = [
        ((one, name), (two, other))
        for one, two in itertools.combinations(PARTS, 2)
        for name in PARTS[one]
        for other in PARTS[two]
        if fits({one: name, two: other})
    ]
    wanted, cover = dict.fromkeys(missing), list[Combination]()
    while wanted:
        chosen = dict(next(iter(wanted)))
        for part in PARTS:
            if part not in chosen:
                options = [name for name in PARTS[part] if fits({**chosen, part: name})]
                chosen[part] = max(options, key=lambda name: len(_new(chosen, part, name, wanted)))
        cover.append({part: chosen[part] for part in PARTS})
        for pair in itertools.combinations(cover[-1].items(), 2):
            wanted.pop(pair, None)
    return cover


def _new(chosen: Combination, part: str, name: str, wanted: Mapping[Any, None]) -> list[Any]:
    order = list(PARTS)
    pairs = [sorted([(part, name), item], key=lambda pair: order.index(pair[0])) for item in chosen.items()]
    return [pair for pair in map(tuple, pairs) if pair in wanted]
