"""Builds the parts of a run from its configuration."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sinew.core.config import digest, to_dict
from sinew.core.errors import ConfigError
from sinew.core.rundir import RunDir
from sinew.data.chunks import MOST, training_chunks
from sinew.data.config import AugmentConfig
from sinew.data.phrases import spoken
from sinew.data.stats import chunk_statistics, statistics
from sinew.data.store import Store
from sinew.data.windows import Windows
from sinew.engine.distributed import in_turn
from sinew.models.device import pick_device
from sinew.models.policy import VLAPolicy
from sinew.models.text_encoders import tokenizer_of
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import BcConfig, DaggerConfig, GrpoConfig
from sinew.recipes.dagger import Dagger
from sinew.recipes.expert_rounds import ExpertRounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sinew.core.types import Recipe, RobotSpec, Statistics
    from sinew.models.config import PolicyConfig
    from sinew.run import RunConfig


def run_path(config: RunConfig, root: Path) -> Path:
    """Return a run's directory; settings that change no result do not change it."""
    config = dataclasses.replace(config, workers=0, track=None, optim=dataclasses.replace(config.optim, parallel=None))
    if isinstance(config.recipe, GrpoConfig):  # known by the digest of its files, wherever they lie
        config = dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, start=""))
    plain = _without_none(to_dict(config))
    plain.pop("cost")  # rates of a forecast
    return root / f"{config.name}-{digest(plain)}"


def store_path(config: RunConfig, root: Path) -> Path:
    """Return where the demonstrations of these settings lie; runs that need the same ones share them."""
    collect = dataclasses.replace(config.collect, stills=0)
    return root / "data" / f"{config.name}-{digest(config.world, collect, config.seed)}"


def stills_path(config: RunConfig, root: Path) -> Path:
    """Return where the stills of these settings lie; no seed changes them."""
    return root / "data" / f"{config.name}-stills-{digest(config.world, config.collect.stills)}"


def build_policy(config: RunConfig, demonstrations: Store) -> VLAPolicy:
    """Return a policy with seeded random weights that knows the data's words and statistics.

    Args:
        config: of the run.
        demonstrations: whose training episodes give words and statistics.
    """
    torch.manual_seed(config.seed)
    sentences = {record.instruction for record in demonstrations.records} | words_of(config)
    policy = VLAPolicy(config.policy, demonstrations.spec, tokenizer_of(config.policy.language, sentences))
    policy.fit_normalizer({**statistics([demonstrations]), **action_statistics(config.policy, [demonstrations])})
    fit_head(policy, [demonstrations])
    return policy.to(pick_device(config.device))


def fit_head(policy: VLAPolicy, *stores: Sequence[Store]) -> None:
    """Let a head that makes tokens of chunks learn them from the training episodes; others have nothing to learn.

    Args:
        policy: whose head it is.
        stores: of each body of the policy.
    """
    if policy.head_learns_chunks:
        policy.fit_head(*(_chunks(policy.config, some) for some in stores))


def _chunks(policy: PolicyConfig, stores: Sequence[Store]) -> NDArray[np.float32]:
    """Return chunks (count, H, A) of the training episodes as they are predicted."""
    windows = _as_predicted(policy, stores)
    if windows is None:
        return training_chunks(stores, policy.horizon)
    frames = np.linspace(0, windows.num_frames - 1, min(MOST, windows.num_frames)).round().astype(np.int64)
    return windows.chunks(frames)[0]


def action_statistics(policy: PolicyConfig, stores: Sequence[Store]) -> dict[str, Statistics]:
    """Return those of the actions as the policy predicts them, nothing where that is as they are recorded."""
    windows = _as_predicted(policy, stores)
    return {} if windows is None else {"action": chunk_statistics(windows)}


def _as_predicted(policy: PolicyConfig, stores: Sequence[Store]) -> Windows | None:
    """Return windows with the actions that a policy predicts, None where these are the recorded ones."""
    kind = policy.actions
    if kind is None or kind == stores[0].spec.kind:
        return None
    return Windows(stores, history=1, horizon=policy.horizon, kind=kind, measured_from=policy.measured_from)


def build_recipe(
    config: RunConfig,
    policy: VLAPolicy,
    data: Sequence[Store],
    rundir: RunDir,
    *,
    pool: Executor | None,
    note: Callable[[str], None],
) -> Recipe[Any]:
    """Return the recipe of a run, ready for the trainer.

    Args:
        config: of the run.
        policy: what learns.
        data: what it learns from, demonstrations first.
        rundir: where a recipe keeps what it gathers itself.
        pool: processes that act; None means here.
        note: told what happens.
    """
    recipe = config.recipe
    assert not isinstance(recipe, GrpoConfig)  # see run/improving.py
    inner = recipe.inner if isinstance(recipe, DaggerConfig) else recipe
    demonstrations, stores = data[0], list(data)
    if isinstance(recipe, DaggerConfig):
        names = tuple(demonstrations.target_sizes)
        stores.append(in_turn(lambda: Store.open_or_create(rundir.data / "dagger", demonstrations.spec, names)))
    check_labels(inner.augment, policy.config, demonstrations.spec)
    shape = config.policy
    windows = Windows(stores, history=shape.history, horizon=shape.horizon).remembering(shape.num_previous)
    cloning = BehaviourCloning(
        policy,
        windows,
        inner,
        config.optim,
        updates=config.loop.updates,
        seed=config.seed,
        device=pick_device(config.device),
    )
    if not isinstance(recipe, DaggerConfig):
        return cloning
    rounds = [max(1, round(share * config.loop.updates)) for share in recipe.rounds]
    gather = ExpertRounds(config.world, recipe, rundir.data, config.seed, pool=pool, note=note)
    return Dagger(cloning, stores[-1], gather, rounds=rounds)


def augment_of(recipe: BcConfig | DaggerConfig) -> AugmentConfig:
    """Return how the supervised part of a recipe changes its batches."""
    return recipe.inner.augment if isinstance(recipe, DaggerConfig) else recipe.augment


def words_of(config: RunConfig) -> set[str]:
    """Return texts with the words that augmentation may put into instructions, for the tokenizer to know."""
    if isinstance(config.recipe, GrpoConfig):
        return set()
    phrases = augment_of(config.recipe).phrases
    return set() if phrases is None else spoken(phrases)


def check_labels(config: AugmentConfig, policy: PolicyConfig, spec: RobotSpec) -> None:
    """Refuse to move pixels under labels that lie in space: calibrated cameras would look for them elsewhere.

    Raises:
        ConfigError: with what can be done.
    """
    grounding = policy.grounding
    spatial = grounding.points if grounding.coordinates is None else grounding.coordinates
    calibrated = [name for name, camera in spec.cameras.items() if camera.intrinsics is not None]
    moves = [name for name in ("shift", "crop", "flip", "turn") if getattr(config, name)]
    if moves and grounding.weight and spatial and calibrated:
        raise ConfigError(
            f"augment: {', '.join(moves)} move the pixels of {', '.join(calibrated)}, whose calibration says where the "
            "labels in space are to be seen. Leave them out, or learn places in images instead (--data.labels image)."
        )


def _without_none(content: Any) -> Any:  # noqa: ANN401  (any JSON value)
    """Return the content without what is not set, so that a new setting changes no old run."""
    if isinstance(content, list):
        return [_without_none(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {name: _without_none(value) for name, value in content.items() if value is not None}
