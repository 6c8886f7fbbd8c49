"""One optimiser step: schedule, clipping and the refusal of non-finite gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sinew.core.config import to_dict
from sinew.core.errors import ConfigError
from sinew.engine.config import OptimConfig
from sinew.engine.parts import gradient_rms, parts_of

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
    """AdamW (Loshchilov 2019, arXiv:1711.05101) with everything that belongs to a step.

    A step whose loss or gradient is not finite is skipped: weights and moments stay as they were.
    On CUDA this needs no host synchronisation: the fused kernel itself reads the flag, and clipping
    is its gradient scale, so no pass over the gradients is spent on it either.

    Attributes:
        num_steps: steps asked for, skipped ones included; drives the schedule.
        bad_run: 0-dim tensor, consecutive skipped steps up to now.
        bad_total: 0-dim tensor, all skipped steps.
        pieces: that a recipe cuts its batch into.
        agree: where several processes train together: given the flag of a bad step, 0-dim float and 1 where it is bad,
            makes it in place the worst of all processes. None in one process.
        unsynced: where several processes train together: a context in which gradients stay this process's own.

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
        self.agree: Callable[[Tensor], object] | None = None
        self.unsynced: Callable[[], AbstractContextManager[object]] = nullcontext
        if self.pieces < 1:
            raise ConfigError(f"--optim.accumulate {self.pieces}: a batch is cut into at least 1 piece.")
        groups = _groups(module, config)
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._factors: list[float] = [group.pop("factor") for group in groups]
        device = self.parameters[0].device
        fused = device.type in {"cpu", "cuda"}
        self.adamw = torch.optim.AdamW(groups, lr=config.lr, fused=fused, foreach=False if fused else None)
        self.fused = fused
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
        return {**to_dict(self.config), "updates": self.updates}

    def step(self, loss: Tensor | Sequence[Callable[[], Tensor]]) -> Tensor:
        """Clear gradients, go backward, clip and step.

        Args:
            loss: 0-dim; or functions that compute its summands, each of which goes backward, and out of memory, before
                the next is computed. Only functions are computed in the precision of the configuration.

        Returns:
            The gradient norm before clipping, 0-dim, detached; not finite means the step was skipped.
        """
        self.adamw.zero_grad(set_to_none=True)
        total = self._backward(loss)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm + (total - total)  # 0 for a finite loss, else NaN
        torch.ne(norm - norm, 0, out=self._bad)
        if self.agree is not None:
            self.agree(self._bad)
        self.bad_total.add_(self._bad)
        self.bad_run.add_(self._bad).mul_(self._bad)
        rate = self.lr
        for group, factor in zip(self.adamw.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        self.num_steps += 1
        if not (self.waits and bool(self._bad)):
            self._apply(norm, gradients)
        return norm

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
        return {
            "adamw": self.adamw.state_dict(),
            "num_steps": self.num_steps,
            "bad_run": self.bad_run.clone(),
            "bad_total": self.bad_total.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take the state back."""
        self.adamw.load_state_dict(state["adamw"])
        self.num_steps = state["num_steps"]
        self.bad_run.copy_(state["bad_run"])
        self.bad_total.copy_(state["bad_total"])

    def _backward(self, loss: Tensor | Sequence[Callable[[], Tensor]]) -> Tensor:
        """Go backward through the loss or through all of its summands; return it, detached."""
        if isinstance(loss, Tensor):
            loss.backward()
            return loss.detach()
        found: list[Tensor] = []
        for number, part in enumerate(loss, 1):
            with self.unsynced() if number < len(loss) else nullcontext():
                with self.precise():
                    summand = part()
                summand.backward()
            found.append(summand.detach())
        return found[0] if len(found) == 1 else torch.stack(found).sum()

    def _apply(self, norm: Tensor, gradients: list[Tensor]) -> None:
        clip = self.config.clip
        self._shrunk = (norm / clip).clamp_(min=1.0) if clip > 0 else None
        if self.fused:
            # GradScaler's protocol: the fused kernel divides by grad_scale and does nothing where found_inf is 1.
            vars(self.adamw)["grad_scale"] = self._shrunk
            vars(self.adamw)["found_inf"] = None if self.waits else self._bad
        elif self._shrunk is not None:
            torch._foreach_div_(gradients, self._shrunk)  # pyright: ignore
        self.adamw.step()


def _groups(module: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Sort what is trained by its part's learning rate and by whether it decays.

    Raises:
        ConfigError: a part is unknown, or nothing is left to train.
    """
    parts = dict(config.parts or {})
    named = dict(module.named_parameters())
    unknown = [part for part in parts if not any(_within(name, part) for name in named)]
    if unknown or any(factor < 0 for factor in parts.values()):
        known = dict.fromkeys(".".join(name.split(".")[:depth]) for depth in (1, 2) for name in named)
        raise ConfigError(
            f"--optim.parts {parts}: wanted shares of the learning rate, 0 or more, by the names of parts. "
            f"There are {', '.join(known)}, and what is below them."
        )
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        nearest = max((part for part in parts if _within(name, part)), key=len, default=None)
        factor = 1.0 if nearest is None else parts[nearest]
        if not factor:
            parameter.requires_grad_(False)  # noqa: FBT003
        if parameter.requires_grad:
            groups.setdefault((factor, _decays(module, name)), []).append(parameter)
    if not groups:
        raise ConfigError(f"{type(module).__name__}: nothing to train, all parameters are frozen. Unfreeze a part.")
    return [
        {"params": groups[key], "factor": key[0], "weight_decay": config.weight_decay if key[1] else 0.0}
        for key in sorted(groups, key=lambda key: (-key[0], not key[1]))
    ]


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _decays(module: nn.Module, name: str) -> bool:
    """Whether weight decay acts on a parameter: on matrices, not on norms and biases."""
    owner, _, own = name.rpartition(".")
    is_norm = "Norm" in type(module.get_submodule(owner)).__name__
    return module.get_parameter(name).ndim > 1 and not is_norm and own != "bias"


class Ema:
    """Exponential moving average of a module's weights (Polyak 1992), with a warm start.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so the first weights are soon
    forgotten. Buffers are copied, not averaged, when the averaged module is asked for.

    Args:
        module: the module that is trained.
        decay: share of the average kept per update, within (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._average = copy.deepcopy(module).requires_grad_(requires_grad=False).eval()
        self._trained = module
        both = zip(self._average.parameters(), module.parameters(), strict=True)
        pairs = [(average, source.detach()) for average, source in both if source.requires_grad]
        self._averages: list[Tensor] = [average for average, _ in pairs]
        self._sources: list[Tensor] = [source for _, source in pairs]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        torch._foreach_lerp_(self._averages, self._sources, 1 - decay)  # pyright: ignore

    @torch.no_grad()
    def module(self) -> nn.Module:
        """Return the averaged module in evaluation mode; it is always the same object."""
        for average, source in zip(self._average.buffers(), self._trained.buffers(), strict=True):
            average.copy_(source)
        return self._average

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its age."""
        return {"num_updates": self.num_updates, "average": self.module().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take the state back."""
        self.num_updates = state["num_updates"]
        self._average.load_state_dict(state["average"])
