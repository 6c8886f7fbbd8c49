"""Measures the export: the same policy with onnxruntime, how fast, how large, and what becomes of a flipped bit."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import ROOT, Row

from sinew.core.config import load
from sinew.core.errors import CheckpointError
from sinew.core.types import NumpyObservation, RobotSpec, Statistics
from sinew.deploy.artefact import Manifest, open_artefact
from sinew.deploy.infer import VLAInferenceEngine
from sinew.deploy.load import checkpoint_of
from sinew.deploy.onnx import export_onnx
from sinew.deploy.parity import BATCHES, compare_policies, random_observation
from sinew.evaluate import summary
from sinew.evaluate.rates import ALL, find, rates
from sinew.models.config import HEADS, PolicyConfig, TokenVisionConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.presets import PRESETS
from sinew.presets.size import shorten
from sinew.run import RunConfig, train
from sinew.run.exporting import closed_loop

COMMAND = "python benchmarks/goes_on.py --only onnx"
RUNS = ROOT / "runs"
WORDS = ("lift", "the", "red", "thing", "push", "to", "left", "unheard")
BLOCKS, CALLS = 7, 40
FLIPS = 300


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield one row a bar."""
    runs = trained_runs()
    kinds = ["mlp"] if quick else list(HEADS)
    with tempfile.TemporaryDirectory() as place:
        for kind in kinds:
            if not quick and kind not in runs:
                runs[kind] = train_briefly(kind)
            yield from policy_rows(kind, runs.get(kind), Path(place) / kind, quick=quick)
        if not quick:
            yield tokens_row(Path(place) / "tokens")
        yield flips_row(Path(place) / "mlp")


def trained_runs() -> dict[str, Path]:
    """Return, for each action head that one was trained with, the finished run in a world that succeeds most."""
    found: dict[str, tuple[float, Path]] = {}
    for run in [run for pattern in ("*", "*/*") for run in sorted(RUNS.glob(pattern))]:
        if not (run / "evaluation.json").exists():
            continue
        config = load(RunConfig, run / "config.json")
        rate = find(rates([summary.load(run / "evaluation.json").cells]), ALL)
        if config.env is not None and rate is not None:
            kind = config.policy.head.kind
            found[kind] = max(found.get(kind, (-1.0, run)), (rate.rate, run))
    return {kind: run for kind, (_, run) in found.items()}


def train_briefly(kind: str) -> Path:
    """Return a run with that head: minutes of training, enough to succeed now and then."""
    config = shorten(PRESETS["tabletop"]("small"))
    policy = dataclasses.replace(config.policy, head=HEADS[kind]())
    changed = dataclasses.replace(config, name=f"export-{kind}", policy=policy)
    return train(changed, root=RUNS / "goes_on", command=COMMAND)[0]


def policy_rows(kind: str, run: Path | None, place: Path, *, quick: bool) -> Iterator[Row]:
    """Yield parity, closed loop, speed and size of one head, trained where there is a run."""
    policy = random_policy(HEADS[kind]()) if run is None else VLAPolicy.from_pretrained(checkpoint_of(run))
    what = f"{kind} head, {'random weights' if run is None else 'trained'}"
    start = time.process_time()
    export_onnx(policy, place, source={})
    seconds = time.process_time() - start
    engine = VLAInferenceEngine(place)
    yield parity_row(what, policy, engine)
    if run is not None:
        episodes = 40 if quick else 200
        yield closed_row(f"ONNX against torch in closed loop, {what}", "<= 2 of 200", policy, engine, run, episodes)
        alone = OneByOne(policy, engine.manifest)
        yield closed_row(f"torch against torch, batched otherwise, {what}", "", policy, alone, run, episodes)
    yield speed_row(what, policy, engine)
    size = sum(file.stat().st_size for file in place.iterdir())
    weights = 4 * sum(value.numel() for value in policy.parameters())
    note = f"{seconds:.1f} CPU-seconds to export, {100 * size / weights:.0f} % of the weights"
    yield Row(f"size of the artefact, {what}", round(size / 1e6, 2), "MB", command=COMMAND, note=note)


def parity_row(what: str, policy: VLAPolicy, engine: VLAInferenceEngine) -> Row:
    """Return the largest relative error over actions and points at every number of rows, on three draws of inputs."""
    words = [*WORDS, *sorted(policy.tokenizer.get_vocab())]
    draws = [compare_policies(policy, engine, engine.manifest, words, seed=seed) for seed in range(3)]
    worst = max(item.worst for draw in draws for item in draw)
    title = f"ONNX against torch, {what}: largest relative error at B = {', '.join(map(str, BATCHES))}"
    return Row(title, worst, "", bar="<= 1e-5", ok=worst <= 1e-5, n=3 * len(BATCHES), command=COMMAND)


class OneByOne:
    """The same policy asked for one row at a time; what differs is how sums are rounded.

    Args:
        policy: as trained.
        manifest: of the artefact it stands in for.
    """

    def __init__(self, policy: VLAPolicy, manifest: Manifest) -> None:
        self.policy, self.manifest, self.spec = policy, manifest, policy.spec

    def predict_action_chunk(
        self, obs: NumpyObservation, noise: np.ndarray[Any, np.dtype[np.float32]] | None = None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return chunks (B, H, A)."""
        chunks: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        for row, words in enumerate(obs.instruction):
            part = slice(row, row + 1)
            images = {name: view[part] for name, view in obs.images.items()}
            one = NumpyObservation(images, obs.state[part], (words,))
            chunks.append(self.policy.predict_action_chunk(one, None if noise is None else noise[part]))
        return np.concatenate(chunks)


def closed_row(
    what: str, bar: str, policy: VLAPolicy, other: VLAInferenceEngine | OneByOne, run: Path, episodes: int
) -> Row:
    """Return how many episodes from the same states with the same noise end differently."""
    found = closed_loop(policy, other, load(RunConfig, run / "config.json"), episodes=episodes)
    discordant = found.only_first + found.only_second
    rates = [100 * (found.both + only) / found.n for only in (found.only_first, found.only_second)]
    return Row(
        f"{what}: discordant pairs",
        discordant,
        f"of {found.n}",
        bar=bar,
        ok=discordant <= 0.01 * found.n if bar else None,
        n=found.n,
        command=COMMAND,
        note=f"success {rates[0]:.1f} and {rates[1]:.1f} %",
    )


def speed_row(what: str, policy: VLAPolicy, engine: VLAInferenceEngine) -> Row:
    """Return CPU time of onnxruntime over torch for one observation, words and checks included, one thread each."""
    random = np.random.default_rng(0)
    obs = random_observation(engine.manifest, WORDS, 1, random)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    ratios: list[float] = []
    for _ in range(BLOCKS):
        times = [time_calls(side, obs) for side in (policy, engine)]
        ratios.append(times[1] / times[0])
    torch.set_num_threads(before)
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    return Row(
        f"CPU time of one prediction, onnxruntime / torch, {what}",
        round(middle, 3),
        "",
        n=BLOCKS,
        low=round(low, 3),
        high=round(high, 3),
        command=COMMAND,
        note=f"B = 1, one thread, {BLOCKS} interleaved blocks of {CALLS} calls; the interval is their range",
    )


def time_calls(policy: VLAPolicy | VLAInferenceEngine, obs: NumpyObservation) -> float:
    """Return CPU seconds of some predictions, after a first one."""
    policy.predict_action_chunk(obs)
    start = time.process_time()
    for _ in range(CALLS):
        policy.predict_action_chunk(obs)
    return time.process_time() - start


def tokens_row(place: Path) -> Row:
    """Return the parity of the other vision encoder, with history."""
    config = dataclasses.replace(PolicyConfig(vision=TokenVisionConfig(), history=2), head=HEADS["flow"]())
    policy = random_policy(config.head, config)
    export_onnx(policy, place, source={})
    return parity_row("flow head on patch tokens with history 2, random weights", policy, VLAInferenceEngine(place))


def flips_row(path: Path) -> Row:
    """Return how many artefacts with one flipped bit were refused."""
    random = np.random.default_rng(0)
    broken = path.with_name("broken")
    shutil.copytree(path, broken)
    files = sorted(broken.iterdir())
    refused = sum(refuses_flip(broken, files[int(random.integers(len(files)))], random) for _ in range(FLIPS))
    return Row(
        "artefacts with one flipped bit that were refused",
        refused,
        f"of {FLIPS}",
        bar="all",
        ok=refused == FLIPS,
        n=FLIPS,
        command=COMMAND,
    )


def refuses_flip(directory: Path, file: Path, random: np.random.Generator) -> bool:
    """Flip a random bit of a file, say whether the artefact is refused, and mend it."""
    content = file.read_bytes()
    changed = bytearray(content)
    changed[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
    file.write_bytes(bytes(changed))
    try:
        found: Manifest | None = open_artefact(directory)
    except CheckpointError:
        found = None
    file.write_bytes(content)
    return found is None


def random_policy(head: object, config: PolicyConfig | None = None) -> VLAPolicy:
    """Return a policy of the preset's size with random weights and plausible statistics."""
    torch.manual_seed(0)
    preset = PRESETS["tabletop"]("small")
    spec: RobotSpec = preset.world.build(1).spec
    wanted = dataclasses.replace(config or preset.policy, head=head, grounding=preset.policy.grounding)
    policy = VLAPolicy(wanted, spec, train_tokenizer([" ".join(WORDS[:-1])]))
    half = (np.asarray(spec.high) - np.asarray(spec.low)) / 4
    named = {f"targets.{name}": np.full(size, 0.1) for name, size in wanted.grounding.points}
    spreads = {"action": half, "state": np.full(spec.state_size, 0.1), **named}
    policy.fit_normalizer({name: centred(spread.astype(np.float32)) for name, spread in spreads.items()})
    return policy.eval()


def centred(spread: np.ndarray) -> Statistics:
    """Return statistics around 0."""
    return Statistics(0 * spread, spread, -spread, spread, -spread, spread, 100)
