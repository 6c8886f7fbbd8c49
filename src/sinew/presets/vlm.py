"""Vision-language models: a small one from nothing on a CPU, and LLaVA's own recipe for pretrained parts."""

from __future__ import annotations

import dataclasses

from sinew.engine.config import LoopConfig, OptimConfig
from sinew.envs.tabletop.config import TabletopConfig
from sinew.models.encoder_config import SiglipConfig
from sinew.models.vlm_config import CausalConfig, StemConfig, VlmConfig
from sinew.presets.size import Size, sized_optim, sized_policy
from sinew.recipes.config import PretrainConfig
from sinew.run import RunConfig
from sinew.run.stages import Stage, TextsConfig


def preset(size: Size = "small") -> RunConfig:
    """Teach a small vision-language model from nothing to describe the table and answer questions about it.

    Expected: two things: binding 99 % of cases, relations 98 %, corners 93 % (3 seeds); docs/vlm.md.
    Time: 9 CPU-minutes in all stages, 2 more to make scenes and for the exam.
    """
    scale, layers = {"tiny": (0.25, 1), "small": (1.0, 2), "base": (2.0, 3), "large": (4.0, 4)}[size]
    width = int(96 * scale)
    vision = StemConfig(width=width, layers=layers)
    language = CausalConfig(width=width, layers=2 * layers, hidden=int(256 * scale))
    lr = sized_optim(size).lr
    stages = embedded_stages(lr)
    return RunConfig(
        name="vlm",
        env=TabletopConfig(image_size=72, colours=6),
        policy=sized_policy(size),
        optim=sized_optim(size),
        vlm=VlmConfig(vision=vision, language=language, max_tokens=320),
        texts=TextsConfig(),
        stages=stages,
        loop=LoopConfig(updates=sum(stage.updates for stage in stages), eval_at=()),
    )


def embedded_stages(lr: float) -> tuple[Stage, ...]:
    """Return the stages of a model without pretrained parts; ``lr`` is a policy's of the same size."""
    optim = OptimConfig(lr=2 / 3 * lr, weight_decay=0.01, warmup=0.03, final=0.03, ema=0.0, muon=2.0)
    settled = dataclasses.replace(optim, lr=lr / 2, muon=3.0)
    read = PretrainConfig(data="captions", parts=("vision", "reader"), exchanges="first", plain=True, batch=32)
    # The encoder can read already, and stays: what it would learn from questions costs more updates than it is worth.
    answer = PretrainConfig(parts=("projector", "lm"), apart=12, blank=0.04, batch=16)
    return (
        Stage("0a read", 1000, read, optim),
        Stage("1b instruct", 1350, answer, settled),
    )


def llava(size: Size = "small") -> RunConfig:
    """Align SigLIP with Qwen2 and tune it by instructions: `sinew train llava --data CAPTIONS --data INSTRUCTIONS`.

    Expected: not run, as neither weights nor data sets are at hand; learning rates and batches are LLaVA's.
    Time: hours on a large GPU.
    """
    published = OptimConfig(lr=1e-3, weight_decay=0.0, warmup=0.03, final=0.0, ema=0.0)
    align = PretrainConfig(data="captions", parts=("projector",), exchanges="first", plain=True, batch=256)
    stages = (
        Stage("1a align", 2180, align, published),
        Stage("1b instruct", 5197, PretrainConfig(batch=128), dataclasses.replace(published, lr=2e-5)),
    )
    vision = SiglipConfig(path="google/siglip-base-patch16-224", layer=-2)
    return RunConfig(
        name="llava",
        env=None,
        policy=sized_policy(size),
        optim=sized_optim(size),
        vlm=VlmConfig(vision=vision, language=CausalConfig(path="Qwen/Qwen2-1.5B-Instruct"), max_tokens=2048),
        texts=TextsConfig(blind=0),
        stages=stages,
        loop=LoopConfig(updates=sum(stage.updates for stage in stages), eval_at=()),
    )
