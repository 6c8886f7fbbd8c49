"""AdamW by torch's fused kernel, without what torch's own ``step`` looks up anew at every update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks as hooks  # pyright: ignore


@dataclass
class Columns:
    """The arguments of the kernel for one group.

    Attributes:
        present: which of the group's parameters had a gradient when this was made.
        parameters, averages, squares, steps: of those parameters.
    """

    present: list[bool]
    parameters: list[Tensor]
    averages: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


class FusedAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov 2019, arXiv:1711.05101) that divides gradients while it steps, and keeps its lists.

    At every update ``torch.optim.AdamW.step`` walks through all parameters, makes lists and sorts them by device and
    kind, which costs more than the kernel where a model is small. Here the lists are made when a parameter begins or
    ceases to have a gradient. What the kernel computes is the same, bit for bit.

    Args:
        groups: of parameters, as torch takes them.
        lr: learning rate of groups that have none.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, lr=lr, fused=True)
        self._columns: list[Columns | None] = [None] * len(self.param_groups)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the state back."""
        super().load_state_dict(dict(state_dict))
        self._columns = [None] * len(self.param_groups)

    @torch.no_grad()
    def apply(self, shrunk: Tensor | None, bad: Tensor | None) -> None:
        """Take one step with the gradients as they are.

        Args:
            shrunk: 0-dim, what gradients are divided by, on their device; None means 1.
            bad: 0-dim, 1 where nothing may change, on their device; None means that all is well.
        """
        present = [[item.grad is not None for item in group["params"]] for group in self.param_groups]
        if [None if columns is None else columns.present for columns in self._columns] == present:
            for group, columns in zip(self.param_groups, self._columns, strict=True):
                if columns is not None and columns.parameters:
                    _step(group, columns, shrunk, bad)
            for hook in list(hooks.values()):  # pyright: ignore
                hook(self, (), {})
            return
        vars(self)["grad_scale"], vars(self)["found_inf"] = shrunk, bad  # GradScaler's protocol
        self.step()
        self._columns = [self._listed(*pair) for pair in zip(self.param_groups, present, strict=True)]

    def _listed(self, group: Mapping[str, Any], present: list[bool]) -> Columns | None:
        """Return the lists of a group after a step; None where its parameters need torch's sorting."""
        kept = [item for item, there in zip(group["params"], present, strict=True) if there]
        if len({(item.device, item.dtype, item.grad.dtype) for item in kept}) > 1:
            return None
        states = [self.state[item] for item in kept]
        return Columns(present, kept, *([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step")))


def _step(group: Mapping[str, Any], columns: Columns, shrunk: Tensor | None, bad: Tensor | None) -> None:
    torch._foreach_add_(columns.steps, 1)  # pyright: ignore
    torch._fused_adamw_(  # pyright: ignore
        columns.parameters,
        cast("list[Tensor]", [item.grad for item in columns.parameters]),
        columns.averages,
        columns.squares,
        [],
        columns.steps,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
        grad_scale=shrunk,
        found_inf=bad,
    )
    if bad is not None:
        torch._foreach_sub_(columns.steps, [bad] * len(columns.steps))  # pyright: ignore
