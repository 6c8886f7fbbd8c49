"""What LeRobot calls the weights of its policies, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from sinew.core.errors import CheckpointError

Rule = tuple[str, str]
"""A pattern that the whole of a foreign name must match, and our name for it."""

_RESNET: tuple[Rule, ...] = (
    (r"conv1\.(.+)", r"embedder.embedder.convolution.\1"),
    (r"bn1\.(.+)", r"embedder.embedder.normalization.\1"),
    (r"layer(\d)\.(\d+)\.downsample\.0\.(.+)", r"encoder.stages.{\1}.layers.\2.shortcut.convolution.\3"),
    (r"layer(\d)\.(\d+)\.downsample\.1\.(.+)", r"encoder.stages.{\1}.layers.\2.shortcut.normalization.\3"),
    (r"layer(\d)\.(\d+)\.conv(\d)\.(.+)", r"encoder.stages.{\1}.layers.\2.layer.{\3}.convolution.\4"),
    (r"layer(\d)\.(\d+)\.bn(\d)\.(.+)", r"encoder.stages.{\1}.layers.\2.layer.{\3}.normalization.\4"),
)
"""From torchvision's names of a residual network to those of ``transformers``; {n} stands for n - 1."""

_LAYERS: tuple[Rule, ...] = (
    (r"layers\.(\d+)\.self_attn\.(.+)", r"layers.\1.attend.\2"),
    (r"layers\.(\d+)\.multihead_attn\.(.+)", r"layers.\1.recall.\2"),
    (r"layers\.(\d+)\.linear1\.(.+)", r"layers.\1.widen.\2"),
    (r"layers\.(\d+)\.linear2\.(.+)", r"layers.\1.narrow.\2"),
    (r"layers\.(\d+)\.norm(\d)\.(.+)", r"layers.\1.norms.{\2}.\3"),
    (r"norm\.(.+)", r"norm.\1"),
)
"""From the names of LeRobot's transformer layers to those of ``models/detr.py``."""


def under(theirs: str, ours: str, rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules for names below another one; ``theirs`` is a pattern."""
    return [(theirs + left, ours + right) for left, right in rules]


ACT_RULES: tuple[Rule, ...] = (
    *under(r"model\.backbone\.", "network.scene.trunk.vision.model.", _RESNET),
    *under(r"model\.vae_encoder\.", "head.posterior.layers.", _LAYERS),
    *under(r"model\.encoder\.", "head.encoder.", _LAYERS),
    *under(r"model\.decoder\.", "head.decoder.", _LAYERS),
    (r"model\.vae_encoder_cls_embed\.weight", "head.posterior.summary"),
    (r"model\.vae_encoder_robot_state_input_proj\.(.+)", r"head.posterior.state.\1"),
    (r"model\.vae_encoder_action_input_proj\.(.+)", r"head.posterior.action.\1"),
    (r"model\.vae_encoder_latent_output_proj\.(.+)", r"head.posterior.out.\1"),
    (r"model\.encoder_robot_state_input_proj\.(.+)", r"network.scene.state.\1"),
    (r"model\.encoder_latent_input_proj\.(.+)", r"head.style.\1"),
    (r"model\.encoder_img_feat_input_proj\.(.+)", r"network.scene.cells.\1"),
    (r"model\.encoder_1d_feature_pos_embed\.weight", "network.scene.places"),
    (r"model\.decoder_pos_embed\.weight", "head.steps"),
    (r"model\.action_head\.(.+)", r"head.out.\1"),
    (r"model\.vae_encoder_pos_enc", ""),
)
"""From LeRobot's names of ACT to ours; what is computed anew has none."""

_RESIDUAL: tuple[Rule, ...] = (
    (r"conv1\.block\.(?P<what>.+)", r"first.\g<what>"),
    (r"conv2\.block\.(?P<what>.+)", r"second.\g<what>"),
    (r"cond_encoder\.1\.(?P<what>.+)", r"condition.1.\g<what>"),
    (r"residual_conv\.(?P<what>.+)", r"skip.\g<what>"),
)
_UNET: tuple[Rule, ...] = (
    (r"diffusion_step_encoder\.1\.(.+)", r"time.0.\1"),
    (r"diffusion_step_encoder\.3\.(.+)", r"time.2.\1"),
    (r"down_modules\.(\d+)\.2\.(.+)", r"halving.\1.\2"),
    (r"up_modules\.(\d+)\.2\.(.+)", r"doubling.\1.\2"),
    (r"final_conv\.0\.block\.(.+)", r"out.0.\1"),
    (r"final_conv\.1\.(.+)", r"out.1.\1"),
    *((rf"(?P<where>(?:down|up)_modules\.\d+\.[01])\.{theirs}", rf"\g<where>.{ours}") for theirs, ours in _RESIDUAL),
    *((rf"(?P<where>mid_modules\.\d+)\.{theirs}", rf"\g<where>.{ours}") for theirs, ours in _RESIDUAL),
)
"""From the names of LeRobot's U-Net to those of ``models/unet.py``."""


def diffusion_rules(eyes: int) -> tuple[Rule, ...]:
    """Return the rules from LeRobot's names of Diffusion Policy to ours.

    Args:
        eyes: image encoders that are numbered; 0 for a single one that all cameras share.
    """
    rules: list[Rule] = []
    for eye in range(max(1, eyes)):
        theirs = r"diffusion\.rgb_encoder\." + (rf"{eye}\." if eyes else "")
        model = "trunk.vision.model." if eye == 0 else f"trunk.others.{eye - 1}."
        rules += [(theirs + r"backbone\." + left, f"network.scene.{model}{right}") for left, right in _RESNET]
        rules.append((theirs + r"pool\.nets\.(.+)", rf"network.scene.maps.{eye}.\1"))
        rules.append((theirs + r"out\.(.+)", rf"network.scene.layers.{eye}.0.\1"))
        rules.append((theirs + r"pool\.pos_grid", ""))
    return *rules, *under(r"diffusion\.unet\.", "head.field.net.", _UNET)


_BLOCK: tuple[Rule, ...] = (
    ("input_layernorm", "norm"),
    ("post_attention_layernorm", "norm_mlp"),
    (r"self_attn\.q_proj", "query"),
    (r"self_attn\.k_proj", "key"),
    (r"self_attn\.v_proj", "value"),
    (r"self_attn\.o_proj", "out"),
    (r"mlp\.gate_proj", "gate"),
    (r"mlp\.up_proj", "up"),
    (r"mlp\.down_proj", "down"),
)


def _expert(begin: str) -> list[Rule]:
    """Return the rules for an action expert's layers, and for what leads in and out of it."""
    layers = [(rf"{begin}layers\.(\d+)\.{theirs}\.(.+)", rf"head.field.blocks.\1.{ours}.\2") for theirs, ours in _BLOCK]
    return [
        *layers,
        (begin + r"norm\.(.+)", r"head.field.norm.\1"),
        (r"model\.action_in_proj\.(.+)", r"head.field.enter.\1"),
        (r"model\.action_out_proj\.(.+)", r"head.field.leave.\1"),
        (r"model\.action_time_mlp_(in|out)\.(.+)", r"head.field.time_\1.\2"),
    ]


_VLM = r"model\.vlm_with_expert\.vlm\."
SMOLVLA_RULES: tuple[Rule, ...] = (
    (_VLM + r"model\.vision_model\.(.+)", r"network.vision.model.\1"),
    (_VLM + r"model\.connector\.modality_projection\.proj\.(.+)", r"network.project.\1"),
    (_VLM + r"model\.text_model\.(.+)", r"network.language.model.\1"),
    (_VLM + r"lm_head\..+", ""),
    *_expert(r"model\.vlm_with_expert\.lm_expert\."),
    (r"model\.state_proj\.(.+)", r"network.state.\1"),
)
"""From LeRobot's names of SmolVLA to ours; nothing is read from its output layer, which speaks words."""

_PALIGEMMA, _GEMMA = (rf"model\.paligemma_with_expert\.{name}\." for name in ("paligemma", "gemma_expert"))
PI0_RULES: tuple[Rule, ...] = (
    (_PALIGEMMA + r"(?:model\.)?vision_tower\.vision_model\.head\..+", ""),
    (_PALIGEMMA + r"(?:model\.)?vision_tower\.vision_model\.(.+)", r"network.vision.model.\1"),
    (_PALIGEMMA + r"(?:model\.)?multi_modal_projector\.linear\.(.+)", r"network.project.\1"),
    (_PALIGEMMA + r"(?:language_model\.)?lm_head\..+", ""),
    (_PALIGEMMA + r"(?:model\.)?language_model\.(?:model\.)?(.+)", r"network.language.model.\1"),
    (_GEMMA + r"(?:lm_head|model\.embed_tokens)\..+", ""),
    *_expert(_GEMMA + r"model\."),
    (r"model\.state_proj\.(.+)", r"head.field.feel.\1"),
)
"""From LeRobot's names of pi0 to ours; neither output layer speaks words here."""

LEVELS = {"down": "down", "up": "up", "mid": "middle"}
"""Ours for the parts of a U-Net that they call modules."""


def rename(weights: Mapping[str, Tensor], rules: Sequence[Rule], where: str) -> dict[str, Tensor]:
    """Return weights under our names.

    Args:
        weights: by their foreign names.
        rules: from those to ours; an empty name leaves a weight out.
        where: what they were read from, for the message.

    Raises:
        CheckpointError: a name that no rule knows.
    """
    compiled = [(re.compile(pattern), ours) for pattern, ours in rules]
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    for foreign, value in weights.items():
        name = re.sub(r"(?<=backbone\.)[4-7](?=\.)", lambda one: f"layer{int(one[0]) - 3}", foreign)
        name = re.sub(r"(?<=backbone\.)([01])(?=\.)", lambda one: ("conv1", "bn1")[int(one[0])], name)
        matches = ((pattern.fullmatch(name), ours) for pattern, ours in compiled)
        match, ours = next(((match, ours) for match, ours in matches if match), (None, ""))
        if match is None:
            unknown.append(foreign)
        elif ours:
            plain = re.sub(r"\{(\d+)\}", lambda one: str(int(one[1]) - 1), match.expand(ours))
            found[re.sub(r"\b(down|up|mid)_modules\b", lambda one: LEVELS[one[1]], plain)] = value
    if unknown:
        raise CheckpointError(
            f"{where}: {len(unknown)} weights have names that are not known, such as {', '.join(sorted(unknown)[:3])}. "
            "Another version of LeRobot wrote them, or another kind of policy."
        )
    return found
