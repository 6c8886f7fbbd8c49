"""Settings of networks that look through convolutions; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CellsConfig:
    """Every cell of every camera's map is a token with its place, and so is the state: the scene of ACT (Zhao 2023).

    Attributes:
        words: the sentence is a token, too.
        size: (h, w) that images are resized to [px]; None takes them as they are.
        crop: (h, w) cut out of them [px], in training somewhere, else in the middle; None cuts nothing.
        separate: each camera has a network of its own.
    """

    kind: Literal["cells"] = "cells"
    words: bool = True
    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    separate: bool = False


@dataclass(frozen=True)
class KeypointsConfig:
    """Where learned channels look in every image, and the state, in one token: Diffusion Policy's (Chi 2023).

    Attributes:
        keypoints: channels, each with one place per image.
        words: the sentence is added.
        size: (h, w) that images are resized to [px]; None takes them as they are.
        crop: (h, w) cut out of them [px], in training somewhere, else in the middle; None cuts nothing.
        separate: each camera has a network of its own.
    """

    kind: Literal["keypoints"] = "keypoints"
    keypoints: int = 32
    words: bool = True
    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    separate: bool = False


AnyVisuomotorConfig = CellsConfig | KeypointsConfig
VISUOMOTOR: dict[str, type[AnyVisuomotorConfig]] = {"cells": CellsConfig, "keypoints": KeypointsConfig}
