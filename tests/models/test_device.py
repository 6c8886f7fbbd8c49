"""Which device a name means."""

from __future__ import annotations

import pytest

from sinew.core.errors import ConfigError
from sinew.models.device import pick_device


def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="cpu"):
        pick_device("tpu")
