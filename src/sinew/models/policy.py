"""The vision-language-action policy: network, action head, normaliser and words in one module."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinew.core.errors import ConfigError
from sinew.core.history import ChunkQueue, next_actions
from sinew.core.types import Batch, Features, NumpyObservation, Observation, RobotSpec, Rows
from sinew.models.action_frame import ActionFrame
from sinew.models.aim import Aim
from sinew.models.bodies import BODY, Bodies, joint_spec, nobody_acts, seen_by_all
from sinew.models.condensed import condensed, features_in
from sinew.models.config import PolicyConfig
from sinew.models.faces import ChunkHead, RangedHead, stochastic
from sinew.models.from_vlm import VlmOptions, config_from_vlm
from sinew.models.fused import build_network
from sinew.models.grounding import PointingLoss
from sinew.models.lora import add_lora, merged
from sinew.models.network import blueprints_of
from sinew.models.normalizer import Normalizer
from sinew.models.policy_files import Described, read_described, read_weights, write_policy
from sinew.models.temporal import build_previous, memory_of
from sinew.models.text_encoders import ids_for, tokenizer_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.core.types import ActionHead, Statistics, StochasticHead
    from sinew.models.encoder_config import LoraConfig
    from sinew.models.network import Scene


class VLAPolicy(nn.Module):
    """Sees images and state, reads an instruction, acts in chunks. Physical units outside.

    Args:
        config: its parts.
        spec: the robot it is made for, or the several that it learns, see ``bodies``.
        tokenizer: knows the words of the instructions; see ``text_encoders.tokenizer_of``.
        blueprints: of pretrained parts that are not to be fetched, see ``network.blueprints_of``.

    Raises:
        ConfigError: parts that do not fit each other.
        CheckpointError: a pretrained part is missing or broken.
    """

    def __init__(
        self,
        config: PolicyConfig,
        spec: RobotSpec | Sequence[RobotSpec],
        tokenizer: Tokenizer,
        blueprints: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        several = () if isinstance(spec, RobotSpec) else tuple(spec)
        self.layout = spec = spec if isinstance(spec, RobotSpec) else joint_spec(several)
        self.tokenizer = tokenizer
        self.word_ids = ids_for(config.language, tokenizer)
        self.network = build_network(config, spec, tokenizer.get_vocab_size(), blueprints)
        self.bodies = Bodies(several, config, self.network.width) if several else None
        self.acts_as: int | None = None  # which of several bodies acts; none does in training
        self.head = config.head.build(self.network.width, config.horizon, spec, self.network.layout)
        if config.lora is not None:
            self.adapt(config.lora)
        targets = {f"targets_{name}": size for name, size in config.grounding.points}
        own = {} if self.bodies else {"state": spec.state_size, "action": spec.action_size}
        self.normalizer = Normalizer({**own, **targets})
        self.pointing = PointingLoss(config.grounding, spec, partial=bool(several))
        aimed = config.grounding.states or () if config.grounding.feed and config.state else ()
        self.aims = nn.ModuleDict({name: Aim(spec.state_size, config.width) for name in aimed})
        if self.bodies is None:
            self._frame = ActionFrame(spec, config)
        self.before = build_previous(config, spec.action_size, self.network.width)
        self.history = memory_of(config, spec)
        self.queue = ChunkQueue(config.execute)
        self._points: dict[str, NDArray[np.float32]] = {}

    @property
    def spec(self) -> RobotSpec:
        """The robot this policy was made for or acts as; of several bodies none of which acts, all in one."""
        return self.layout if self.bodies is None or self.acts_as is None else self.bodies.specs[self.acts_as]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def fit_normalizer(
        self, statistics: Mapping[str, Statistics], bodies: Sequence[Mapping[str, Statistics]] = ()
    ) -> None:
        """Take the statistics of the training data: "state", "action" as it is predicted and "targets.<name>".

        Args:
            statistics: by name; of several bodies those of targets.
            bodies: those of state and action of each of several bodies.

        Raises:
            DataError: one is missing or does not fit the spec.
        """
        renamed = {name.replace(".", "_"): value for name, value in statistics.items()}
        self.normalizer.fit(renamed, fixed={"action": self.spec.binary_mask})
        if self.bodies is not None:
            low, high = self.bodies.fit(bodies)
        else:
            ends = (statistics["action"].low, statistics["action"].high)
            low, high = (
                self.normalizer.to_unit("action", torch.from_numpy(end.copy()).to(self.device)) for end in ends
            )
        if isinstance(self.head, RangedHead):
            self.head.fit_range(low, high)

    @property
    def head_learns_chunks(self) -> bool:
        """Whether ``fit_head`` does anything: whether the head makes tokens of whole chunks."""
        return isinstance(self.head, ChunkHead)

    def fit_head(self, *chunks: NDArray[np.float32]) -> None:
        """Let a head that makes tokens of chunks learn them; call it after ``fit_normalizer``.

        Args:
            chunks: (count, H, A) of the training data of each body, as they are predicted, physical units.
        """
        if isinstance(self.head, ChunkHead):
            given = [torch.from_numpy(each).to(self.device) for each in chunks]
            units = self.bodies.units(given) if self.bodies else [self.normalizer.to_unit("action", given[0])]
            self.head.fit_chunks(torch.cat(units))

    def adapt(self, config: LoraConfig) -> None:
        """Put low-rank adapters beside the weights of encoders, which stay as they are from now on."""
        for part in config.parts:
            add_lora(self.network.get_submodule(part), config, part)

    # ------------------------------------------------------------------------------------ training

    def losses(self, batch: Batch[Tensor]) -> Mapping[str, Tensor]:
        """Return "action" and, with grounding, "grounding", each (B,)."""
        scene = self.encode(batch.obs)
        unit, factor = self._at_unit_scale(batch)
        missed = self._head.loss(scene.features, unit)
        losses = {"action": missed if factor is None else factor * missed}
        weight = self.config.grounding.weight
        if scene.points and weight:
            losses["grounding"] = weight * self.pointing(scene, unit.targets, self.normalizer)
        return losses

    def encode(self, obs: Observation[Tensor]) -> Scene:
        """Return features and points for B observations with full history; simulator truth is not looked at."""
        ids = self.word_ids(obs.instruction).to(obs.state.device, non_blocking=True)
        return self.see(obs.images, ids, obs.state, obs.prev_actions, obs.context.get(BODY))

    def see(
        self,
        images: Mapping[str, Tensor],
        ids: Tensor,
        state: Tensor,
        previous: Tensor | None = None,
        body: Tensor | None = None,
    ) -> Scene:
        """Return the same of images (B, T, 3, h, w), words (B, N), states (B, T, S) and actions before, (B, P, A).

        Of several bodies, ``body`` (B,) says whose they are; None means the one that acts.
        """
        if self.bodies is not None:
            images = seen_by_all(images, self.layout)
        unit = self.unit_state(state, body)
        scene = self.network(images, ids, unit)
        if self.before is not None:
            if previous is not None and self.bodies is not None and body is not None:
                previous = self.bodies.actions(previous, state, body)
            elif previous is not None:
                previous = self.laid_out(self.own.to_unit("action", self.frame.predicted(previous, state)))
            scene = dataclasses.replace(scene, features=self.before(scene.features, previous))
        tokens = scene.features.tokens
        if self.bodies is not None:
            tokens = tokens + self.bodies.told(body, self.acts_as)
        elif not self.aims:
            return scene
        for name, aim in self.aims.items():
            there = self.normalizer.to_physical(f"targets_{name}", scene.points[name])
            if self.bodies is not None:  # whose states are labels at unit scale
                gap = self.bodies.only_felt(there - unit[:, -1], body, self.acts_as)
            else:
                gap = (there - state[:, -1]) / self.own.get_buffer("state_std")
            tokens = tokens + aim(gap)[:, None]
        return dataclasses.replace(scene, features=dataclasses.replace(scene.features, tokens=tokens))

    # ------------------------------------------------------------------------------- physical units

    def act_as(self, body: str | int) -> VLAPolicy:
        """Return this policy as one of its bodies: same weights, that robot's spec and scale, no history.

        Raises:
            ConfigError: it has one body, or none of that name.
        """
        if self.bodies is None:
            raise ConfigError(f"this policy knows one body, {self.spec.embodiment}, and acts as that.")
        one = copy.copy(self)
        one.acts_as = self.bodies.number(body) if isinstance(body, str) else body
        one.history, one.queue = memory_of(self.config, one.spec), ChunkQueue(self.config.execute)
        return one

    @property
    def own(self) -> Normalizer:
        """Scale of state and action of the robot that acts."""
        return self.normalizer if self.bodies is None else self.bodies[self.acting()].normalizer

    @property
    def frame(self) -> ActionFrame:
        """What the actions of the robot that acts are measured from."""
        return self._frame if self.bodies is None else self.bodies[self.acting()].frame

    def unit_state(self, state: Tensor, body: Tensor | None = None) -> Tensor:
        """Return states (B, T, S) at unit scale; of several bodies in one layout, ``body`` (B,) as in ``see``."""
        if self.bodies is None:
            return self.normalizer.to_unit("state", state)
        return self.bodies[self.acting()].state(state) if body is None else self.bodies.state(state, body)

    def taken(self, chunk: Tensor, state: Tensor) -> Tensor:
        """Return what a head predicted, (B, H, A) at unit scale, as the robot that acts takes it."""
        return self.frame.taken(self.own.to_physical("action", self.cut(chunk)), state)

    def cut(self, actions: Tensor) -> Tensor:
        """Return those of the values (..., A) of ``layout`` that the robot that acts has."""
        return actions if self.bodies is None else self.bodies[self.acting()].cut(actions)

    def laid_out(self, actions: Tensor) -> Tensor:
        """Return values (..., A) of the robot that acts at their places in ``layout``, zeros where it has none."""
        return actions if self.bodies is None else self.bodies[self.acting()].placed("action", actions)

    def acting(self) -> int:
        """Return the number of the body that acts; refuse where none does."""
        if self.acts_as is None:
            raise nobody_acts(self.bodies.specs if self.bodies else (self.spec,))
        return self.acts_as

    def _at_unit_scale(self, batch: Batch[Tensor]) -> tuple[Batch[Tensor], Tensor | None]:
        """Return a batch as the head sees it and, of several bodies, (B,) factors for the loss of the rows."""
        state, body, factor = batch.obs.state, batch.obs.context.get(BODY), None
        if self.bodies is None or body is None:
            actions = self.own.to_unit("action", self.frame.predicted(batch.actions, state))
            unit = dataclasses.replace(batch, actions=actions)
        else:
            unit, factor = self.bodies.lesson(batch, body, rereads=self.config.head.rereads)
        return dataclasses.replace(unit, obs=dataclasses.replace(batch.obs, state=self.unit_state(state, body))), factor

    # ---------------------------------------------------------------------- reinforcement learning

    def rollout(self, obs: Observation[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) in physical units, within the bounds of the spec, and the trace that scores them.

        Raises:
            ConfigError: the head has nothing to draw.
        """
        chunk, trace = self._stochastic_head.rollout(self._features(obs))
        low, high = (chunk.new_tensor(bound) for bound in (self.spec.low, self.spec.high))
        return self.taken(chunk, obs.state).clamp(low, high), trace

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
        return condensed(obs, features)

    def _features(self, obs: Observation[Tensor]) -> Features:
        return features_in(obs) or self.encode(obs).features

    @property
    def _stochastic_head(self) -> StochasticHead:
        return stochastic(self.head, self.config.head)

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
            noise: (B, H, A) standard normal that the head starts from, A as in ``layout``; None lets it draw its own.
        """
        training = self.training
        self.eval()
        device = self.device
        seen = obs.public().map(lambda array: torch.as_tensor(array).to(device))
        scene = self.encode(seen)
        start = None if noise is None else torch.as_tensor(noise).to(device)
        chunk = self.taken(self._head.sample(scene.features, start), seen.state).cpu().numpy()
        self._points = {
            name: self.normalizer.to_physical(f"targets_{name}", value).cpu().numpy()
            for name, value in scene.points.items()
        }
        self.train(training)
        return np.clip(chunk, np.asarray(self.spec.low, np.float32), np.asarray(self.spec.high, np.float32))

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
        """Write the policy into an existing directory, see ``policy_files``.

        Adapters are merged into the weights beside which they stand.
        """
        write_policy(
            directory,
            Described(
                config=dataclasses.replace(self.config, lora=None),
                spec=self.spec,
                bodies=() if self.bodies is None else self.bodies.specs,
                acts_as=self.acts_as,
                tokenizer=self.tokenizer,
                blueprints=blueprints_of(self.network),
            ),
            merged(self),
        )

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
        found = read_described(Path(directory))
        config = config or found.config
        whole = dataclasses.replace(config, lora=None)  # adapters were merged
        policy = cls(whole, found.bodies or found.spec, found.tokenizer, found.blueprints)
        read_weights(policy, Path(directory))
        if config.lora is not None:
            policy.adapt(config.lora)
            policy.config = config
        policy = policy.to(device).eval()
        return policy if found.acts_as is None else policy.act_as(found.acts_as)

    @classmethod
    def from_pretrained_vlm(cls, vlm_path: str, spec: RobotSpec, **options: Unpack[VlmOptions]) -> VLAPolicy:
        """Return a policy whose encoders, projector and language model are those of a vision-language model.

        It has no statistics yet, see ``fit_normalizer``; the action head is new.

        Args:
            vlm_path: directory or hub id in Llava's layout; empty where its two models are named by themselves.
            spec: of the robot.
            options: see ``VlmOptions``; by default both models stay as they are.

        Raises:
            SinewError: an option, a name, a model or a size that does not fit; see ``config_from_vlm``.
        """
        config = config_from_vlm(vlm_path, spec, options)
        return cls(config, spec, tokenizer_of(config.language, ()))
