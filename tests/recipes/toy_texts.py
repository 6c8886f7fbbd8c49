"""Conversations about a square on grey: what colour it has and how bright it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.small_vlm import LANGUAGE
from sinew.core.chat import Turn
from sinew.data.config import TextConfig
from sinew.data.formats.image_text import ImageText
from sinew.data.formats.llava import Llava
from sinew.data.text_ingest import open_text
from sinew.data.text_store import TextStore
from sinew.engine.config import OptimConfig
from sinew.models.vlm import VLM
from sinew.models.vlm_config import StemConfig, VlmConfig
from sinew.recipes.config import PretrainConfig
from sinew.recipes.pretrain import Pretraining

COLOURS = {"red": 0, "green": 1, "blue": 2}
LEVELS = {"dark": 90, "light": 220}
TEXTS = ("describe it", "what colour ?", "how bright ?", *COLOURS, *LEVELS)
CONFIG = VlmConfig(vision=StemConfig(image=16, patch=8, width=24, layers=1, heads=2), language=LANGUAGE, max_tokens=64)
OPTIM = OptimConfig(lr=1e-2, weight_decay=0.0, ema=0.0)


def record(number: int) -> ImageText:
    colour, level = list(COLOURS)[number % 3], list(LEVELS)[number // 3 % 2]
    image = np.full((3, 16, 16), 100 + number % 7, np.uint8)
    image[:, 4:12, 4:12] = 0
    image[COLOURS[colour], 4:12, 4:12] = LEVELS[level]
    said = ("<image>\ndescribe it", f"{level} {colour}", "what colour ?", colour, "how bright ?", level)
    turns = tuple(Turn("gpt" if place % 2 else "human", text) for place, text in enumerate(said))
    return ImageText(f"toy/{number}", (image,), turns)


def write_texts(path: Path, count: int = 24) -> Path:
    Llava.write(path, map(record, range(count)))
    return path


def toy_store(path: Path) -> TextStore:
    if not (path / "set").exists():
        write_texts(path / "set")
    return open_text(path / "set", into=path, config=TextConfig(image_size=(16, 16), storage="raw"))


def toy_vlm(seed: int = 0) -> VLM:
    torch.manual_seed(seed)
    return VLM.build(CONFIG, TEXTS)


def pretraining(
    path: Path, updates: int, config: PretrainConfig, *, seed: int = 0, vlm: VLM | None = None
) -> Pretraining:
    return Pretraining(vlm or toy_vlm(seed), toy_store(path), config, OPTIM, updates=updates, seed=seed)
