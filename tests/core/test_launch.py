"""Who a process is among those that train together follows from what its launcher says, or is refused."""

from __future__ import annotations

import pytest

from sinew.core.errors import ConfigError
from sinew.core.launch import Launch, launched

PLACE = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN = {**PLACE, "TORCHELASTIC_RESTART_COUNT": "1"}


def test_without_a_launcher_a_process_is_alone() -> None:
    assert launched({"PATH": "/bin"}) == Launch() == Launch(rank=0, size=1)


def test_torchrun_says_rank_size_and_restarts() -> None:
    assert launched(TORCHRUN) == Launch(rank=3, size=4, local_rank=1, local_size=2, restarts=1)


def test_a_launcher_of_one_machine_need_not_say_local_ranks() -> None:
    found = launched({"RANK": "1", "WORLD_SIZE": "2"})
    assert (found.local_rank, found.local_size) == (1, 2)


def test_what_accelerate_was_told_is_known() -> None:
    found = launched({**TORCHRUN, "ACCELERATE_USE_FSDP": "true", "ACCELERATE_MIXED_PRECISION": "bf16"})
    assert (found.strategy, found.precision) == ("fsdp", "bf16")


def test_a_stage_of_deepspeed_is_known_and_what_is_beside_it_is_told() -> None:
    words = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
    plain = {"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "none"}
    assert launched({**words, **plain}).strategy == "zero3"
    assert "offload_param_device nvme" in launched({**words, **plain, next(iter(plain)): "nvme"}).strategy
    assert launched({"ACCELERATE_USE_DEEPSPEED": "true"}).strategy == "DeepSpeed of zero_stage none"


def test_one_process_where_accelerate_was_told_several_is_refused() -> None:
    with pytest.raises(ConfigError, match="told several processes and started one"):
        launched({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"})


@pytest.mark.parametrize(
    "words", [{"RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1", "WORLD_SIZE": "2"}]
)
def test_words_that_do_not_fit_together_are_refused(words: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"RANK=.*torchrun"):
        launched(words)


def test_cores_are_shared_by_the_processes_of_a_machine() -> None:
    assert Launch(local_size=10_000).cores == 1
    assert Launch().cores >= Launch(local_size=2).cores
