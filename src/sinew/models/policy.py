"""The vision-language-action policy: network, action head, normaliser and words in one module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinew.core import config as configs
from sinew.core.errors import CheckpointError, SpecError
from sinew.core.files import read_json, write_json, write_text
from sinew.core.history import ChunkQueue, History
from sinew.core.rollout import take_rows
from sinew.core.types import Batch, NumpyObservation, Observation, RobotSpec, Rows
from sinew.models.config import PolicyConfig
from sinew.models.grounding import Projection, heat
from sinew.models.language import WordIds
from sinew.models.network import Network, Scene
from sinew.models.normalizer import Normalizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.core.types import ActionHead, Statistics

SCHEMA = 1


class VLAPolicy(nn.Module):
    """Sees images and state, reads an instruction, acts in chunks. Physical units outside.

    Args:
        config: its parts.
        spec: the robot it is made for.
        tokenizer: knows the words of the instructions.
    """

    def __init__(self, config: PolicyConfig, spec: RobotSpec, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self._spec = spec
        self.tokenizer = tokenizer
        self.word_ids = WordIds(tokenizer, config.language.max_tokens)
        self.network = Network(config, spec, tokenizer.get_vocab_size())
        self.head = config.head.build(config.width, config.horizon, spec)
        targets = {f"targets_{name}": size for name, size in config.grounding.points}
        self.normalizer = Normalizer({"state": spec.state_size, "action": spec.action_size, **targets})
        calibrated = [camera.intrinsics is not None and camera.pose is not None for camera in spec.cameras.values()]
        cameras = zip(spec.cameras.values(), calibrated, strict=True)
        self.projections = nn.ModuleList([Projection(camera) if known else nn.Identity() for camera, known in cameras])
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
        """Take the statistics of the training data: "state", "action" and "targets.<name>".

        Raises:
            DataError: one is missing or does not fit the spec.
        """
        renamed = {name.replace(".", "_"): value for name, value in statistics.items()}
        self.normalizer.fit(renamed, fixed={"action": self._spec.binary_mask})

    # ------------------------------------------------------------------------------------ training

    def losses(self, batch: Batch[Tensor]) -> Mapping[str, Tensor]:
        """Return "action" and, with grounding, "grounding", each (B,)."""
        scene = self.encode(batch.obs)
        unit = dataclasses.replace(batch, actions=self.normalizer.to_unit("action", batch.actions))
        losses = {"action": self._head.loss(scene.features, unit)}
        weight = self.config.grounding.weight
        if scene.points and weight:
            losses["grounding"] = weight * self._grounding_loss(scene, batch.targets)
        return losses

    def encode(self, obs: Observation[Tensor]) -> Scene:
        """Return features and points for B observations with full history; simulator truth is not looked at."""
        ids = self.word_ids(obs.instruction).to(obs.state.device, non_blocking=True)
        return self.network(obs.images, ids, self.normalizer.to_unit("state", obs.state))

    def _grounding_loss(self, scene: Scene, targets: Mapping[str, Tensor]) -> Tensor:
        """Return (B,): L1 on the coordinates and, where a camera is calibrated, cross-entropy on the image cells."""
        missing = [name for name in scene.points if name not in targets]
        if missing:
            raise SpecError(
                f"the data has no labels {missing}, only {sorted(targets)}. "
                "Train with --policy.grounding.weight 0, or record them."
            )
        terms: list[Tensor] = []
        for number, (name, predicted) in enumerate(scene.points.items()):
            known = targets[name].isfinite().all(dim=-1)
            label = torch.where(known[:, None], targets[name], torch.zeros_like(targets[name]))
            error = (predicted - self.normalizer.to_unit(f"targets_{name}", label)).abs().mean(dim=-1)
            for view, camera in enumerate(self.projections):
                if isinstance(camera, Projection):
                    logits = scene.logits[:, view, number]
                    cells = heat(camera(label), *logits.shape[-2:])
                    error = error - self.config.grounding.image * (cells * logits.flatten(1).log_softmax(dim=-1)).sum(
                        -1
                    )
            terms.append(torch.where(known, error, torch.zeros_like(error)))
        return torch.stack(terms).sum(dim=0)

    # -------------------------------------------------------------------------------------- acting

    def reset(self, rows: Rows = None) -> None:
        """Forget the history and the rest of the chunk of these rows."""
        self.history.reset(rows)
        self.queue.reset(rows)

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, A) for this tick; predicts where the last chunk is used up."""
        index = np.arange(obs.num_rows) if rows is None else np.asarray(rows, dtype=np.int64)
        full = self.history.push(obs.public(), index)
        wanting = self.queue.wanting(index)
        if wanting.any():
            asked = full if wanting.all() else take_rows(full, wanting)
            self.queue.put(index[wanting], self.predict_action_chunk(asked))
        return self.queue.take(index)

    @torch.no_grad()
    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        """Return chunks (B, H, A) in physical units, within the bounds of the spec."""
        training = self.training
        self.eval()
        device = self.device
        scene = self.encode(obs.public().map(lambda array: torch.as_tensor(array).to(device)))
        chunk = self.normalizer.to_physical("action", self._head.sample(scene.features)).cpu().numpy()
        self._points = {
            name: self.normalizer.to_physical(f"targets_{name}", value).cpu().numpy()
            for name, value in scene.points.items()
        }
        self.train(training)
        return np.clip(chunk, np.asarray(self._spec.low, np.float32), np.asarray(self._spec.high, np.float32))

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the points of the last prediction, (B, k) by name in physical units; empty without grounding."""
        return self._points if self.config.grounding.weight else {}

    @property
    def _head(self) -> ActionHead:
        return cast("ActionHead", self.head)

    # ----------------------------------------------------------------------------------- keeping

    def save_pretrained(self, directory: Path) -> None:
        """Write config.json, spec.json, tokenizer.json and the weights into an existing directory."""
        from safetensors.torch import save_file

        content = {"schema_version": SCHEMA, "policy": configs.to_dict(self.config)}
        write_json(directory / "config.json", content)
        write_json(directory / "spec.json", configs.to_dict(self._spec))
        write_text(directory / "tokenizer.json", self.tokenizer.to_str(pretty=False))
        weights, norms = split_normalizer(self.state_dict())
        save_file(weights, directory / "model.safetensors")
        save_file(norms, directory / "normalizer.safetensors")

    @classmethod
    def from_pretrained(cls, directory: Path | str, device: str = "cpu") -> VLAPolicy:
        """Read what ``save_pretrained`` wrote.

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
        config = configs.from_dict(PolicyConfig, content["policy"], str(place / "config.json"))
        spec = configs.load(RobotSpec, place / "spec.json")
        policy = cls(config, spec, Tokenizer.from_file(str(place / "tokenizer.json")))
        try:
            weights: dict[str, Any] = load_file(place / "model.safetensors") | load_file(
                place / "normalizer.safetensors"
            )
            policy.load_state_dict(weights)
        except (SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{place}: the weights do not fit ({error}). Use the files of one checkpoint."
            ) from error
        return policy.to(device).eval()


def split_normalizer(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights without and with the prefix "normalizer."."""
    norms = {name: value.contiguous() for name, value in weights.items() if name.startswith("normalizer.")}
    return {name: value.contiguous() for name, value in weights.items() if name not in norms}, norms
