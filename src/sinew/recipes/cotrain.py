"""Co-training: windows of robots and conversations about images in one update, so that neither is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinew.core.errors import ConfigError, DataError
from sinew.core.types import Batch, Cursor, Metrics, Recipe, Stateful
from sinew.data.pairs import Pair, WebRows, paired
from sinew.engine.distributed import world

if TYPE_CHECKING:
    from sinew.data.text_lessons import Lesson, TextLessons
    from sinew.models.vlm import VLM


class Imitating(Recipe[Batch[Tensor]], Protocol):
    """A recipe on windows whose step may have further summands of the loss."""

    def update(self, batch: Batch[Tensor], also: Sequence[Callable[[], Tensor]] = ()) -> Metrics:
        """Take one step on the loss of the batch and on ``also``."""
        ...


class CoTraining:
    """Robot actions and next words in one step (RT-2: Brohan 2023, arXiv:2307.15818; pi0.5: 2025, arXiv:2504.16054).

    The loss is that of ``inner`` on B windows plus ``weight`` times the mean over what is learned of ``ratio`` B
    conversations; both go backward before one step of one optimiser. Everything that lasts is ``inner``'s: its
    weights hold those of the model that is asked.

    Differs from RT-2, whose actions are words of the same loss: here the head is any, and with an insulated one
    (knowledge insulation, Driess 2025, arXiv:2505.23705) no gradient of actions reaches the model.

    Args:
        inner: learns from windows; its optimiser holds the weights of ``vlm``.
        vlm: the model inside its policy, see ``models.speaking.speaker_of``.
        lessons: conversations.
        ratio: conversations per robot row.
        batch: robot rows of an update.
        weight: of the text loss.
        seed: of the order of the conversations.

    Raises:
        ConfigError: ratio or weight are not above 0, or several processes were started.
        DataError: the conversations are about no images.
    """

    def __init__(
        self, inner: Imitating, vlm: VLM, lessons: TextLessons, *, ratio: float, batch: int, weight: float, seed: int
    ) -> None:
        check_ratio(ratio, weight)
        if not world().alone:
            raise ConfigError(f"co-training runs in one process, {world().size} were started. Start one.")
        if not lessons.store.num_images:
            raise DataError(
                f"{lessons.store.path}: {lessons.store.num_records} conversations without one image. Co-training keeps "
                "alive what is seen, too: name conversations about images."
            )
        self.inner, self.vlm, self.lessons, self.weight = inner, vlm, lessons, weight
        self.web = WebRows(len(lessons), ratio, batch, seed)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What learns."""
        return self.inner.modules

    @property
    def optims(self) -> Mapping[str, Stateful]:
        """The one optimiser."""
        return self.inner.optims

    def acting(self) -> nn.Module:
        """Return the policy."""
        return self.inner.acting()

    def batches(self, start: Cursor) -> Iterator[Pair[Tensor]]:
        """Yield pairs from update ``start`` on."""
        return paired(self.inner.batches(start), self.web, self._lesson, start=start.update)

    def update(self, batch: Pair[Tensor]) -> Metrics:
        """Take one step on the loss of actions and of words."""
        if batch.web is None:
            return self.inner.update(batch.robot)
        found: list[Tensor] = []
        metrics = self.inner.update(batch.robot, [partial(self._text_loss, batch.web, found)])
        return {**metrics, "loss": metrics["loss"] + self.weight * found[0], "text": found[0]}

    def state_dict(self) -> dict[str, Any]:
        """Return the inner recipe's state; which conversations come follows from the update's number."""
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take it back."""
        self.inner.load_state_dict(dict(state))

    def _lesson(self, numbers: NDArray[np.int64], update: int) -> Lesson[Tensor]:
        device = self.vlm.device
        return self.lessons.lesson(numbers, update).map(
            lambda array: torch.from_numpy(array).to(device, non_blocking=True)
        )

    def _text_loss(self, lesson: Lesson[Tensor], found: list[Tensor]) -> Tensor:
        """Return the weighted summand, and note its mean [nats per id, or per answer]."""
        loss = (self.vlm.losses(lesson.text, lesson.places)["text"] * lesson.weights).sum()
        found.append(loss.detach())
        return self.weight * loss


def check_ratio(ratio: float, weight: float) -> None:
    """Refuse shares by which text teaches nothing.

    Raises:
        ConfigError: with what to do instead.
    """
    if not (np.isfinite(ratio) and ratio > 0):
        raise ConfigError(
            f"web ratio {ratio:g}: conversations per robot row, above 0; 0.25 is one to four. "
            "Without conversations it is behaviour cloning: recipe kind bc."
        )
    if not (np.isfinite(weight) and weight > 0):
        raise ConfigError(f"text weight {weight:g}: wanted above 0. To learn no text take recipe kind bc.")
