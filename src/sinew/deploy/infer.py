"""The engine that acts with an exported policy: numpy, tokenizers and onnxruntime, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import SpecError
from sinew.core.history import ChunkQueue, History, next_actions
from sinew.core.observed import check_observation
from sinew.core.spoken import spoken
from sinew.core.types import NumpyObservation, RobotSpec, Rows
from sinew.deploy.artefact import TOKENIZER, open_artefact
from sinew.deploy.runners import open_runner

KNOWN_SENTENCES = 1024


class VLAInferenceEngine:
    """A policy from an artefact; acts as the ``VLAPolicy`` that was exported.

    Every byte of the artefact is verified when it is opened. The engine can be sent to another
    process: there it opens the artefact again, with an empty memory.

    Args:
        path: the artefact's directory.
        threads: that one prediction may use, 0 means all cores; one is steady beside other work.
        seed: of the noise that a denoising policy starts from.
        device: auto, cpu or cuda.

    Raises:
        CheckpointError: there is no artefact, or it is broken.
        ConfigError: there is no such device.
        DependencyError: onnxruntime is not installed.
    """

    def __init__(self, path: Path | str, *, threads: int = 1, seed: int = 0, device: str = "auto") -> None:
        self.path, self.threads, self.first_seed, self.device = Path(path), threads, seed, device
        self.manifest = open_artefact(self.path)
        self._spec = self.manifest.robot
        self.runner = open_runner(self.path, self.manifest, threads=threads, device=device)
        self.word_ids = word_ids(
            self.path / TOKENIZER, self.manifest.max_tokens, self.manifest.template, self.manifest.ending
        )
        size = self._spec.action_size
        self.history = History(self.manifest.history, previous=self.manifest.previous, actions=size)
        self.queue = ChunkQueue(self.manifest.execute)
        self.low, self.high = (np.asarray(bound, np.float32) for bound in (self._spec.low, self._spec.high))
        self.seed(seed)
        self._points: dict[str, NDArray[np.float32]] = {}

    @property
    def spec(self) -> RobotSpec:
        """The robot this policy was made for."""
        return self._spec

    @property
    def draws(self) -> bool:
        """Whether predictions start from noise."""
        return self.runner.draws

    def seed(self, number: int) -> None:
        """Start the noise anew."""
        self.random = np.random.default_rng(number)

    def reset(self, rows: Rows = None) -> None:
        """Forget the history and the rest of the chunk of these rows."""
        self.history.reset(rows)
        self.queue.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, A) for this tick; predicts where the last chunk is used up.

        Raises:
            SpecError: the observation is not one of this robot.
            DataError: its state is not finite.
        """
        check_observation(self._spec, obs)
        return next_actions(obs, rows, self.history, self.queue, self.predict_action_chunk)

    def predict_action_chunk(
        self, obs: NumpyObservation, noise: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return chunks (B, H, A) in physical units, within the bounds of the spec.

        Args:
            obs: B observations with full history.
            noise: (B, H, A) standard normal that a denoising policy starts from; None draws it here.

        Raises:
            SpecError: the observation is not one of this robot, or the noise has another shape.
            DataError: its state is not finite.
        """
        check_observation(self._spec, obs, ticks=self.manifest.history, previous=self.manifest.previous)
        feeds: dict[str, NDArray[Any]] = {f"images.{name}": obs.images[name] for name in self._spec.cameras}
        feeds["state"] = obs.state.astype(np.float32, copy=False)
        feeds["ids"] = self._ids(obs.instruction)
        if self.manifest.previous and obs.prev_actions is not None:
            feeds["previous"] = obs.prev_actions.astype(np.float32, copy=False)
        found = self.runner(feeds, self._noise(obs.num_rows, noise))
        self._points = {name: found[f"points.{name}"] for name in self.manifest.points}
        return np.clip(found["actions"], self.low, self.high)

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the points of the last prediction, (B, k) by name in physical units; empty where none were taught."""
        return self._points

    def __reduce__(self) -> tuple[Callable[..., VLAInferenceEngine], tuple[Any, ...]]:
        return _open, (self.path.absolute(), self.threads, self.first_seed, self.device)

    def _ids(self, sentences: tuple[str, ...]) -> NDArray[np.int64]:
        rows = [self.word_ids(sentence) for sentence in sentences]
        ids = np.full((len(rows), max(1, *map(len, rows))), self.manifest.padding, dtype=np.int64)
        for row, known in zip(ids, rows, strict=True):
            row[: len(known)] = known
        return ids

    def _noise(self, rows: int, noise: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        if not self.draws:
            return None
        shape = self.manifest.noise(rows)
        if noise is None:
            return self.random.standard_normal(shape, dtype=np.float32)
        if noise.shape != shape:
            raise SpecError(f"noise of shape {noise.shape} came, {shape} (rows, horizon, actions) was wanted.")
        return noise.astype(np.float32, copy=False)


def word_ids(path: Path, max_tokens: int, template: str = "", ending: str = "") -> Callable[[str], list[int]]:
    """Return a function from a sentence, said as it shall be, to the ids of its words by the tokenizer in that file."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))

    @lru_cache(maxsize=KNOWN_SENTENCES)
    def ids(sentence: str) -> list[int]:
        return tokenizer.encode(spoken(sentence, template, ending)).ids[:max_tokens]

    return ids


def _open(path: Path, threads: int, seed: int, device: str) -> VLAInferenceEngine:
    return VLAInferenceEngine(path, threads=threads, seed=seed, device=device)
