"""A vision-language model: image tokens spliced into a causal language model at placeholder ids."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.chat import NO_LOSS, SHARE, Chat
from sinew.core.errors import ConfigError, DataError
from sinew.models.vlm_config import VlmConfig
from sinew.models.vlm_files import load_parts, save_parts
from sinew.models.vlm_parts import Parts, build_parts
from sinew.models.vlm_vision import TokenEncoder

if TYPE_CHECKING:
    from sinew.core.types import TextBatch

PARTS = ("vision", "projector", "lm")
"""What can be trained or left as it is."""


@dataclass(frozen=True)
class Draw:
    """How answers are drawn.

    Attributes:
        tokens: ids of an answer at most.
        temperature: of the softmax; 0 takes the most likely id.
        top_p: of the likeliest ids that together have this probability one is drawn (Holtzman 2020, arXiv:1904.09751).
    """

    tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0


class VLM(nn.Module):
    """Vision encoder, projector and causal language model (LLaVA: Liu 2023, arXiv:2304.08485).

    Args:
        parts: its parts and how it is spoken to.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.config = parts.config
        self.vision, self.projector, self.lm = parts.vision, parts.projector, parts.lm
        self.tokens, self.speech = parts.tokens, parts.speech

    @classmethod
    def build(cls, config: VlmConfig, texts: Iterable[str] = ()) -> VLM:
        """Return a model of these settings; parts without a path have random weights, so seed before.

        Args:
            config: its parts, or the path of a whole one.
            texts: hold every word that a language model without a path must know.

        Raises:
            ConfigError: a path holds no such part, or sizes do not fit.
            CheckpointError: the path of a whole model holds none.
            DependencyError: transformers is not installed.
        """
        return cls.from_pretrained(config.path) if config.path else cls(build_parts(config, texts))

    @classmethod
    def from_pretrained(cls, path: str | Path) -> VLM:
        """Read what ``save_pretrained`` wrote, or a directory or hub id in LLaVA's layout.

        Raises:
            CheckpointError: there is none, or its files do not fit together.
        """
        return cls(load_parts(path)).eval()

    def save_pretrained(self, directory: Path) -> None:
        """Write weights, settings and tokenizer into an existing directory, in LLaVA's layout where parts allow it."""
        parts = Parts(self.config, self.vision, self.projector, self.lm, self.tokens, self.speech)
        save_parts(parts, directory)

    @property
    def image_tokens(self) -> int:
        """Ids that one image takes."""
        return cast("Any", self.projector).tokens

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that images are best read in with [px]."""
        encoder: TokenEncoder = cast("Any", self.vision)
        return encoder.preprocess.pixels.size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def chat(self, *, plain: bool = False) -> Chat:
        """Return how conversations become this model's ids."""
        speech = self.speech
        return Chat(
            self.tokens.encode,
            (speech.image,) * self.image_tokens,
            start=speech.start,
            start_ids=speech.begin,
            human=speech.human,
            gpt=speech.gpt,
            end_ids=speech.end,
            plain=plain,
        )

    def train_parts(self, parts: Sequence[str]) -> None:
        """Let only these parts learn.

        Raises:
            ConfigError: there is no such part.
        """
        wrong = sorted(set(parts) - set(PARTS))
        if wrong:
            raise ConfigError(f"no such parts of a vision-language model: {', '.join(wrong)}. Wanted: {PARTS}.")
        for name in PARTS:
            getattr(self, name).requires_grad_(name in parts)

    # ------------------------------------------------------------------------------------- network

    def embed(self, images: Tensor | None, ids: Tensor) -> Tensor:
        """Return embeddings (B, N, D) of ids (B, N), those of the images' tokens in place of their placeholders.

        Args:
            images: (B, K, 3, h, w) uint8; a row with fewer placeholders than K images leaves the last ones unseen.
            ids: with ``image_tokens`` placeholders for each image, in order.
        """
        embeddings = cast("Any", self.lm).get_input_embeddings()(ids)
        if images is None or images.shape[1] == 0:
            return embeddings
        seen = self.projector(self.vision(images.flatten(0, 1))).unflatten(0, images.shape[:2]).flatten(1, 2)
        is_image = ids == self.speech.image
        # Gathering needs no count on the host, which selecting by mask would.
        place = (is_image.cumsum(dim=1) - 1).clamp(0, seen.shape[1] - 1)
        spliced = seen.gather(1, place[..., None].expand(-1, -1, seen.shape[-1]))
        return torch.where(is_image[..., None], spliced.to(embeddings.dtype), embeddings)

    def hidden(self, images: Tensor | None, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Return the language model's last hidden states (B, N, D).

        Rows are padded at their end, so that a causal model never looks at padding.

        Args:
            images: (B, K, 3, h, w) uint8.
            ids: (B, N).
            segments: (B, N) who sees whom (``core.chat.SHARE``); None means that every id sees all before it.
        """
        # A mask of four dimensions is taken as it is; without one transformers would ask the device about packing.
        allowed = visible(torch.full_like(ids, SHARE) if segments is None else segments)
        decoder = cast("Any", self.lm).get_decoder()
        return decoder(
            inputs_embeds=self.embed(images, ids),
            attention_mask=allowed[:, None],
            position_ids=allowed.sum(dim=-1) - 1,
            use_cache=False,
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) of hidden states (..., D)."""
        return cast("Any", self.lm).get_output_embeddings()(hidden)

    def losses(self, batch: TextBatch[Tensor], places: Tensor | None = None) -> Mapping[str, Tensor]:
        """Return "text" (M,): cross-entropy of each id that is learned; the head is applied nowhere else.

        Args:
            batch: as ``TextRows`` makes it.
            places: (M,) into the flat labels, of the ids that are learned; None looks for them, which makes the host
                wait for the device.
        """
        if places is None:
            places = (batch.labels[:, 1:] != NO_LOSS).flatten().nonzero()[:, 0]
            places = places + places // (batch.labels.shape[1] - 1) + 1
        hidden = self.hidden(batch.images, batch.input_ids, batch.segment_ids)
        before = hidden.flatten(0, 1).index_select(0, places - 1)
        targets = batch.labels.flatten().index_select(0, places)
        return {"text": functional.cross_entropy(self.logits(before).float(), targets, reduction="none")}

    # ---------------------------------------------------------------------------------- answering

    def answer(
        self,
        images: NDArray[np.uint8],
        questions: Sequence[str],
        draw: Draw | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Return an answer to each question about its own images.

        Args:
            images: (B, K, 3, h, w) uint8.
            questions: B texts, each with ``<image>`` where an image is looked at.
            draw: greedy by default.
            generator: of the draws, on the model's device.

        Raises:
            DataError: a question names more or fewer images than it has.
        """
        chat = self.chat()
        prompts = [chat.prompt(question) for question in questions]
        wanted = images.shape[1] * self.image_tokens
        for question, prompt in zip(questions, prompts, strict=True):
            if (found := prompt.count(self.speech.image)) != wanted:
                raise DataError(
                    f"{question[:60]!r} looks at {found // self.image_tokens} images, {images.shape[1]} were given. "
                    "Write <image> once for each."
                )
        with _evaluating(self):
            pictures = torch.as_tensor(images).to(self.device)
            ids = self.generate(pictures, prompts, draw or Draw(), generator=generator)
        return [self.tokens.decode(row) for row in ids]

    @torch.no_grad()
    def generate(
        self,
        images: Tensor | None,
        prompts: Sequence[Sequence[int]],
        draw: Draw,
        generator: torch.Generator | None = None,
    ) -> list[list[int]]:
        """Return the ids that follow each prompt, up to the one that ends an answer, which is left out."""
        longest = max(map(len, prompts))
        device = self.device
        ids = torch.tensor([[self.speech.pad] * (longest - len(row)) + [*row] for row in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts], device=device)
        decoder = cast("Any", self.lm).get_decoder()
        embeddings, cache, written = self.embed(images, ids), None, list[Tensor]()
        done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        for _ in range(draw.tokens):
            out = decoder(
                inputs_embeds=embeddings,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            drawn = pick(self.logits(out.last_hidden_state[:, -1]).float(), draw, generator)
            written.append(drawn)
            done |= drawn == self.speech.end[0]
            if bool(done.all()):
                break
            embeddings = self.embed(None, drawn[:, None])
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
            positions = positions[:, -1:] + 1
        rows: list[list[int]] = torch.stack(written, dim=1).tolist()
        stop = self.speech.end[0]
        return [row[: row.index(stop)] if stop in row else row for row in rows]


def visible(segments: Tensor) -> Tensor:
    """Return which ids (B, N, N) see which: of their record what is shared, and of their own part what came before."""
    record, part = segments // SHARE, segments % SHARE
    together = (record[:, :, None] == record[:, None]) & ((part[:, :, None] == part[:, None]) | (part[:, None] == 0))
    count = segments.shape[1]
    return together & torch.ones(count, count, dtype=torch.bool, device=segments.device).tril()


def pick(logits: Tensor, draw: Draw, generator: torch.Generator | None = None) -> Tensor:
    """Return ids (B,) drawn from logits (B, V)."""
    if draw.temperature <= 0:
        return logits.argmax(dim=-1)
    chances = (logits / draw.temperature).softmax(dim=-1)
    if draw.top_p < 1:
        ordered, order = chances.sort(dim=-1, descending=True)
        ordered[ordered.cumsum(dim=-1) - ordered >= draw.top_p] = 0
        chances = torch.zeros_like(chances).scatter(-1, order, ordered)
    return torch.multinomial(chances, 1, generator=generator)[:, 0]


@contextmanager
def _evaluating(module: nn.Module) -> Generator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
