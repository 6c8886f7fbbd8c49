"""Teaching a vision-language model by conversations about images: one stage of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.chat import Chat
from sinew.core.errors import ConfigError
from sinew.core.types import Cursor, Metrics
from sinew.data.sampler import epoch_frames
from sinew.data.text_lessons import Lesson, TextLessons
from sinew.data.text_store import TextStore
from sinew.engine import rng
from sinew.engine.config import OptimConfig
from sinew.engine.optim import Optim
from sinew.models.captioner import Captioner
from sinew.models.vlm import PARTS, VLM
from sinew.recipes.config import PretrainConfig

READER = "reader"
"""The part that is thrown away."""


class Pretraining:
    """Next-word prediction on what is answered (Liu 2023, arXiv:2304.08485), some parts learning, the others still.

    Batch k and its draws depend on (seed, k) alone, so a resumed run repeats what an uninterrupted one does.

    Args:
        vlm: what learns; already on ``device``. Which of its parameters need a gradient is set here.
        store: conversations.
        config: settings. optim: of its optimiser.
        updates: length of the stage.
        seed: of batches, of draws, and of the weights of a part that is thrown away.
        among: numbers of the records to learn from; None means all.
    """

    def __init__(
        self,
        vlm: VLM,
        store: TextStore,
        config: PretrainConfig,
        optim: OptimConfig,
        *,
        updates: int,
        seed: int,
        among: NDArray[np.int64] | None = None,
    ) -> None:
        check_parts(config)
        self.vlm, self.config, self.seed = vlm, config, seed
        self.device = vlm.device
        vlm.train_parts([name for name in config.parts if name != READER])
        parts: dict[str, nn.Module] = {"policy": vlm}
        self.reader: Captioner | None = None
        if READER in config.parts:
            with rng.kept():
                torch.manual_seed(rng.mix(seed, 5))
                vocabulary = cast("Any", vlm.lm).get_input_embeddings().num_embeddings
                width: int = cast("Any", vlm.vision).channels
                self.reader = Captioner(width, vocabulary, width=max(24, width // 24 * 24)).to(self.device)
            parts[READER] = self.reader
        self._modules = parts
        self.lessons = TextLessons(
            store, self._chat(), config, max_tokens=vlm.config.max_tokens, pad=vlm.speech.pad, seed=seed, among=among
        )
        self.optim = Optim(nn.ModuleDict(parts), optim, updates)
        self.num_updates = 0

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The model, and the reader where there is one."""
        return self._modules

    @property
    def optims(self) -> Mapping[str, Optim]:
        """The optimiser of all parts that learn."""
        return {"policy": self.optim}

    def acting(self) -> nn.Module:
        """Return the model."""
        return self.vlm

    def batches(self, start: Cursor) -> Iterator[Lesson[Tensor]]:
        """Yield lessons from update ``start`` on, each record once an epoch."""
        for update in count(start.update):
            yield self.lesson(update).map(lambda array: torch.from_numpy(array).to(self.device, non_blocking=True))

    def lesson(self, update: int) -> Lesson[NDArray[Any]]:
        """Return the batch of an update."""
        segments = [(0, len(self.lessons))]
        chosen = epoch_frames(update, seed=self.seed, batch=self.config.batch, segments=segments)
        return self.lessons.lesson(chosen, update)

    def update(self, batch: Lesson[Tensor]) -> Metrics:
        """Take one step on the weighted mean over the ids that are learned."""
        rng.seed_draws(rng.mix(self.seed, self.num_updates), self.device)
        self.vlm.train()
        losses, found = self._losses(batch)
        loss = (losses * batch.weights).sum()
        norm = self.optim.step(loss)
        self.num_updates += 1
        return {"loss": loss.detach(), "grad_norm": norm, **found}

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimiser and position."""
        weights = {name: module.state_dict() for name, module in self._modules.items()}
        return {"num_updates": self.num_updates, "weights": weights, "optim": self.optim.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back."""
        self.num_updates = state["num_updates"]
        for name, module in self._modules.items():
            module.load_state_dict(state["weights"][name])
        self.optim.load_state_dict(state["optim"])

    def _losses(self, batch: Lesson[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss (M,) of each id that is learned, and what a reader can be measured by."""
        text = batch.text
        if self.reader is None:
            return self.vlm.losses(text, batch.places)["text"], {}
        # The reader writes about one image; what it reads is the vision encoder's own tokens.
        logits = self.reader(self.vlm.vision(text.images[:, 0]), text.input_ids)
        targets = text.labels.flatten().index_select(0, batch.places)
        before = logits.flatten(0, 1).index_select(0, batch.places - 1)
        exact = faultless(before, targets, batch.places // text.labels.shape[1], text.labels.shape[0])
        return functional.cross_entropy(before, targets, reduction="none"), {"exact": exact}

    def _chat(self) -> Chat:
        chat = self.vlm.chat(plain=self.config.plain)
        if self.reader is None:
            return chat
        return Chat(chat.encode, (), start_ids=chat.end_ids[:1], end_ids=chat.end_ids, plain=True)


def faultless(logits: Tensor, targets: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return the share () of rows whose likeliest ids are all right, each told the true ones before it.

    Args:
        logits: (M, V).
        targets: (M,) ids.
        rows: (M,) number of the row that each belongs to.
        count: rows.
    """
    wrong = (logits.detach().argmax(dim=-1) != targets).float()
    return (logits.new_zeros(count).index_add(0, rows, wrong) == 0).float().mean()


def check_parts(config: PretrainConfig) -> None:
    """Refuse parts that do not exist or cannot learn together.

    Raises:
        ConfigError: with what was seen and wanted.
    """
    wrong = [name for name in config.parts if name not in (*PARTS, READER)]
    if wrong or not config.parts:
        raise ConfigError(
            f"stage parts {', '.join(config.parts) or 'none'}: wanted some of {', '.join((*PARTS, READER))}."
        )
    if READER in config.parts and ({"projector", "lm"} & set(config.parts) or config.apart or config.sight != "images"):
        raise ConfigError(
            "a stage with a reader learns by the reader alone, one conversation a record, from images: leave "
            "projector, lm, apart and sight to other stages."
        )
    if config.sight != "images" and set(config.parts) & {"vision", "projector"}:
        raise ConfigError(f"a stage that sees {config.sight} instead of images can teach the lm only.")
