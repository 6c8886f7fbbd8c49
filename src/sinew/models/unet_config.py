"""Sizes of a U-Net along time; light to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnetConfig:
    """The U-Net of Diffusion Policy, where its sizes do not follow from the head's width and layers.

    Attributes:
        channels: of each level; all but the last halve the steps.
        kernel: steps that a convolution sees. groups: of the norms.
        time: numbers that say how noisy the chunk is.
        scale: the condition scales channels as well as shifting them.
    """

    channels: tuple[int, ...] = (512, 1024, 2048)
    kernel: int = 5
    groups: int = 8
    time: int = 128
    scale: bool = True
