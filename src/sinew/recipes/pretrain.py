"""Teaching a vision-language model by conversations about images: one stage of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.chat import IMAGE, NO_LOSS, Chat, Turn
from sinew.core.errors import ConfigError
from sinew.core.types import Cursor, Metrics, TextBatch, map_arrays
from sinew.data.sampler import epoch_frames
from sinew.data.text_batches import TextRows, text_rows
from sinew.data.text_store import TextStore
from sinew.engine import rng
from sinew.engine.config import OptimConfig
from sinew.engine.optim import Optim
from sinew.models.captioner import Captioner
from sinew.models.vlm import PARTS, VLM
from sinew.recipes.config import PretrainConfig

X = TypeVar("X")
Y = TypeVar("Y")
READER = "reader"
"""The part that is thrown away."""
GREY = 127
"""Value of the pixels of a blank image."""


@dataclass(frozen=True)
class Lesson(Generic[X]):
    """A batch of conversations, with what the device would have to search for.

    Attributes:
        text: ids, labels and images.
        places: (M,) into the flat labels, of the ids that are learned. weights: (M,) of each, together 1.
    """

    text: TextBatch[X]
    places: X
    weights: X

    @property
    def num_rows(self) -> int:
        """Records."""
        return self.text.num_rows

    @property
    def ids(self) -> X | None:
        """Numbers of the records, for dumps."""
        return self.text.ids

    def map(self, convert: Callable[[X], Y]) -> Lesson[Y]:
        """Return the lesson with every array put through ``convert``."""
        return map_arrays(self, convert)


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
        self.vlm, self.store, self.config, self.seed = vlm, store, config, seed
        self.max_tokens = vlm.config.max_tokens
        self.among = np.arange(store.num_records) if among is None else among
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
        self.chat = self._chat()
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
        config = self.config
        segments = [(0, len(self.among))]
        chosen = self.among[epoch_frames(update, seed=self.seed, batch=config.batch, segments=segments)]
        rows = self._chosen(text_rows(self.store, chosen))
        if config.blank:
            rows = self._greyed(rows, update)
        if config.apart:
            draws = np.random.default_rng((self.seed, 7, update))
            made = rows.packed(
                self.chat, max_tokens=self.max_tokens, pad=self.vlm.speech.pad, pairs=config.apart, draws=draws
            )
        else:
            made = rows.tokenized(self.chat, max_tokens=self.max_tokens, pad=self.vlm.speech.pad)
        places, weights = learned(np.asarray(made.labels, np.int64), by_answer=config.balance == "answer")
        return Lesson(cast("TextBatch[NDArray[Any]]", made), places, weights)

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

    def _greyed(self, rows: TextRows, update: int) -> TextRows:
        """Return the records, some of them with grey images."""
        grey = np.random.default_rng((self.seed, 11, update)).random(rows.num_rows) < self.config.blank
        images = rows.images.copy()
        images[grey] = GREY
        return dataclasses.replace(rows, images=images)

    def _chosen(self, rows: TextRows) -> TextRows:
        """Return the records with the exchanges and the sight that the stage learns from."""
        config = self.config
        turns = tuple(exchanges(said, config.exchanges) for said in rows.turns)
        if config.sight == "images":
            return TextRows(rows.names, turns, rows.images, rows.ids)
        told = (next(turn.text for turn in said if turn.speaker == "gpt") for said in rows.turns)
        instead = tuple(told) if config.sight == "words" else ()
        return TextRows(rows.names, turns, rows.images[:, :0], rows.ids, instead)


def exchanges(turns: Sequence[Turn], which: str) -> tuple[Turn, ...]:
    """Return the first question and its answer, or the others with the image put before them, or all."""
    if which == "all":
        return tuple(turns)
    end = next(place for place, turn in enumerate(turns) if turn.speaker == "gpt") + 1
    if which == "first" or len(turns) <= end:
        return tuple(turns[:end])
    first = turns[0].text
    looked = first[: first.rfind(IMAGE) + len(IMAGE)] + "\n" if IMAGE in first else ""
    return (Turn("human", looked + turns[end].text), *turns[end + 1 :])


def learned(labels: NDArray[np.int64], *, by_answer: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the places (M,) in flat labels (B, N) of what is learned, and the weight of each; weights sum to 1.

    Args:
        labels: ``NO_LOSS`` where nothing is learned; the first id of a row never is, as nothing comes before it.
        by_answer: count runs of learned ids alike, however long, instead of every id.
    """
    kept = labels != NO_LOSS
    kept[:, 0] = False
    places = np.flatnonzero(kept)
    if not by_answer:
        return places, np.full(len(places), 1 / max(1, len(places)), np.float32)
    begins = kept & ~np.pad(kept[:, :-1], ((0, 0), (1, 0)))
    run = np.cumsum(begins.ravel())[places] - 1
    lengths = np.bincount(run)
    return places, (1 / (len(lengths) * lengths[run])).astype(np.float32)


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
