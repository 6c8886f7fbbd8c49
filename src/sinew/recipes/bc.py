"""Behaviour cloning: fit the policy's own losses to recorded windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinew.core.errors import ConfigError, DataError
from sinew.core.pieces import pieces
from sinew.core.types import Batch, Cursor, Metrics, NumpyBatch
from sinew.data.augment import Augment
from sinew.data.mixture import Mixture
from sinew.data.sampler import epoch_frames
from sinew.data.stream import Stream
from sinew.engine import rng
from sinew.engine.config import OptimConfig
from sinew.engine.distributed import world
from sinew.engine.optim import Ema, Optim
from sinew.recipes.config import BcConfig

if TYPE_CHECKING:
    from sinew.data.windows import Windows


class BehaviourCloning:
    """Supervised learning of action chunks (Pomerleau 1988), with averaged weights for acting.

    Batch k and every random draw of update k depend on (seed, k) alone, so a resumed run repeats
    what an uninterrupted one does. Data may grow between updates, see ``grew``. Ranks share the rows of
    the same batches; what is drawn for a row (augmentation, dropout, noise) differs with the rank.

    Args:
        policy: a module that implements ``Trainable``; already on ``device``.
        windows: what it learns from.
        config: settings. optim: of its optimiser.
        updates: length of the schedule.
        seed: of batches, augmentation and what the policy draws.
        device: where batches go.
    """

    def __init__(
        self,
        policy: nn.Module,
        windows: Windows | Mixture | Stream,
        config: BcConfig,
        optim: OptimConfig,
        *,
        updates: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.policy, self.windows, self.config, self.seed = policy, windows, config, seed
        self.device = torch.device(device)
        self.ranks = world()
        self.optim = Optim(policy, optim, updates)
        if config.batch // self.ranks.size < self.optim.pieces:
            raise ConfigError(
                f"a batch of {config.batch} rows over {self.ranks.size} processes cannot be cut into "
                f"{self.optim.pieces} pieces on each (--optim.accumulate). Raise the batch, or cut it into fewer."
            )
        self.ema = Ema(policy, optim.ema, self.optim.sharing) if optim.ema > 0 else None
        self.generator = torch.Generator()  # on the CPU, so that draws are the same for every device
        self.augment = Augment(config.augment, windows.spec if config.augment.mirror else None)
        self.num_updates = 0
        self.draws = None
        if isinstance(windows, Mixture):
            self.draws = windows.draws(seed=seed, batch=config.batch, updates=updates)
        self.segments: list[tuple[int, int]] = []
        """(first update, frames there are from then on), oldest first."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The policy."""
        return {"policy": self.policy}

    @property
    def optims(self) -> Mapping[str, Optim]:
        """Its optimiser."""
        return {"policy": self.optim}

    def acting(self) -> nn.Module:
        """Return the averaged policy, or the policy itself where there is none."""
        return self.optim.acting() if self.ema is None else self.ema.module()

    def batches(self, start: Cursor) -> Iterator[Batch[Tensor]]:
        """Yield batches from update ``start`` on, each row once an epoch of its source.

        Raises:
            DataError: the data is not what the saved state was trained on.
        """
        self.windows.refresh()
        if not self.segments:
            self.segments = [(start.update, self.windows.num_frames)]
        found, wanted = self.windows.num_frames, self.segments[-1][1]
        if found != wanted:
            raise DataError(
                f"the data has {found} frames, the saved state was trained on {wanted}. "
                "Restore the data, or train anew in another run directory."
            )
        for batch in self._batches(self.windows, start.update):
            yield to_device(batch, self.device)

    def _batches(self, windows: Windows | Mixture | Stream, update: int) -> Iterator[NumpyBatch]:
        if not isinstance(windows, Stream):
            return (windows.gather(self.ranks.rows(self._frames(number))) for number in count(update))
        if not self.ranks.alone:
            raise ConfigError(
                f"--data.ingest.stream: is read by one process, and there are {self.ranks.size}. Start one, or read "
                "the data set in."
            )
        return windows.batches(update)

    def turn_to(self, update: int, factors: Sequence[float]) -> None:
        """Draw the sources of a mixture by their weights times these factors, from this update on.

        Raises:
            DataError: the data is no mixture.
        """
        if self.draws is None:
            raise DataError("one data set has no weights to change. Name several, or leave its shares alone.")
        self.draws.told(update, factors)

    def grew(self, update: int) -> None:
        """Learn from all there is now, from this update on."""
        self.windows.refresh()
        earlier = [segment for segment in self.segments if segment[0] < update]
        self.segments = [*earlier, (update, self.windows.num_frames)]

    def update(self, batch: Batch[Tensor], also: Sequence[Callable[[], Tensor]] = ()) -> Metrics:
        """Take one step on the weighted mean of the loss terms.

        Args:
            batch: windows.
            also: compute further summands of the loss, 0-dim, such as one of text that is learned beside.
        """
        rng.seed_draws(self.ranks.seed(self.seed, self.num_updates), self.device)  # for dropout, noise and the like
        batch = self.augmented(batch)
        total = self.ranks.mean(batch.weight.sum())  # so that the mean over the ranks is that over all rows
        batch = dataclasses.replace(batch, weight=batch.weight / total)
        found: list[Metrics] = []
        parts = pieces(batch, self.optim.pieces)
        norm = self.optim.step([*(partial(self._loss, part, found) for part in parts), *also])
        if self.ema is not None:
            self.ema.update()
        self.num_updates += 1
        return {**_sums(found), "grad_norm": norm}

    def _loss(self, batch: Batch[Tensor], found: list[Metrics]) -> Tensor:
        """Return the weighted sum of the loss terms, and note them."""
        losses = cast("Mapping[str, Tensor]", self.optim.call("losses", batch))
        terms = {name: (loss * batch.weight).sum() for name, loss in losses.items()}
        loss = torch.stack(list(terms.values())).sum()
        found.append({"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}})
        return loss

    def augmented(self, batch: Batch[Tensor]) -> Batch[Tensor]:
        """Return the batch with its images and sentences changed at random, by (seed, update)."""
        draws = self.generator.manual_seed(self.ranks.seed(self.seed, self.num_updates, 1))
        return self.augment(batch, draws, seed=self.ranks.seed(self.seed, self.num_updates, 2))

    def _frames(self, update: int) -> NDArray[np.int64]:
        if self.draws is not None and isinstance(self.windows, Mixture):
            return self.windows.drawn(self.draws, update)
        return epoch_frames(update, seed=self.seed, batch=self.config.batch, segments=self.segments)

    def state_dict(self) -> dict[str, Any]:
        """Return weights, averages, optimiser and position."""
        draws = {} if self.draws is None else {"draws": self.draws.state_dict()}
        return {
            **draws,
            "num_updates": self.num_updates,
            "segments": list(self.segments),
            "policy": self.optim.weights(),
            "optim": self.optim.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take them back; the data is looked at when ``batches`` begins."""
        self.num_updates, self.segments = state["num_updates"], list(state["segments"])
        self.optim.load_weights(state["policy"])
        self.optim.load_state_dict(state["optim"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.draws is not None:
            self.draws.load_state_dict(state["draws"])


def _sums(found: Sequence[Metrics]) -> Metrics:
    """Return what the pieces of a batch add up to."""
    if len(found) == 1:
        return found[0]
    return {name: torch.stack([torch.as_tensor(part[name]) for part in found]).sum() for name in found[0]}


def to_device(batch: NumpyBatch, device: torch.device) -> Batch[Tensor]:
    """Return a batch as tensors; on CUDA by pinned copies that the host does not wait for."""

    def convert(array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    return batch.map(convert)
