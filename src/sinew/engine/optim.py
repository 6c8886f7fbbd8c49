"""One optimiser step: schedule, clipping and the refusal of non-finite gradients."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sinew.core.config import to_dict
from sinew.core.errors import ConfigError
from sinew.core.launch import launched
from sinew.engine.adamw import FusedAdamW
from sinew.engine.config import OptimConfig
from sinew.engine.distributed import world
from sinew.engine.muon import Muon
from sinew.engine.parallel import agreed, check_precision, share
from sinew.engine.param_groups import param_groups
from sinew.engine.parts import gradient_rms, parts_of
from sinew.engine.sharing import Sharing

LONGEST_WARMUP = 2000


def learning_rate(config: OptimConfig, step: int, updates: int) -> float:
    """Return the learning rate of one step: linear warm-up, then a half cosine down to ``final`` of the peak.

    Args:
        config: peak, warm-up and last share.
        step: from 0; the last one, ``updates - 1``, has exactly ``final * lr``.
        updates: length of the schedule.
    """
    share = config.warmup * updates if config.warmup < 1 else config.warmup
    warmup = max(1, min(round(share), LONGEST_WARMUP) if config.warmup < 1 else round(share))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = min(1.0, (step - warmup + 1) / max(1, updates - warmup))
    return config.lr * (config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * progress)))


class Optim:
    """AdamW (Loshchilov 2019, arXiv:1711.05101), and Muon where asked for, with everything that belongs to a step.

    A step whose loss or gradient is not finite is skipped: weights and moments stay as they were.
    On CUDA this needs no host synchronisation: the fused kernel itself reads the flag, and clipping
    is its gradient scale, so no pass over the gradients is spent on it either.

    Where several ranks train together each brings the loss of its own rows; what counts is the mean over the ranks. A
    step that is not finite on one of them is skipped on all.

    Attributes:
        sharing: how the ranks share the module; what makes a loss is called through ``call``.
        num_steps: steps asked for, skipped ones included; drives the schedule.
        bad_run: 0-dim tensor, consecutive skipped steps up to now.
        bad_total: 0-dim tensor, all skipped steps.
        pieces: that a recipe cuts its batch into.

    Args:
        module: what is trained; parameters that need no gradient are left alone, and so are from now on those of
            frozen parts.
        config: settings.
        updates: length of the schedule.
    """

    def __init__(self, module: nn.Module, config: OptimConfig, updates: int) -> None:
        self.config = config
        self.updates = updates
        self.num_steps = 0
        self.pieces = config.accumulate or 1
        self.ranks = world()
        if self.pieces < 1:
            raise ConfigError(f"--optim.accumulate {self.pieces}: a batch is cut into at least 1 piece.")
        check_precision(launched(), config.precision)
        groups = param_groups(module, config)
        parallel = agreed(launched(), config.parallel)
        if config.muon is not None and parallel not in (None, "ddp"):
            raise ConfigError(
                f"--optim.muon {config.muon}: it makes whole matrices orthogonal, and with {parallel} ranks hold "
                "shards of them. Use ddp, or leave Muon out."
            )
        self.sharing = share(module, config.parallel)
        self.parameters = self.sharing.parameters
        known = dict(zip(self.sharing.names, self.parameters, strict=True))
        for group in groups:
            group["params"] = [known[name] for name in group.pop("names")]
        self._factors: list[float] = [group.pop("factor") for group in groups]
        device = self.parameters[0].device
        fused = device.type in {"cpu", "cuda"}
        kinds = [group.pop("muon") for group in groups]
        first = [group for group, muon in zip(groups, kinds, strict=True) if not muon]
        second = [group for group, muon in zip(groups, kinds, strict=True) if muon]
        self.adamw = FusedAdamW(first, config.lr) if fused else torch.optim.AdamW(first, lr=config.lr)
        self.muon = Muon(second, config.lr) if second else None
        self.stepper = self.sharing.stepper(self.adamw, config)
        self.waits = device.type not in {"cuda", "meta"}
        """Whether the host looks at the gradient norm before stepping, which costs nothing on a CPU."""
        self.parts = parts_of(module)
        self._shrunk: Tensor | None = None
        self.bad_run = torch.zeros((), device=device)
        self.bad_total = torch.zeros((), device=device)
        self._bad = torch.zeros((), device=device)

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return learning_rate(self.config, self.num_steps, self.updates)

    @property
    def settings(self) -> dict[str, Any]:
        """What a run that goes on must agree in, as JSON values."""
        return {**to_dict(dataclasses.replace(self.config, parallel=None)), "updates": self.updates}

    def step(self, loss: Tensor | Sequence[Callable[[], Tensor]]) -> Tensor:
        """Clear gradients, go backward, clip and step.

        Args:
            loss: 0-dim, of this rank's rows; or functions that compute its summands, each of which goes backward, and
                out of memory, before the next is computed. Only functions are computed in the precision of the
                configuration.

        Returns:
            The gradient norm before clipping, 0-dim, detached; not finite means the step was skipped.
            The same on every rank.
        """
        self.sharing.clear()
        total = self._backward(loss)
        gradients = self.sharing.gradients()
        norm = self.sharing.norm(gradients)
        norm = norm + (total - total)  # 0 for a finite loss, else NaN
        torch.ne(norm - norm, 0, out=self._bad)
        if not self.ranks.alone:
            norm = norm.masked_fill(self.ranks.largest(self._bad) > 0, math.nan)
        self.bad_total.add_(self._bad)
        self.bad_run.add_(self._bad).mul_(self._bad)
        rate = self.lr
        steppers = (self.adamw,) if self.muon is None else (self.adamw, self.muon)
        every = [group for stepper in steppers for group in stepper.param_groups]
        for group, factor in zip(every, self._factors, strict=True):
            group["lr"] = rate * factor
        self.num_steps += 1
        if self.stepper is not None or not (self.waits and bool(self._bad)):
            self._apply(norm, gradients)
        return norm

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401  (whatever the method takes and returns)
        """Call a method of the module, such as "losses", so that gradients of what it returns reach all ranks."""
        return self.sharing.call(name, *arguments)

    def acting(self) -> nn.Module:
        """Return the module with all its weights; every rank must ask, and where they are shards rank 0 gets a copy."""
        return self.sharing.whole()

    def weights(self) -> dict[str, Tensor]:
        """Return the module's ``state_dict`` as it is saved, whole or as shards; every rank must ask."""
        return self.sharing.state()

    def load_weights(self, state: Mapping[str, Any]) -> None:
        """Take weights back into the module, whole or as the ranks' shards."""
        self.sharing.load(state)

    def precise(self) -> AbstractContextManager[object]:
        """Return the context in which a loss is computed: of bf16 where the configuration says so."""
        if self.config.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.bad_run.device.type, torch.bfloat16)

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradient per weight of each part in the last step, before clipping, 0-dim; see ``parts``."""
        found = gradient_rms(self.parts)
        return found if self._shrunk is None else {name: rms * self._shrunk for name, rms in found.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return moments, schedule position and counters."""
        muon = {} if self.muon is None else {"muon": self.muon.state_dict()}
        return {
            "adamw": self._moments(self.adamw.state_dict(), self.sharing.stored)
            if self.stepper is None
            else self.stepper.state_dict(),
            **muon,
            "num_steps": self.num_steps,
            "bad_run": self.bad_run.clone(),
            "bad_total": self.bad_total.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take the state back."""
        if self.stepper is None:
            self.adamw.load_state_dict(self._moments(state["adamw"], self.sharing.own))
        else:
            self.stepper.load_state_dict(state["adamw"])
        if self.muon is not None:
            self.muon.load_state_dict(state["muon"])
        self.num_steps = state["num_steps"]
        self.bad_run.copy_(state["bad_run"])
        self.bad_total.copy_(state["bad_total"])

    def _moments(self, state: Mapping[str, Any], change: Callable[[str, Tensor], Tensor]) -> dict[str, Any]:
        """Return AdamW's state with ``change`` applied to what has the size of a parameter."""
        names = {id(parameter): name for name, parameter in zip(self.sharing.names, self.parameters, strict=True)}
        order = [names[id(parameter)] for group in self.adamw.param_groups for parameter in group["params"]]
        found: dict[int, dict[str, Any]] = {
            index: {key: change(order[int(index)], value) if value.ndim else value for key, value in entry.items()}
            for index, entry in state["state"].items()
        }
        return {**state, "state": found}

    def _backward(self, loss: Tensor | Sequence[Callable[[], Tensor]]) -> Tensor:
        """Go backward through the loss or through all of its summands; return it, detached."""
        backward = Tensor.backward if self.stepper is None else self.stepper.backward
        if isinstance(loss, Tensor):
            backward(loss)
            return loss.detach()
        found: list[Tensor] = []
        for number, part in enumerate(loss, 1):
            with self.sharing.syncing(now=number == len(loss)):
                with self.precise():
                    summand = part()
                backward(summand)
            found.append(summand.detach())
        return found[0] if len(found) == 1 else torch.stack(found).sum()

    def _apply(self, norm: Tensor, gradients: list[Tensor]) -> None:
        clip = self.config.clip
        self._shrunk = (norm / clip).clamp_(min=1.0) if clip > 0 else None
        if self.stepper is not None:
            shrunk = torch.ones_like(norm) if self._shrunk is None else self._shrunk
            self.stepper.step(gradients, shrunk.masked_fill(self._bad > 0, math.nan))
            return
        if self.muon is not None:
            self.muon.apply(self._shrunk, None if self.waits else self._bad)
        if isinstance(self.adamw, FusedAdamW):
            self.adamw.apply(self._shrunk, None if self.waits else self._bad)
            return
        if self._shrunk is not None:
            torch._foreach_div_(gradients, self._shrunk)  # pyright: ignore
        self.adamw.step()


class Ema:
    """Exponential moving average of a module's weights (Polyak 1992), with a warm start.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so the first weights are soon
    forgotten. Buffers are copied, not averaged, when the averaged module is asked for. Where ranks
    hold shards of the weights each averages its own, and nothing is gathered for it.

    Args:
        module: the module that is trained.
        decay: share of the average kept per update, within (0, 1).
        sharing: how ranks share the module; None means that all of it is here.
    """

    def __init__(self, module: nn.Module, decay: float, sharing: Sharing | None = None) -> None:
        self.decay = decay
        self.num_updates = 0
        self._trained = module
        self._shards = sharing if sharing is not None and sharing.parted else None
        parts = {name: item.detach() for name, item in module.named_parameters()}
        if self._shards is None:
            self._average = copy.deepcopy(module).requires_grad_(requires_grad=False).eval()
            averages = dict(self._average.named_parameters())
        else:
            parts = self._shards.tensors()
            averages = {name: part.clone() for name, part in parts.items()}
        names = [name for name, item in module.named_parameters() if item.requires_grad]
        self._parts = {name: averages[name] for name in names}
        self._averages: list[Tensor] = list(self._parts.values())
        self._sources: list[Tensor] = [parts[name] for name in names]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        torch._foreach_lerp_(self._averages, self._sources, 1 - decay)  # pyright: ignore

    @torch.no_grad()
    def module(self) -> nn.Module:
        """Return the averaged module in evaluation mode; it is always the same object.

        Every rank must ask; where they hold shards, rank 0 gets numbers and the others shapes.
        """
        if self._shards is not None:
            return self._shards.whole(self._parts)
        for average, source in zip(self._average.buffers(), self._trained.buffers(), strict=True):
            average.copy_(source)
        return self._average

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its age."""
        if self._shards is None:
            return {"num_updates": self.num_updates, "average": self.module().state_dict()}
        averages = {name: self._shards.stored(name, part) for name, part in self._parts.items()}
        return {"num_updates": self.num_updates, "average": {**self._shards.state(), **averages}}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take the state back."""
        self.num_updates = state["num_updates"]
        if self._shards is None:
            self._average.load_state_dict(state["average"])
            return
        for name, part in self._parts.items():
            part.copy_(self._shards.own(name, state["average"][name]))
