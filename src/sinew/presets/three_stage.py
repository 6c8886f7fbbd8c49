"""The three-stage recipe: a vision-language model is aligned, co-trained with a robot, and specialised on it."""

from __future__ import annotations

import dataclasses

from sinew.data.config import CollectConfig, DataConfig
from sinew.engine.config import LoopConfig, OptimConfig
from sinew.evaluate.config import EvaluateConfig
from sinew.models.config import FlowHeadConfig, GroundingConfig, LanguageConfig, PolicyConfig
from sinew.models.encoder_config import LmFusionConfig, SiglipConfig
from sinew.models.vlm_config import CausalConfig, VlmConfig
from sinew.presets import vlm as taught
from sinew.presets.size import Size, sized_optim
from sinew.recipes.config import BcConfig, CotrainConfig, PretrainConfig
from sinew.run import RunConfig
from sinew.run.stages import Stage, TextsConfig

STILL = {"network.language": 0.0, "network.vision": 0.0, "network.project": 0.0}
"""The model as it is: only what is new learns."""


def preset(size: Size = "small") -> RunConfig:
    """Give a vision-language model a body in three stages: align, co-train with conversations, specialise.

    Expected: 70 % of unseen states (touch 95, lift 83, place 62, push 41; one seed), questions answered as before.
    Time: 25 CPU-minutes, 6 more to evaluate; `--init RUN` of sinew train vlm leaves out the first 9.
    """
    return pretrained() if size == "large" else from_nothing(size)


def from_nothing(size: Size) -> RunConfig:
    """Return the run in the embedded world, the stages of preset vlm first."""
    base, lr = taught.preset(size), sized_optim(size).lr
    assert base.vlm is not None
    stages = (*(base.stages or ()), *body_stages(lr))
    width = base.vlm.language.width
    return dataclasses.replace(
        base,
        name="vla-three-stage",
        collect=CollectConfig(episodes=2400, mix={"touch": 1, "lift": 2, "place": 4, "push": 6}, stills=12_000),
        policy=PolicyConfig(
            fusion=LmFusionConfig(),
            head=FlowHeadConfig(width=width, expert="joint", feels=True),
            grounding=GroundingConfig(points=(("target", 3), ("goal", 2))),
            width=width,
        ),
        recipe=BcConfig(),
        texts=TextsConfig(exam=100, blind=0),
        stages=stages,
        loop=LoopConfig(updates=sum(stage.updates for stage in stages), eval_at=()),
    )


def body_stages(lr: float) -> tuple[Stage, ...]:
    """Return the second and the third stage; ``lr`` is that of a policy of the same size."""
    gently = {"network.language": 0.2, "network.vision": 0.5, "network.project": 0.2}
    learn = OptimConfig(lr=lr / 2, weight_decay=0.01, warmup=0.05, final=0.1, ema=0.0, parts=gently)
    web = CotrainConfig(robot=BcConfig(batch=64), ratio=0.25, apart=6, balance="answer")
    settle = dataclasses.replace(learn, lr=lr / 6, final=0.02, ema=0.99, parts=STILL)
    return (Stage("2 co-train", 1500, web, learn), Stage("3 specialise", 300, BcConfig(batch=64), settle))


def pretrained() -> RunConfig:
    """Return the run for SigLIP, Qwen2 and recordings of your own, with the rates that the field publishes."""
    published = OptimConfig(lr=1e-3, weight_decay=0.0, warmup=0.03, final=0.0, ema=0.0, precision="bf16")
    align = PretrainConfig(data="captions", parts=("projector",), exchanges="first", plain=True, batch=256)
    # The head is new and learns at 1e-4 while the model under it goes on at 2e-5, then 1e-5.
    gently = {"network.language": 0.2, "network.vision": 0.2, "network.project": 0.2}
    together = dataclasses.replace(published, lr=1e-4, parts=gently)
    alone = dataclasses.replace(published, lr=1e-5, ema=0.999, parts=STILL)
    stages = (
        Stage("1 align", 2180, align, published),
        Stage("2 co-train", 40_000, CotrainConfig(robot=BcConfig(batch=128), ratio=0.5), together),
        Stage("3 specialise", 7_500, BcConfig(batch=128), alone),
    )
    model = VlmConfig(
        vision=SiglipConfig(path="google/siglip-base-patch16-224", layer=-2),
        language=CausalConfig(path="Qwen/Qwen2-1.5B-Instruct"),
        max_tokens=2048,
    )
    return RunConfig(
        name="vla-three-stage",
        env=None,
        data=DataConfig(),
        policy=PolicyConfig(
            language=LanguageConfig(max_tokens=64),
            fusion=LmFusionConfig(),
            head=FlowHeadConfig(width=1024, expert="joint", insulate=True),
            horizon=16,
            execute=8,
            width=1536,
        ),
        recipe=BcConfig(),
        optim=sized_optim("large"),
        vlm=model,
        texts=TextsConfig(blind=0),
        stages=stages,
        loop=LoopConfig(updates=sum(stage.updates for stage in stages), save_every=1000, eval_at=(0.5,)),
        evaluate=EvaluateConfig(),
    )
