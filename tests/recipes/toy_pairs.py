"""Robot windows of the line world beside conversations about squares, for a policy around a tiny model."""

from __future__ import annotations

from pathlib import Path

import torch

from recipes.toy_texts import TEXTS, toy_store, toy_vlm
from sinew.data.stats import statistics
from sinew.data.store import Store
from sinew.data.text_lessons import TextLessons
from sinew.data.windows import Windows
from sinew.engine.config import OptimConfig
from sinew.models.config import FlowHeadConfig, GroundingConfig, PolicyConfig
from sinew.models.policy import VLAPolicy
from sinew.models.speaking import embodied, learn_words, speaker_of
from sinew.recipes.bc import BehaviourCloning
from sinew.recipes.config import BcConfig, CotrainConfig
from sinew.recipes.cotrain import CoTraining
from toy import ToyConfig

SPEC = ToyConfig(size=8).spec
POLICY = PolicyConfig(head=FlowHeadConfig(width=16, layers=1, expert="joint"), horizon=3)
COTRAIN = CotrainConfig(robot=BcConfig(batch=8), ratio=0.5, apart=1, balance="answer")
WORDS = ("go left", "go right")
__all__ = ["COTRAIN", "POLICY", "SPEC", "TEXTS", "WORDS", "body", "cotraining"]


def body(seed: int = 0, config: PolicyConfig = POLICY, *, store: Store | None = None) -> VLAPolicy:
    """Return a policy around a tiny model that knows the words of both."""
    vlm = toy_vlm(seed)
    learn_words(vlm, WORDS)
    policy = embodied(vlm, config, SPEC)
    if store is not None:
        policy.fit_normalizer(statistics([store]))
    return policy


def cotraining(
    store: Store, path: Path, updates: int, *, seed: int = 0, device: str = "cpu", config: CotrainConfig = COTRAIN
) -> CoTraining:
    """Return co-training on both, the conversations below ``path``."""
    grounded = PolicyConfig(head=POLICY.head, horizon=3, grounding=GroundingConfig(points=(("goal", 1),)))
    policy = body(seed, grounded, store=store).to(device)
    inner = BehaviourCloning(
        policy,
        Windows([store], history=1, horizon=3),
        config.robot,
        OptimConfig(lr=3e-3, ema=0.9, clip=0.0),
        updates=updates,
        seed=seed,
        device=torch.device(device),
    )
    vlm = speaker_of(policy)
    texts = TextLessons(
        toy_store(path), vlm.chat(), config, max_tokens=vlm.config.max_tokens, pad=vlm.speech.pad, seed=seed
    )
    return CoTraining(inner, vlm, texts, ratio=config.ratio, batch=config.robot.batch, weight=config.weight, seed=seed)
