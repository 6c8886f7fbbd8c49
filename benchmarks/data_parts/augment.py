"""Measures augmentation: images a CPU-second beside kornia 0.9.0, the same kinds of changes, and that labels follow."""

from __future__ import annotations

import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rows import Row

from sinew.core.types import Batch, Observation
from sinew.data.augment import Augment, augment
from sinew.data.config import AugmentConfig, PhraseConfig
from sinew.data.phrases import PROTECTED, phrase

COMMAND = "python benchmarks/data.py --only augment"
BATCH, SIDE, ROUNDS = 32, 224, 9
LIGHT = {"brightness": 0.2, "contrast": 0.2}
SETS = {
    "crop": AugmentConfig(0, 0, crop=0.2),
    "crop, brightness, contrast, saturation": AugmentConfig(**LIGHT, crop=0.2, saturation=0.2),
    "crop, brightness, contrast, saturation, hue": AugmentConfig(**LIGHT, crop=0.2, saturation=0.2, tint=0.3),
    "all: and blur, noise, patches for a fifth each": AugmentConfig(
        **LIGHT, crop=0.2, saturation=0.2, tint=0.3, blur=1.0, noise=0.05, cutout=0.3
    ),
}
SENTENCES = ("pick up the red box", "do not push the blue one", "move 2 bolts left of the second gear")


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar."""
    for name, config in SETS.items():
        row = rate_row(name, config, rounds=7 if quick else ROUNDS)
        yield replace(row, bar="", ok=None) if name == "crop" else row  # the bar is of augmentation as a whole
    yield label_row()
    yield phrase_row()


def rate_row(name: str, config: AugmentConfig, *, rounds: int) -> Row:
    """Return how many times as fast as kornia's the changes of these settings are, in CPU time, taking turns."""
    what, bar = f"augmentation, {name}, 224 px, against kornia 0.9.0", ">= 3x kornia's images a CPU-second"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = torch.randint(0, 256, (BATCH, 1, 3, SIDE, SIDE), dtype=torch.uint8)
        draws, more = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
        ours = [cpu_s(lambda: augment(images, config, draws, more)) for _ in range(2)]
        if importlib.util.find_spec("kornia") is None:
            note = f"ours: {BATCH / min(ours):.0f} images a CPU-second. pip install kornia==0.9.0 to compare"
            return Row(what, None, "x", bar=bar, command=COMMAND, note=note)
        theirs, pictures = kornia_of(config), images[:, 0].float() / 255
        cpu_s(lambda: theirs(pictures))
        pairs = [
            (cpu_s(lambda: augment(images, config, draws, more)), cpu_s(lambda: theirs(pictures)))
            for _ in range(rounds)
        ]
    finally:
        torch.set_num_threads(threads)
    ratios = sorted(slow / fast for fast, slow in pairs)
    mine, other = (BATCH / float(np.median([pair[side] for pair in pairs])) for side in (0, 1))
    value = float(np.median(ratios))
    return Row(
        what,
        round(value, 2),
        "x",
        bar=bar,
        ok=value >= 3,
        n=rounds,
        low=round(ratios[0], 2),
        high=round(ratios[-1], 2),
        command=COMMAND,
        note=f"{mine:.0f} against {other:.0f} images a CPU-second, batch {BATCH}, one thread, taking turns. Ours goes "
        "from uint8 to uint8; kornia is given floats, so its conversion is not counted. Order and formulas differ.",
    )


def kornia_of(config: AugmentConfig) -> Callable[[torch.Tensor], Any]:
    """Return kornia's changes of the same kinds and sizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kornia.augmentation as kornia
    steps: list[Any] = []
    if config.crop:
        steps.append(kornia.RandomResizedCrop((SIDE, SIDE), scale=((1 - config.crop) ** 2, 1.0), ratio=(1.0, 1.0)))
    if config.brightness:
        jitter = (config.brightness, config.contrast, config.saturation or 0.0, (config.tint or 0.0) / (2 * math.pi))
        steps.append(kornia.ColorJitter(*jitter, p=1.0))
    if config.blur:
        steps.append(kornia.RandomGaussianBlur((5, 5), (0.1, config.blur), p=0.2))
    if config.noise:
        steps.append(kornia.RandomGaussianNoise(std=config.noise / 2, p=0.2))
    if config.cutout:
        steps.append(kornia.RandomErasing(scale=(0.01, config.cutout**2), p=0.2))
    return torch.nn.Sequential(*steps)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time that a call takes [s]."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def label_row() -> Row:
    """Return how far labels in images are from what they label, after shift and crop."""
    places = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    side, axis = 64, torch.arange(64.0)
    across, along = (places.T * side - 0.5)[:, :, None]
    light = torch.exp(-((axis - across)[:, None, :] ** 2 + (axis - along)[:, :, None] ** 2) / 8)
    image = (255 * light).to(torch.uint8)[:, None, None].expand(-1, 1, 3, -1, -1).contiguous()
    obs = Observation(images={"front": image}, state=torch.zeros(400, 1, 1), instruction=("",) * 400)
    chunk = torch.zeros(400, 1, 1)
    batch = Batch(obs, chunk, chunk[..., 0] > 0, torch.ones(400), {"image.dot": places})
    found = Augment(AugmentConfig(0, 0, shift=6, crop=0.3))(batch, torch.Generator().manual_seed(0), seed=0)
    shown, label = found.obs.images["front"][:, 0].float().mean(dim=1), found.targets["image.dot"]
    shown = shown / shown.sum(dim=(1, 2), keepdim=True)
    seen = torch.stack(
        [(shown.sum(dim=1) * (axis + 0.5)).sum(dim=1), (shown.sum(dim=2) * (axis + 0.5)).sum(dim=1)], dim=1
    )
    inside = ((label > 0.2) & (label < 0.8)).all(dim=1)
    off = float((seen - side * label)[inside].abs().max())
    return Row(
        "labels in images after shift and crop, largest distance from what they label",
        round(off, 3),
        "px",
        bar="<= 0.5 px",
        ok=off <= 0.5,
        n=int(inside.sum()),
        command=COMMAND,
    )


def phrase_row() -> Row:
    """Return how many of many rephrased sentences lost or gained a protected word."""
    config, trials, broken = PhraseConfig(synonym=1, template=0.5, insert=0.5, delete=0.5), 20_000, 0
    begun = time.process_time()
    for number in range(trials):
        sentence = SENTENCES[number % len(SENTENCES)]
        text = phrase(sentence, config, (0, number))
        kept, wanted = ([word for word in one.split() if word in PROTECTED - {"up"}] for one in (text, sentence))
        broken += kept != wanted
    rate = trials / (time.process_time() - begun)
    return Row(
        "rephrased instructions that lose or gain a colour, number, direction or negation",
        broken,
        "",
        bar="0",
        ok=broken == 0,
        n=trials,
        command=COMMAND,
        note=f"{rate:.0f} sentences a CPU-second",
    )
