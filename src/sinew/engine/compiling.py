"""Translates networks with torch.compile, and says from how many updates on that pays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from sinew.core.errors import ConfigError
from sinew.core.types import Recipe
from sinew.engine import rng
from sinew.engine.codec import decode, encode

BatchT = TypeVar("BatchT")
TIMED = 3


def compile_recipe(recipe: Recipe[BatchT], batch: BatchT, backend: str, note: Callable[[str], None]) -> None:
    """Translate the children of every module that a recipe trains, where they stand.

    Both ways are timed on one batch; then the recipe, and every random generator, is as it was before. Averaged
    weights, which act, are not translated: they meet other sizes of batches.

    Args:
        recipe: about to learn.
        batch: for it.
        backend: of torch.compile.
        note: told what translating took, what an update takes before and after, and when that is even.

    Raises:
        ConfigError: there is no such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise ConfigError(f"--loop.compile {backend}: this torch knows {', '.join(known)}.")
    before = decode(*encode(recipe.state_dict()))
    with rng.kept():
        _seconds(recipe, batch)
        plain = statistics.median(_seconds(recipe, batch) for _ in range(TIMED))
        for module in recipe.modules.values():
            _compile_children(module, backend)
        first = _seconds(recipe, batch) + _seconds(recipe, batch)  # the second meets what the first could not know
        translated = statistics.median(_seconds(recipe, batch) for _ in range(TIMED))
    recipe.load_state_dict(before)
    note(verdict(max(0.0, first - 2 * translated), plain, translated))


def verdict(took_s: float, plain_s: float, translated_s: float) -> str:
    """Return in a sentence when translating has paid for itself."""
    times = (
        f"translating took {took_s:.1f} s; an update takes {1000 * translated_s:.1f} ms instead of {1000 * plain_s:.1f}"
    )
    if translated_s >= plain_s:
        return f"torch.compile: {times}: it does not pay here. Leave out --loop.compile."
    return f"torch.compile: {times}: it pays in runs of more than {took_s / (plain_s - translated_s):,.0f} updates."


def _compile_children(module: nn.Module, backend: str) -> None:
    for child in module.children():
        if any(True for _ in child.parameters()):
            child.compile(backend=backend)


def _seconds(recipe: Recipe[BatchT], batch: BatchT) -> float:
    """Return how long an update takes [s]."""
    began = time.perf_counter()
    metrics = recipe.update(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    del metrics
    return time.perf_counter() - began
