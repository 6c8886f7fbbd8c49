"""Nothing that a launcher was told is silently ignored."""

from __future__ import annotations

import pytest

from sinew.core.errors import ConfigError
from sinew.core.launch import Launch
from sinew.engine.parallel import agreed, check_precision


def test_the_launcher_may_choose_fsdp2() -> None:
    assert agreed(Launch(size=2, strategy="fsdp"), None) == "fsdp2"
    assert agreed(Launch(size=2), "fsdp2") == "fsdp2"
    assert agreed(Launch(size=2), None) is None


def test_a_launcher_that_contradicts_the_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"FSDP, --optim\.parallel says ddp"):
        agreed(Launch(size=2, strategy="fsdp"), "ddp")


def test_deepspeed_is_refused_with_what_to_use() -> None:
    with pytest.raises(ConfigError, match=r"fsdp2\.yaml"):
        agreed(Launch(size=2, strategy="deepspeed"), None)


@pytest.mark.parametrize(("told", "precision"), [("", "bf16"), ("no", None), ("no", "fp32"), ("bf16", "bf16")])
def test_the_same_precision_twice_is_fine(told: str, precision: None) -> None:
    check_precision(Launch(precision=told), precision)


@pytest.mark.parametrize(("told", "precision"), [("bf16", None), ("no", "bf16"), ("fp16", "bf16")])
def test_another_precision_than_the_launcher_was_told_is_refused(told: str, precision: None) -> None:
    with pytest.raises(ConfigError, match=f"mixed_precision {told}"):
        check_precision(Launch(precision=told), precision)
