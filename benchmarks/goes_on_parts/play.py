"""Measures playing: the page in a real browser, how fast pictures are drawn, and sentences said one after another."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rows import ROOT, Row

from sinew.envs.tabletop.config import TabletopConfig
from sinew.evaluate.intervals import wilson
from sinew.run.play.cast import cast, cast_run
from sinew.run.play.encoding import jpeg
from sinew.run.play.game import Game

COMMAND = "python benchmarks/goes_on.py --only play"
BROWSER = "python -m pytest tests/e2e/test_play.py"
SIDE = 480
LEAST_HZ = 10.0


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar."""
    yield browser_row()
    yield rate_row(10 if quick else 60)
    yield ratio_row(7 if quick else 21)
    yield chain_row(5 if quick else 50)


def browser_row() -> Row:
    """Return how many of the browser's tests passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "tests/e2e/test_play.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)}
    skipped = counts.get("skipped", 0) > 0
    return Row(
        "play --web in headless Chromium: tests passed",
        None if skipped else counts.get("passed", 0),
        "",
        bar="sentence typed, object lifted, object dragged, no console error",
        ok=None if skipped else done.returncode == 0,
        n=sum(counts.values()),
        command=BROWSER,
        note="no browser here" if skipped else "the scripted expert plays, so that lifting is certain",
    )


def rate_row(ticks: int) -> Row:
    """Return frames a second that one core can draw, send and step, in CPU time."""
    game = Game(cast(TabletopConfig(), None, name="expert"), seed=1)
    game.env.sketch(0, SIDE)
    costs: list[float] = []
    for _ in range(ticks):
        if game.phase != "acting":
            game.say(game.ideas[0])
        start = time.process_time()
        game.tick()
        jpeg(game.env.sketch(0, SIDE))
        costs.append(time.process_time() - start)
    rate = 1.0 / statistics.median(costs)
    return Row(
        f"play --web: frames of {SIDE} px a second of one core, tick and JPEG included",
        round(rate, 1),
        "1/s",
        bar=f">= {LEAST_HZ:g}",
        ok=rate >= LEAST_HZ,
        n=ticks,
        command=COMMAND,
        note="CPU time, median; where cores are shared the page takes smaller pictures or leaves some out",
    )


def ratio_row(pairs: int) -> Row:
    """Return what a sketch costs in terms of a fine picture, in interleaved runs."""
    env = TabletopConfig().build(1)
    env.reset(["seen/lift/3"])

    def cost(draw: Callable[[int, int], object]) -> float:
        start = time.process_time()
        draw(0, SIDE)
        return time.process_time() - start

    cost(env.picture), cost(env.sketch)  # the first ones prepare the room
    ratios = [cost(env.sketch) / cost(env.picture) for _ in range(pairs)]
    difference = np.abs(env.sketch(0, SIDE).astype(int) - env.picture(0, SIDE)).mean()
    return Row(
        "a sketch's CPU time over a fine picture's",
        round(statistics.median(ratios), 2),
        "",
        low=round(min(ratios), 2),
        high=round(max(ratios), 2),
        n=pairs,
        command=COMMAND,
        note=f"median, lowest and highest; mean difference {difference:.2f} of 255",
    )


def chain_row(scenes: int) -> Row:
    """Return how often a trained policy does what is said, four sentences in a row in every scene, without a reset."""
    what = "sentences said one after another in one scene: done"
    run = trained_run()
    if run is None:
        return Row(what, None, "%", command=COMMAND, note="no trained run under runs/")
    game = Game(cast_run(run, policy="trained", device="cpu", shield=False, limits=None), seed=5)
    random = np.random.default_rng(0)
    done: list[bool] = []
    for _ in range(scenes):
        game.scene()
        for _ in range(4):
            game.say(game.ideas[int(random.integers(min(12, len(game.ideas))))])
            while game.phase == "acting":
                game.tick()
            done.append(game.phase == "success")
    low, high = wilson(sum(done), len(done))
    return Row(
        what,
        round(100 * sum(done) / len(done), 1),
        "%",
        low=round(100 * low, 1),
        high=round(100 * high, 1),
        n=len(done),
        command=COMMAND,
        note=f"{run.name}, seed 5; the robot makes itself ready in between",
    )


def trained_run() -> Path | None:
    """Return the newest finished run that learned from the world's own demonstrations."""
    found = [path.parent for depth in ("*", "*/*") for path in ROOT.glob(f"runs/{depth}/state.json")]
    found = [path for path in found if re.fullmatch(r"tabletop-[0-9a-f]{8}", path.name)]
    found = [path for path in found if (path / "checkpoints" / "last" / "model.safetensors").exists()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
