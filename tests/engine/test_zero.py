"""What DeepSpeed is told; what it then does is judged in tests/parity/deepspeed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from sinew.core.errors import ConfigError
from sinew.core.launch import launched
from sinew.engine.config import OptimConfig
from sinew.engine.optim import Optim
from sinew.engine.parallel import agreed
from sinew.engine.ranks import verified
from sinew.engine.zero import Zero, settings

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize("stage", [2, 3])
def test_the_launchers_file_asks_for_what_is_done(stage: int) -> None:
    told = yaml.safe_load((CONFIG / f"deepspeed_zero{stage}.yaml").read_text())
    assert (told["distributed_type"], told["use_cpu"]) == ("DEEPSPEED", False)
    words = {f"ACCELERATE_DEEPSPEED_{name.upper()}": str(value) for name, value in told["deepspeed_config"].items()}
    assert agreed(launched({**words, "ACCELERATE_USE_DEEPSPEED": "true"}), None) == f"zero{stage}"


def test_clipping_batches_and_precision_stay_ours() -> None:
    plain = settings(3, OptimConfig(clip=0.5))
    assert plain["zero_optimization"]["stage"] == 3
    assert not {"gradient_clipping", "bf16", "fp16", "scheduler", "optimizer"} & set(plain)
    halves = settings(2, OptimConfig(precision="bf16"))
    assert halves["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}


@pytest.mark.parametrize("stage", [2, 3])
def test_a_single_number_is_a_vector_of_one_and_saved_as_it_was(stage: int) -> None:
    module = nn.Linear(2, 1)
    module.scale = nn.Parameter(torch.tensor(3.0))
    zero = Zero(module, stage)
    assert zero.every["scale"].shape == (1,)
    assert zero.shapes["scale"] == ()
    assert zero.names == ["weight", "bias", "scale"]


def test_several_optimisers_are_refused_with_the_reason() -> None:
    optims = {name: Optim(nn.Linear(1, 1), OptimConfig(), 2) for name in ("actor", "critic")}
    verified(optims, print)
    optims["critic"].stepper = _Stepper()
    with pytest.raises(ConfigError, match=r"2 optimisers \(actor, critic\).*fsdp2"):
        verified(optims, print)


class _Stepper:
    """Steps nothing; it stands where DeepSpeed would."""

    def backward(self, loss: torch.Tensor) -> None:
        """Do nothing."""

    def step(self, gradients: object, shrunk: torch.Tensor) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, object]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: object, /) -> None:
        """Take nothing."""
