"""The U-Net along time: what it takes, what it refuses, and that condition and noise level reach every step."""

from __future__ import annotations

import pytest
import torch

from sinew.core.errors import ConfigError
from sinew.models.unet import ChunkUnet


def small(**changed: object) -> ChunkUnet:
    """Return a small network with random weights."""
    torch.manual_seed(0)
    return ChunkUnet(3, 5, **{"channels": (8, 16), "groups": 4, "time": 8, "kernel": 3, **changed})


@pytest.mark.parametrize("scale", [True, False])
def test_every_step_hears_condition_and_noise_level(scale: bool) -> None:
    net, chunk = small(scale=scale), torch.randn(2, 8, 3)
    plain = net(chunk, torch.tensor([3, 3]), torch.zeros(2, 5))
    assert plain.shape == chunk.shape
    later = net(chunk, torch.tensor([3, 40]), torch.zeros(2, 5))
    told = net(chunk, torch.tensor([3, 3]), torch.tensor([[0.0] * 5, [1.0] * 5]))
    for other in (later, told):
        torch.testing.assert_close(other[0], plain[0])
        assert ((other[1] - plain[1]).abs().amax(dim=-1) > 1e-6).all()


def test_a_chunk_that_cannot_be_halved_is_refused_with_a_length_that_can() -> None:
    with pytest.raises(
        ConfigError, match=r"6 steps cannot be halved 2 times.*multiple of 4, or --policy.head.layers 2 at most"
    ):
        small(channels=(8, 16, 16))(torch.randn(1, 6, 3), torch.zeros(1), torch.zeros(1, 5))


@pytest.mark.parametrize("channels", [(12, 16), (8, 18)])
def test_channels_that_do_not_fit_the_norms_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="multiple of"):
        small(channels=channels)


def test_runs_on_the_meta_device() -> None:
    net = small().to("meta")
    arguments = (torch.randn(2, 8, 3), torch.zeros(2), torch.zeros(2, 5))
    assert net(*(value.to("meta") for value in arguments)).device.type == "meta"
