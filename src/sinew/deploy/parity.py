"""Holds an exported policy against the torch policy that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, PointingPolicy
from sinew.deploy.artefact import Manifest

BATCHES = (1, 3, 8)


class NoisyChunks(Protocol):
    """Predicts chunks from noise that can be given."""

    def predict_action_chunk(
        self, obs: NumpyObservation, noise: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return chunks (B, H, A), physical units."""
        ...


class NoisyPolicy(NoisyChunks, PointingPolicy, Protocol):
    """A policy whose noise can be given: ``VLAPolicy`` and ``VLAInferenceEngine``."""


@dataclass(frozen=True)
class Parity:
    """How far two policies are apart on the same observations, with the same noise.

    Attributes:
        rows: B.
        errors: largest difference over largest value, both in standard deviations of the data; of "actions" and
            of every point by name.
    """

    rows: int
    errors: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest of the errors."""
        return max(self.errors.values())


def compare_policies(
    reference: NoisyPolicy,
    other: NoisyPolicy,
    manifest: Manifest,
    words: Sequence[str],
    *,
    batches: Sequence[int] = BATCHES,
    seed: int = 0,
) -> tuple[Parity, ...]:
    """Let two policies predict from random observations, with as many rows as each of ``batches``.

    Args:
        reference: the policy as trained.
        other: as exported.
        manifest: of the artefact.
        words: to make sentences of.
        batches: numbers of rows.
        seed: of observations and noise.
    """
    random = np.random.default_rng(seed)
    found: list[Parity] = []
    for rows in batches:
        obs = random_observation(manifest, words, rows, random)
        noise = random.standard_normal(manifest.noise(rows), dtype=np.float32) if manifest.runner == "denoise" else None
        ours, theirs = _predict(reference, obs, noise), _predict(other, obs, noise)
        found.append(Parity(rows, {name: _error(manifest, name, ours[name], theirs[name]) for name in ours}))
    return tuple(found)


def random_observation(
    manifest: Manifest, words: Sequence[str], rows: int, random: np.random.Generator
) -> NumpyObservation:
    """Return observations (T = history) with noise for images, states spread as in the data, and random sentences."""
    robot, scale = manifest.robot, manifest.normalizer["state"]
    views = {name: (rows, manifest.history, 3, view.height, view.width) for name, view in robot.cameras.items()}
    spread = random.standard_normal((rows, manifest.history, robot.state_size))
    lengths = random.integers(0, min(8, manifest.max_tokens) + 1, rows)
    before = random_actions(manifest, rows, random) if manifest.previous else None
    return NumpyObservation(
        images={name: random.integers(0, 256, view, dtype=np.uint8) for name, view in views.items()},
        state=(np.asarray(scale.mean) + np.asarray(scale.std) * spread).astype(np.float32),
        instruction=tuple(" ".join(random.choice(list(words), length)) for length in lengths),
        prev_actions=before,
    )


def random_actions(manifest: Manifest, rows: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return executed actions (B, P, A) spread as in the data, NaN where an episode, at another tick a row, began."""
    scale, size = manifest.normalizer["action"], (rows, manifest.previous, manifest.robot.action_size)
    actions = np.asarray(scale.mean) + np.asarray(scale.std) * random.standard_normal(size)
    began = random.integers(0, manifest.previous + 1, (rows, 1))
    actions[np.arange(manifest.previous) < began] = np.nan
    return actions.astype(np.float32)


def _predict(
    policy: NoisyPolicy, obs: NumpyObservation, noise: NDArray[np.float32] | None
) -> dict[str, NDArray[np.float32]]:
    chunk = policy.predict_action_chunk(obs, noise)
    return {"actions": chunk, **{f"points.{name}": value for name, value in policy.points().items()}}


def _error(manifest: Manifest, name: str, ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    scale = manifest.normalizer["action" if name == "actions" else name.replace("points.", "targets_")]
    mean, std = np.asarray(scale.mean), np.asarray(scale.std)
    return float(np.abs((theirs - ours) / std).max() / np.abs((ours - mean) / std).max())
