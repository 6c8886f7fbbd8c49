"""What DeepSpeed does of an optimiser step, and its moments in the form of an AdamW of one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sinew.core.errors import require
from sinew.engine.distributed import world

MOMENTS = ("exp_avg", "exp_avg_sq")


class ZeroStepper:
    """Goes backward and steps through a DeepSpeed engine.

    Args:
        engine: DeepSpeed's.
        adamw: that it steps, over flat runs of parameters.
        groups: of AdamW's ``state_dict`` as they were before DeepSpeed had it.
        parameters: by name, in the order of the groups.
        shapes: of parameters, as they are saved.
        cut: returns this rank's part of a whole value, given a parameter's name; in stage 3.
    """

    def __init__(
        self,
        engine: Any,  # noqa: ANN401  (DeepSpeed has no types)
        adamw: torch.optim.AdamW,
        groups: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, nn.Parameter],
        shapes: Mapping[str, torch.Size],
        cut: Callable[[str, Tensor], Tensor] | None,
    ) -> None:
        self.engine, self.adamw, self.groups, self.parameters, self.shapes = engine, adamw, groups, parameters, shapes
        self.cut = cut
        self.zero: Any = engine.optimizer
        self._utils = require("deepspeed.utils", extra="deepspeed")
        self._begin()

    def backward(self, loss: Tensor) -> None:
        """Go backward; DeepSpeed reduces the gradients on the way."""
        self.engine.backward(loss)

    def step(self, gradients: Sequence[Tensor], shrunk: Tensor) -> None:
        """Divide the gradients by a number and step; where it is not finite DeepSpeed forgets them and does not."""
        torch._foreach_div_(list(gradients), shrunk)  # pyright: ignore
        self.engine.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what AdamW's would be in one process; the moments whole on rank 0, empty on the others."""
        rates = [group["lr"] for group in self.adamw.param_groups]
        groups = [{**group, "lr": rate} for group, rate in zip(self.groups, rates, strict=True)]
        steps = max(float(state["step"]) for state in self.adamw.state.values())
        state = {
            index: {"step": torch.tensor(steps), **{key: self._whole(name, key) for key in MOMENTS}}
            for index, name in enumerate(self.parameters)
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what AdamW of one process, or this, had; every rank brings all of it."""
        found: Mapping[Any, Mapping[str, Tensor]] = state["state"]
        if not found:
            return
        steps = max(float(entry["step"]) for entry in found.values())
        for flat in self._flat():  # in place: parameters of stage 2 know their part of these tensors
            self.adamw.state[flat]["step"].fill_(steps)
            for key in MOMENTS:
                self.adamw.state[flat][key].zero_()
        for index, (name, parameter) in enumerate(self.parameters.items()):
            for key in MOMENTS if index in found else ():
                self._put(name, parameter, key, found[index][key].to(parameter.device))

    def _put(self, name: str, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        if self.cut is None:
            self._utils.safe_set_full_optimizer_state(parameter, value.flatten(), key)
        else:  # what takes it whole fails where it cannot be cut into equal parts
            self._utils.safe_set_local_optimizer_state(parameter, self.cut(name, value), key)

    def _whole(self, name: str, key: str) -> Tensor:
        full: Tensor = self._utils.safe_get_full_optimizer_state(self.parameters[name], key)
        return full.reshape(self.shapes[name]).cpu() if world().is_main else torch.empty(0)

    def _flat(self) -> list[Tensor]:
        """Return the runs of parameters that AdamW steps on this rank."""
        stage_3 = getattr(self.zero, "fp32_partitioned_groups_flat", None)
        return self.zero.single_partition_of_fp32_groups if stage_3 is None else stage_3

    def _begin(self) -> None:
        """Set all moments to 0, and show each parameter of stage 2 its part of them.

        DeepSpeed 0.19.8 does so after the first step of the first group, and then misses those of the others.
        """
        for flat in self._flat():
            self.adamw.state[flat] = {
                "step": torch.zeros((), device=flat.device),
                **{key: torch.zeros_like(flat) for key in MOMENTS},
            }
        if getattr(self.zero, "_hp_optimizer_states_linked", True) is False:
            self.zero._lazy_init_hp_params_optimizer_state()  # noqa: SLF001
