"""Nothing that a launcher was told is silently ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from torch import nn

from sinew.core.errors import ConfigError
from sinew.core.launch import Launch
from sinew.engine.config import Parallel
from sinew.engine.parallel import agreed, check_precision, share

CONFIG = Path(__file__).parents[2] / "config"


def test_the_launcher_may_choose_fsdp2() -> None:
    assert agreed(Launch(size=2, strategy="fsdp"), None) == "fsdp2"
    assert agreed(Launch(size=2), "fsdp2") == "fsdp2"
    assert agreed(Launch(size=2), None) is None


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_the_launcher_may_choose_a_stage_of_zero(stage: Parallel) -> None:
    assert agreed(Launch(size=2, strategy=stage), None) == stage
    assert agreed(Launch(size=2), stage) == agreed(Launch(size=2, strategy=stage), stage) == stage


def test_a_launcher_that_contradicts_the_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"told fsdp2, --optim\.parallel says ddp"):
        agreed(Launch(size=2, strategy="fsdp"), "ddp")


def test_what_is_not_done_of_deepspeed_is_refused_with_what_is() -> None:
    with pytest.raises(ConfigError, match=r"zero_stage 3, offload_param_device cpu.*deepspeed_zero3\.yaml"):
        agreed(Launch(size=2, strategy="DeepSpeed of zero_stage 3, offload_param_device cpu"), None)


@pytest.mark.parametrize("parallel", ["fsdp2", "zero2", "zero3"])
def test_shards_need_somebody_to_share_with(parallel: Parallel) -> None:
    with pytest.raises(ConfigError, match=f"{parallel}: this is one process.*torchrun"):
        share(nn.Linear(1, 1), parallel)


@pytest.mark.parametrize(("told", "precision"), [("", "bf16"), ("no", None), ("no", "fp32"), ("bf16", "bf16")])
def test_the_same_precision_twice_is_fine(told: str, precision: None) -> None:
    check_precision(Launch(precision=told), precision)


@pytest.mark.parametrize(("told", "precision"), [("bf16", None), ("no", "bf16"), ("fp16", "bf16")])
def test_another_precision_than_the_launcher_was_told_is_refused(told: str, precision: None) -> None:
    with pytest.raises(ConfigError, match=f"mixed_precision {told}"):
        check_precision(Launch(precision=told), precision)


@pytest.mark.parametrize("file", sorted(CONFIG.glob("*.yaml")), ids=lambda file: file.stem)
def test_accelerate_reads_every_file_and_starts_what_it_says(file: Path) -> None:
    told = yaml.safe_load(file.read_text())
    assert told["use_cpu"] is False  # else Accelerate 1.15 starts one process without a word
    assert told["num_processes"] % told["num_machines"] == 0
    assert told["num_processes"] > 1
    kind = {"MULTI_GPU": "", "FSDP": "fsdp", "DEEPSPEED": "deepspeed"}[told["distributed_type"]]
    assert file.stem.startswith(kind or "ddp")
    assert (told["num_machines"] > 1) == ("main_process_ip" in told)
    assert ("fsdp_config" in told, "deepspeed_config" in told) == (kind == "fsdp", kind == "deepspeed")
