"""Measures what a step of ``VLAPolicy`` costs against the same network written by hand, here, in one file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from rows import Row
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from sinew.core.types import Batch, Observation, Statistics
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.robot import robot_spec
from sinew.models.config import LanguageConfig, MlpHeadConfig, PolicyConfig
from sinew.models.encoder_config import (
    SiglipConfig,
    TransformerFusionConfig,
    VitSizes,
)
from sinew.models.policy import VLAPolicy
from sinew.models.projector_config import MlpProjectorConfig
from sinew.models.text_encoders import tokenizer_of

COMMAND = "python benchmarks/models.py --only step"
ROWS, ROUNDS, STEPS = 32, 9, 4
SENTENCES = ("reach for the red one", "lift the left thing", "put the blue one into the tray")
CONFIG = PolicyConfig(
    vision=SiglipConfig(random=VitSizes(image=64, patch=8, width=96, layers=3, heads=4)),
    language=LanguageConfig(width=64, layers=2, heads=4),
    projector=MlpProjectorConfig(),
    fusion=TransformerFusionConfig(layers=2, heads=4, readouts=1),
    head=MlpHeadConfig(hidden=(256, 256)),
    width=128,
)
Weights = Mapping[str, Tensor]


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (the signature that all parts share)
    """Yield CPU time and aten calls, ours through theirs, after both gave the same loss."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        policy, batch = ours(), lesson()
        loops = [steps_of(*by_policy(policy, batch)), steps_of(*by_hand(policy, batch))]
        first = [float(next(loop)) for loop in loops]
        if abs(first[0] - first[1]) > 1e-5:
            raise SystemExit(f"not the same network: losses {first}")
        calls = [counted(loop) for loop in loops]
        pairs = [
            [spent(loop) for loop in (loops if turn % 2 else loops[::-1])] for turn in range(7 if quick else ROUNDS)
        ]
    finally:
        torch.set_num_threads(threads)
    ratios = sorted(pair[0] / pair[1] if turn % 2 else pair[1] / pair[0] for turn, pair in enumerate(pairs))
    median = float(np.median(ratios))
    what = "a step of VLAPolicy (SigLIP, mlp, transformer, mlp) against the same network by hand"
    yield Row(
        f"{what}, CPU time",
        round(median, 3),
        "x",
        bar="<= 1.05x",
        ok=median <= 1.05,
        n=len(ratios),
        low=round(ratios[0], 3),
        high=round(ratios[-1], 3),
        command=COMMAND,
        note=f"{STEPS} steps of {ROWS} rows a round, taking turns; losses equal to {abs(first[0] - first[1]):.0e}",
    )
    ratio = calls[0] / calls[1]
    yield Row(f"{what}, aten calls", round(ratio, 3), "x", bar="<= 1.05x", ok=ratio <= 1.05, command=COMMAND,
              note=f"{calls[0]} against {calls[1]} a step")  # fmt: skip


class Count(TorchDispatchMode):
    """Counts aten calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Count and go on."""
        self.calls += 1
        return function(*args, **(kwargs or {}))


def ours() -> VLAPolicy:
    """Return a seeded policy with statistics."""
    torch.manual_seed(0)
    spec = robot_spec(TabletopConfig())
    policy = VLAPolicy(CONFIG, spec, tokenizer_of(CONFIG.language, SENTENCES))
    sizes = {"state": spec.state_size, "action": spec.action_size}
    one = {name: np.ones(size, np.float32) for name, size in sizes.items()}
    policy.fit_normalizer({name: Statistics(0.1 * x, 0.5 * x, -x, x, -x, x, 10) for name, x in one.items()})
    return policy


def lesson() -> Batch[Tensor]:
    """Return a seeded batch."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (ROWS, 1, 3, 64, 64), dtype=torch.uint8, generator=random)
    obs = Observation(
        {"front": images}, torch.randn(ROWS, 1, 10, generator=random), tuple(SENTENCES[row % 3] for row in range(ROWS))
    )
    actions = torch.rand(ROWS, 4, 4, generator=random).round(decimals=1)
    is_pad = torch.zeros(ROWS, 4, dtype=torch.bool)
    is_pad[:4, 3] = True
    return Batch(obs, actions, is_pad, torch.ones(ROWS))


def by_policy(policy: VLAPolicy, batch: Batch[Tensor]) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Return the loss of the policy as a recipe asks for it, and what is trained."""
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    return lambda: policy.losses(batch)["action"].mean(), parameters


def by_hand(policy: VLAPolicy, batch: Batch[Tensor]) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Return the loss of a bare function of tensors with the same weights, and what is trained."""
    weights = {name: value.detach().clone() for name, value in policy.state_dict().items()}
    trained = {name for name, value in policy.named_parameters() if value.requires_grad}
    for name in trained:
        weights[name].requires_grad_()
    known = {text: torch.tensor(policy.tokenizer.encode(text).ids) for text in SENTENCES}

    def loss() -> Tensor:
        ids = torch.nn.utils.rnn.pad_sequence([known[text] for text in batch.obs.instruction], batch_first=True)
        raw = network(weights, batch.obs.images["front"][:, 0], ids, batch.obs.state[:, 0])
        wanted = (batch.actions - weights["normalizer.action_mean"]) / weights["normalizer.action_std"]
        logit = functional.binary_cross_entropy_with_logits(raw, (wanted > 0.5).float(), reduction="none")
        two_valued = torch.arange(4) == 3
        terms = torch.where(two_valued, 0.3 * logit, (raw - wanted).abs()).mean(-1)
        keep = (~batch.is_pad).float()
        return ((terms * keep).sum(-1) / keep.sum(-1)).mean()

    return loss, [weights[name] for name in dict(policy.named_parameters()) if name in trained]


def network(w: Weights, images: Tensor, ids: Tensor, state: Tensor) -> Tensor:
    """Return raw chunks (B, 4, 4) of images (B, 3, 64, 64) uint8, words (B, N) and state (B, 10)."""
    mask = ids != 0
    words = (
        functional.embedding(ids, w["network.language.embed.weight"]) + w["network.language.position"][: ids.shape[1]]
    )
    for layer in range(2):
        words = block(w, f"network.language.blocks.{layer}", words, mask)
    words = norm(w, "network.language.norm", words)
    seen = siglip(w, images)
    numbers = (state - w["normalizer.state_mean"]) / w["normalizer.state_std"]
    waves = linear(w, "network.coordinates.project", numbers).sin()
    felt = linear(w, "network.tell", torch.cat([numbers, waves], -1))[:, None]
    seen = linear(w, "network.project.layers.2", functional.gelu(linear(w, "network.project.layers.0", seen)))
    seen = seen + w["network.view"][0] + w["network.fusion.kinds"][0]
    said = linear(w, "network.say", words) + w["network.fusion.kinds"][1]
    readout = w["network.fusion.readouts"].expand(len(ids), -1, -1)
    tokens = torch.cat([seen, said, felt, readout], 1)
    real = torch.cat([mask.new_ones(len(ids), seen.shape[1]), mask, mask.new_ones(len(ids), 2)], 1)
    last = torch.arange(tokens.shape[1]) == tokens.shape[1] - 1
    for layer in range(2):
        tokens = block(w, f"network.fusion.blocks.{layer}", tokens, real[:, None, :] & (last[:, None] | ~last))
    hidden = norm(w, "network.fusion.norm", tokens[:, -1:])[:, 0]
    for layer in (0, 2):
        hidden = functional.gelu(linear(w, f"head.net.{layer}", hidden))
    return linear(w, "head.net.4", hidden).unflatten(-1, (4, 4))


def siglip(w: Weights, images: Tensor) -> Tensor:
    """Return patch tokens (B, 64, 96)."""
    at = "network.vision.model"
    pixels = images.float() * w["network.vision.preprocess.scale"] - w["network.vision.preprocess.shift"]
    patches = functional.conv2d(
        pixels, w[f"{at}.embeddings.patch_embedding.weight"], w[f"{at}.embeddings.patch_embedding.bias"], stride=8
    )
    tokens = patches.flatten(2).transpose(1, 2) + w[f"{at}.embeddings.position_embedding.weight"]
    for layer in range(3):
        here = f"{at}.encoder.layers.{layer}"
        rest = norm(w, f"{here}.layer_norm1", tokens, 1e-6)
        heads = [
            linear(w, f"{here}.self_attn.{name}_proj", rest).unflatten(-1, (4, -1)).transpose(1, 2) for name in "qkv"
        ]
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        tokens = tokens + linear(w, f"{here}.self_attn.out_proj", mixed)
        rest = linear(w, f"{here}.mlp.fc1", norm(w, f"{here}.layer_norm2", tokens, 1e-6))
        tokens = tokens + linear(w, f"{here}.mlp.fc2", functional.gelu(rest, approximate="tanh"))
    return norm(w, f"{at}.post_layernorm", tokens, 1e-6)


def block(w: Weights, name: str, tokens: Tensor, mask: Tensor) -> Tensor:
    """Return what a pre-norm transformer block makes of tokens (B, N, D)."""
    query, key, value = (
        linear(w, f"{name}.qkv", norm(w, f"{name}.norm", tokens)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
    )
    allowed = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    tokens = tokens + linear(w, f"{name}.out", mixed.transpose(1, 2).flatten(2))
    hidden = functional.gelu(linear(w, f"{name}.mlp.1", norm(w, f"{name}.mlp.0", tokens)))
    return tokens + linear(w, f"{name}.mlp.3", hidden)


def linear(w: Weights, name: str, values: Tensor) -> Tensor:
    """Return an affine map of values."""
    return functional.linear(values, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(w: Weights, name: str, values: Tensor, eps: float = 1e-5) -> Tensor:
    """Return values normalised over their last axis."""
    return functional.layer_norm(values, values.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def steps_of(loss_of: Callable[[], Tensor], parameters: list[Tensor]) -> Iterator[Tensor]:
    """Yield the loss of every step of AdamW."""
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    while True:
        loss = loss_of()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        yield loss.detach()


def counted(loop: Iterator[Tensor]) -> int:
    """Return the aten calls of a step."""
    next(loop)
    with Count() as count:
        next(loop)
    return count.calls


def spent(loop: Iterator[Tensor]) -> float:
    """Return the CPU time of some steps [s]."""
    start = time.process_time()
    for _ in range(STEPS):
        next(loop)
    return time.process_time() - start
