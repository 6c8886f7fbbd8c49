"""The vision-language-action policy: network, action head, normaliser and words in one module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinew.core import config as configs
from sinew.core.errors import CheckpointError, ConfigError, SpecError
from sinew.core.files import read_json, write_json, write_text
from sinew.core.history import ChunkQueue, History, next_actions
from sinew.core.types import Batch, Features, NumpyObservation, Observation, RobotSpec, Rows
from sinew.models.action_frame import ActionFrame
from sinew.models.aim import Aim
from sinew.models.config import BLUEPRINTS, HEADS, PolicyConfig
from sinew.models.faces import ChunkHead, RangedHead
from sinew.models.from_vlm import VlmOptions, config_from_vlm
from sinew.models.fused import build_network
from sinew.models.grounding import Projection, cells_missed
from sinew.models.lora import add_lora, merged
from sinew.models.network import blueprints_of
from sinew.models.normalizer import Normalizer
from sinew.models.text_encoders import ids_for, tokenizer_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.core.types import ActionHead, Statistics, StochasticHead
    from sinew.models.encoder_config import LoraConfig
    from sinew.models.network import Scene

SCHEMA = 1
FEATURES = "features"
"""Key of ``Observation.context`` under which a condensed observation carries the tokens for the head."""
MASK = "features_mask"
"""Key under which it carries which of them count, where not all do."""


class VLAPolicy(nn.Module):
    """Sees images and state, reads an instruction, acts in chunks. Physical units outside.

    Args:
        config: its parts.
        spec: the robot it is made for.
        tokenizer: knows the words of the instructions; see ``text_encoders.tokenizer_of``.
        blueprints: of pretrained parts that are not to be fetched, see ``network.blueprints_of``.

    Raises:
        ConfigError: parts that do not fit each other.
        CheckpointError: a pretrained part is missing or broken.
    """

    def __init__(
        self,
        config: PolicyConfig,
        spec: RobotSpec,
        tokenizer: Tokenizer,
        blueprints: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self._spec = spec
        self.tokenizer = tokenizer
        self.word_ids = ids_for(config.language, tokenizer)
        self.network = build_network(config, spec, tokenizer.get_vocab_size(), blueprints)
        self.head = config.head.build(self.network.width, config.horizon, spec, self.network.layout)
        if config.lora is not None:
            self.adapt(config.lora)
        targets = {f"targets_{name}": size for name, size in config.grounding.points}
        self.normalizer = Normalizer({"state": spec.state_size, "action": spec.action_size, **targets})
        calibrated = [camera.intrinsics is not None and camera.pose is not None for camera in spec.cameras.values()]
        cameras = zip(spec.cameras.values(), calibrated, strict=True)
        self.projections = nn.ModuleList([Projection(camera) if known else nn.Identity() for camera, known in cameras])
        aimed = config.grounding.states or () if config.grounding.feed and config.state else ()
        self.aims = nn.ModuleDict({name: Aim(spec.state_size, config.width) for name in aimed})
        self.frame = ActionFrame(spec, config)
        self.history = History(config.history)
        self.queue = ChunkQueue(config.execute)
        self._points: dict[str, NDArray[np.float32]] = {}

    @property
    def spec(self) -> RobotSpec:
        """The robot this policy was made for."""
        return self._spec

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def fit_normalizer(self, statistics: Mapping[str, Statistics]) -> None:
        """Take the statistics of the training data: "state", "action" as it is predicted and "targets.<name>".

        Raises:
            DataError: one is missing or does not fit the spec.
        """
        renamed = {name.replace(".", "_"): value for name, value in statistics.items()}
        self.normalizer.fit(renamed, fixed={"action": self._spec.binary_mask})
        if isinstance(self.head, RangedHead):
            ends = (
                torch.from_numpy(end.copy()).to(self.device)
                for end in (statistics["action"].low, statistics["action"].high)
            )
            self.head.fit_range(*(self.normalizer.to_unit("action", end) for end in ends))

    @property
    def head_learns_chunks(self) -> bool:
        """Whether ``fit_head`` does anything: whether the head makes tokens of whole chunks."""
        return isinstance(self.head, ChunkHead)

    def fit_head(self, chunks: NDArray[np.float32]) -> None:
        """Let a head that makes tokens of chunks learn them; call it after ``fit_normalizer``.

        Args:
            chunks: (count, H, A) of the training data, physical units.
        """
        if isinstance(self.head, ChunkHead):
            self.head.fit_chunks(self.normalizer.to_unit("action", torch.from_numpy(chunks).to(self.device)))

    def adapt(self, config: LoraConfig) -> None:
        """Put low-rank adapters beside the weights of encoders, which stay as they are from now on."""
        for part in config.parts:
            add_lora(self.network.get_submodule(part), config, part)

    # ------------------------------------------------------------------------------------ training

    def losses(self, batch: Batch[Tensor]) -> Mapping[str, Tensor]:
        """Return "action" and, with grounding, "grounding", each (B,)."""
        scene = self.encode(batch.obs)
        state = self.normalizer.to_unit("state", batch.obs.state)
        actions = self.normalizer.to_unit("action", self.frame.predicted(batch.actions, batch.obs.state))
        unit = dataclasses.replace(batch, obs=dataclasses.replace(batch.obs, state=state), actions=actions)
        losses = {"action": self._head.loss(scene.features, unit)}
        weight = self.config.grounding.weight
        if scene.points and weight:
            losses["grounding"] = weight * self._grounding_loss(scene, batch.targets)
        return losses

    def encode(self, obs: Observation[Tensor]) -> Scene:
        """Return features and points for B observations with full history; simulator truth is not looked at."""
        ids = self.word_ids(obs.instruction).to(obs.state.device, non_blocking=True)
        return self.see(obs.images, ids, obs.state)

    def see(self, images: Mapping[str, Tensor], ids: Tensor, state: Tensor) -> Scene:
        """Return the same of images (B, T, 3, h, w) by camera, words (B, N) and state (B, T, S) in physical units."""
        scene = self.network(images, ids, self.normalizer.to_unit("state", state))
        if not self.aims:
            return scene
        tokens = scene.features.tokens
        for name, aim in self.aims.items():
            there = self.normalizer.to_physical(f"targets_{name}", scene.points[name])
            gap = (there - state[:, -1]) / self.normalizer.get_buffer("state_std")
            tokens = tokens + aim(gap)[:, None]
        return dataclasses.replace(scene, features=dataclasses.replace(scene.features, tokens=tokens))

    # ---------------------------------------------------------------------- reinforcement learning

    def rollout(self, obs: Observation[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) in physical units, within the bounds of the spec, and the trace that scores them.

        Raises:
            ConfigError: the head has nothing to draw.
        """
        chunk, trace = self._stochastic_head.rollout(self._features(obs))
        low, high = (chunk.new_tensor(bound) for bound in (self._spec.low, self._spec.high))
        return self.frame.taken(self.normalizer.to_physical("action", chunk), obs.state).clamp(low, high), trace

    def log_prob(self, obs: Observation[Tensor], trace: Mapping[str, Tensor]) -> Tensor:
        """Return log-probabilities (B, L) of a traced draw, at unit scale and before it met the bounds."""
        return self._stochastic_head.log_prob(self._features(obs), trace)

    def executed(self, execute: int, alive: Tensor) -> Tensor:
        """Return which of the L units were executed, (B, L) bool; see ``StochasticHead.mask``."""
        return self._stochastic_head.mask(execute, alive)

    def condense(self, obs: Observation[Tensor]) -> Observation[Tensor]:
        """Return the same observations with what the network makes of them in place of images.

        ``rollout`` and ``log_prob`` take them as they take the full ones, at the cost of the head alone. A head that
        goes on with the language model needs it each time, so then the observations stay as they are.
        """
        features = self._features(obs)
        if features.decode is not None and getattr(self.config.head, "decoder", "own") == "lm":
            return obs.public()
        kept = {FEATURES: features.tokens}
        if features.mask is not None:
            kept[MASK] = features.mask
        for number, (key, value) in enumerate(features.cache or ()):
            kept |= {f"{FEATURES}.key.{number}": key, f"{FEATURES}.value.{number}": value}
        return dataclasses.replace(obs.public(), images={}, sensors={}, context=kept)

    def _features(self, obs: Observation[Tensor]) -> Features:
        known = obs.context.get(FEATURES)
        if known is None:
            return self.encode(obs).features
        layers = sum(name.startswith(f"{FEATURES}.key.") for name in obs.context)
        pairs = tuple((obs.context[f"{FEATURES}.key.{n}"], obs.context[f"{FEATURES}.value.{n}"]) for n in range(layers))
        return Features(known, obs.context.get(MASK), cache=pairs or None)

    @property
    def _stochastic_head(self) -> StochasticHead:
        if not self.config.head.stochastic:
            able = ", ".join(name for name, kind in HEADS.items() if kind.stochastic)
            raise ConfigError(f"the {self.config.head.kind} head draws nothing that could be scored; these do: {able}.")
        return cast("StochasticHead", self.head)

    def _grounding_loss(self, scene: Scene, targets: Mapping[str, Tensor]) -> Tensor:
        """Return (B,), the sum over the points of what their labels teach; a row without labels adds nothing."""
        grounding = self.config.grounding
        states = grounding.states or ()
        spatial = scene.points if grounding.coordinates is None else grounding.coordinates
        missing = [name for name in (*spatial, *states) if name not in targets]
        if missing:
            raise SpecError(
                f"the data has no labels {missing}, only {sorted(targets)}. "
                "Train with --policy.grounding.weight 0, or record them."
            )
        terms: list[Tensor] = []
        for number, name in enumerate(scene.points):
            if name in states or name in spatial:
                cameras = [] if name in states else list(self.projections)
                terms.append(self._space_loss(name, scene, targets[name], scene.logits[:, :, number], cameras))
            if f"image.{name}" in targets:
                terms.append(self._image_loss(targets[f"image.{name}"], scene.logits[:, :, number]))
        return torch.stack(terms).sum(dim=0) if terms else scene.logits.new_zeros(len(scene.logits))

    def _space_loss(self, name: str, scene: Scene, target: Tensor, logits: Tensor, cameras: list[nn.Module]) -> Tensor:
        """Return (B,): L1 on the coordinates and, where a camera is calibrated, cross-entropy on the image cells."""
        known = target.isfinite().all(dim=-1)
        label = torch.where(known[:, None], target, torch.zeros_like(target))
        error = (scene.points[name] - self.normalizer.to_unit(f"targets_{name}", label)).abs().mean(dim=-1)
        for view, camera in enumerate(cameras):
            if isinstance(camera, Projection):
                error = error + self.config.grounding.image * cells_missed(logits[:, view], camera(label))
        return torch.where(known, error, torch.zeros_like(error))

    def _image_loss(self, target: Tensor, logits: Tensor) -> Tensor:
        """Return (B,): cross-entropy on the image cells; places (B, 2 cameras) in 0 .. 1, NaN where not known.

        Few frames are labelled, so rows that are weigh as much as if all were.
        """
        total = logits.new_zeros(len(logits))
        for view, place in enumerate(target.unflatten(-1, (-1, 2)).unbind(dim=1)):
            known = place.isfinite().all(dim=-1)
            label = torch.where(known[:, None], place, torch.zeros_like(place))
            surprise = cells_missed(logits[:, view], label)
            share = known.to(surprise.dtype).mean().clamp(min=1 / len(known))
            total = total + torch.where(known, surprise, torch.zeros_like(surprise)) / share
        return self.config.grounding.image * total

    # -------------------------------------------------------------------------------------- acting

    def reset(self, rows: Rows = None) -> None:
        """Forget the history and the rest of the chunk of these rows."""
        self.history.reset(rows)
        self.queue.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, A) for this tick; predicts where the last chunk is used up."""
        return next_actions(obs, rows, self.history, self.queue, self.predict_action_chunk)

    @torch.no_grad()
    def predict_action_chunk(
        self, obs: NumpyObservation, noise: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return chunks (B, H, A) in physical units, within the bounds of the spec.

        Args:
            obs: B observations with full history.
            noise: (B, H, A) standard normal that the head starts from; None lets the head draw what it needs.
        """
        training = self.training
        self.eval()
        device = self.device
        seen = obs.public().map(lambda array: torch.as_tensor(array).to(device))
        scene = self.encode(seen)
        start = None if noise is None else torch.as_tensor(noise).to(device)
        predicted = self.normalizer.to_physical("action", self._head.sample(scene.features, start))
        chunk = self.frame.taken(predicted, seen.state).cpu().numpy()
        self._points = {
            name: self.normalizer.to_physical(f"targets_{name}", value).cpu().numpy()
            for name, value in scene.points.items()
        }
        self.train(training)
        return np.clip(chunk, np.asarray(self._spec.low, np.float32), np.asarray(self._spec.high, np.float32))

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the points of the last prediction, (B, k) by name in physical units; those taught as such."""
        grounding = self.config.grounding
        taught = self._points if grounding.coordinates is None else grounding.coordinates
        return {name: self._points[name] for name in taught if name in self._points} if grounding.weight else {}

    @property
    def _head(self) -> ActionHead:
        return cast("ActionHead", self.head)

    # ----------------------------------------------------------------------------------- keeping

    def save_pretrained(self, directory: Path) -> None:
        """Write config.json, spec.json, tokenizer.json and the weights into an existing directory.

        With pretrained parts there is a blueprints.json as well, so that nothing needs to be fetched again. Adapters
        are merged into the weights beside which they stand.
        """
        from safetensors.torch import save_file

        whole = dataclasses.replace(self.config, lora=None)
        content = {"schema_version": SCHEMA, "policy": configs.to_dict(whole)}
        write_json(directory / "config.json", content)
        write_json(directory / "spec.json", configs.to_dict(self._spec))
        write_text(directory / "tokenizer.json", self.tokenizer.to_str(pretty=False))
        blueprints = blueprints_of(self.network)
        if blueprints:
            write_json(directory / BLUEPRINTS, blueprints)
        weights, norms = split_normalizer(merged(self))
        save_file(weights, directory / "model.safetensors")
        save_file(norms, directory / "normalizer.safetensors")

    @classmethod
    def from_pretrained(
        cls, directory: Path | str, device: str = "cpu", *, config: PolicyConfig | None = None
    ) -> VLAPolicy:
        """Read what ``save_pretrained`` wrote.

        Args:
            directory: that was written.
            device: where the weights go.
            config: in place of the one there, with the same weights: how many actions are executed, how they are drawn.

        Raises:
            CheckpointError: a file is missing or does not fit.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        place = Path(directory)
        wanted = ["config.json", "spec.json", "tokenizer.json", "model.safetensors", "normalizer.safetensors"]
        missing = [name for name in wanted if not (place / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{place}: not a policy directory, {', '.join(missing)} missing. Name a folder that holds them."
            )
        content = read_json(place / "config.json")
        if content.get("schema_version") != SCHEMA:
            raise CheckpointError(
                f"{place}/config.json: schema {content.get('schema_version')}, this sinew reads {SCHEMA}."
            )
        config = config or configs.from_dict(PolicyConfig, content["policy"], str(place / "config.json"))
        spec = configs.load(RobotSpec, place / "spec.json")
        blueprints = read_json(place / BLUEPRINTS) if (place / BLUEPRINTS).is_file() else None
        whole = dataclasses.replace(config, lora=None)  # adapters were merged
        policy = cls(whole, spec, Tokenizer.from_file(str(place / "tokenizer.json")), blueprints)
        try:
            weights: dict[str, Any] = load_file(place / "model.safetensors") | load_file(
                place / "normalizer.safetensors"
            )
            policy.load_state_dict(weights)
        except (SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{place}: the weights do not fit ({error}). Use the files of one checkpoint."
            ) from error
        if config.lora is not None:
            policy.adapt(config.lora)
            policy.config = config
        return policy.to(device).eval()

    @classmethod
    def from_pretrained_vlm(cls, vlm_path: str, spec: RobotSpec, **options: Unpack[VlmOptions]) -> VLAPolicy:
        """Return a policy whose encoders, projector and language model are those of a vision-language model.

        It has no statistics yet, see ``fit_normalizer``; the action head is new.

        Args:
            vlm_path: directory or hub id in Llava's layout; empty where its two models are named by themselves.
            spec: of the robot.
            options: see ``VlmOptions``; by default both models stay as they are.

        Raises:
            ConfigError: an option or a name that does not exist.
            CheckpointError: there is no such model, or of a kind that does not fit.
            SpecError: ``action_dim`` is not the robot's.
        """
        config = config_from_vlm(vlm_path, spec, options)
        return cls(config, spec, tokenizer_of(config.language, ()))


def split_normalizer(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights without and with the prefix "normalizer."."""
    norms = {name: value.contiguous() for name, value in weights.items() if name.startswith("normalizer.")}
    return {name: value.contiguous() for name, value in weights.items() if name not in norms}, norms
