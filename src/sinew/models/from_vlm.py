"""A policy out of a vision-language model: its encoders and projector, with an action head behind."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, TypedDict, get_type_hints

from sinew.core.errors import CheckpointError, ConfigError, SpecError
from sinew.core.files import read_json
from sinew.core.types import RobotSpec
from sinew.models.config import HEADS, PROJECTORS, AnyHeadConfig, PolicyConfig
from sinew.models.encoder_config import (
    CAUSAL,
    AnyCausalConfig,
    ClipConfig,
    Frozen,
    LmFusionConfig,
    LoraConfig,
    SiglipConfig,
)
from sinew.models.llava import is_llava
from sinew.models.pretrained import fetch
from sinew.models.projector_config import AnyProjectorConfig, MlpProjectorConfig

VISION = {
    "siglip_vision_model": SiglipConfig,
    "siglip": SiglipConfig,
    "clip_vision_model": ClipConfig,
    "clip": ClipConfig,
}
"""Kinds of vision encoders by ``model_type``."""
OTHER_NAMES = {"transformer": "autoregressive"}
"""What heads are called elsewhere."""


class VlmOptions(TypedDict, total=False):
    """What ``VLAPolicy.from_pretrained_vlm`` takes beside the model and the robot.

    Attributes:
        action_dim: A; must be the robot's.
        hidden_dim: width of the head's hidden layers.
        action_chunk_size: H.
        action_head_type: a name of ``HEADS``, or "transformer" for the autoregressive one.
        vision_model_name: of the vision encoder, where no whole model is named.
        llm_model_name: of the language model, where no whole model is named.
        projector_type: where no whole model is named.
        freeze_vision: the vision encoder stays as it is.
        freeze_llm: the language model stays as it is, but for adapters.
        use_lora: the language model gets adapters. lora_r: their rank. lora_alpha: their scale.
    """

    action_dim: int
    hidden_dim: int
    action_chunk_size: int
    action_head_type: str
    vision_model_name: str
    llm_model_name: str
    projector_type: str
    freeze_vision: bool
    freeze_llm: bool
    use_lora: bool
    lora_r: int
    lora_alpha: float


def config_from_vlm(vlm_path: str, spec: RobotSpec, options: VlmOptions) -> PolicyConfig:
    """Return the settings of a policy through a vision-language model.

    Args:
        vlm_path: directory or hub id in Llava's layout; empty where its two models are named by themselves.
        spec: of the robot.
        options: see there.

    Raises:
        ConfigError: an option or a name that does not exist; the nearest and the list are given.
        CheckpointError: there is no such model, or of a kind that does not fit.
        SpecError: ``action_dim`` is not the robot's.
    """
    given: dict[str, Any] = dict(options)
    for name in given:
        _known("option", name, tuple(get_type_hints(VlmOptions)))
    if given.get("action_dim", spec.action_size) != spec.action_size:
        raise SpecError(
            f"action_dim is {given['action_dim']}, {spec.embodiment} takes {spec.action_size} values "
            f"({', '.join(spec.action)}). Leave it out, or give the spec of the robot that is meant."
        )
    seeing, reading, projector, width = _parts(vlm_path, given)
    frozen: dict[str, Frozen] = {
        name: "all" if given.get(name, True) else 0 for name in ("freeze_vision", "freeze_llm")
    }
    lora = LoraConfig(rank=given.get("lora_r", 16), alpha=given.get("lora_alpha", 32.0))
    return PolicyConfig(
        vision=dataclasses.replace(seeing, frozen=frozen["freeze_vision"]),
        language=dataclasses.replace(reading, frozen=frozen["freeze_llm"]),
        projector=projector,
        fusion=LmFusionConfig(),
        head=_head(given.get("action_head_type", "mlp"), given.get("hidden_dim")),
        lora=lora if given.get("use_lora", False) else None,
        horizon=given.get("action_chunk_size", 1),
        width=width,
    )


def _parts(
    vlm_path: str, given: dict[str, Any]
) -> tuple[SiglipConfig | ClipConfig, AnyCausalConfig, AnyProjectorConfig, int]:
    """Return what sees, what reads, what lies between, and the width of the language model."""
    if vlm_path:
        place = fetch(vlm_path)
        if not is_llava(place):
            raise CheckpointError(
                f"{vlm_path}: not a vision-language model in Llava's layout. Name one, or leave vlm_path empty and "
                "name vision_model_name and llm_model_name."
            )
        content = read_json(place / "config.json")
        kind, layer = _vision_kind(content["vision_config"], vlm_path), content.get("vision_feature_layer", -2)
        if not isinstance(layer, int) or layer >= 0 or not _whole_patches(kind, content):
            raise CheckpointError(
                f"{vlm_path}: takes layer {layer!r} with strategy {content.get('vision_feature_select_strategy')!r}; "
                "one layer counted from the end, without a class token, is read here."
            )
        projector: AnyProjectorConfig = MlpProjectorConfig(path=vlm_path)
        reading = _causal_kind(content["text_config"], vlm_path)(path=vlm_path)
        return kind(path=vlm_path, layer=layer), reading, projector, _width(content["text_config"])
    missing = [name for name in ("vision_model_name", "llm_model_name") if not given.get(name)]
    if missing:
        raise ConfigError(f"without vlm_path name both models: {', '.join(missing)} missing.")
    seen, read = given["vision_model_name"], given["llm_model_name"]
    kind = _vision_kind(read_json(fetch(seen) / "config.json"), seen)
    name = _known("projector_type", given.get("projector_type", "mlp"), tuple(PROJECTORS))
    content = read_json(fetch(read) / "config.json")
    return kind(path=seen), _causal_kind(content, read)(path=read), PROJECTORS[name](), _width(content)


def _causal_kind(content: dict[str, Any], path: str) -> type[AnyCausalConfig]:
    found = content.get("model_type", "llama")  # what a Llava without it has
    if found not in CAUSAL:
        raise CheckpointError(f"{path}: reads with a {found!r}, wanted {' or '.join(CAUSAL)}. Name another model.")
    return CAUSAL[found]


def _vision_kind(content: dict[str, Any], path: str) -> type[SiglipConfig | ClipConfig]:
    found = content.get("model_type")
    if found not in VISION:
        raise CheckpointError(f"{path}: sees with a {found!r}, wanted {' or '.join(VISION)}. Name another model.")
    return VISION[found]


def _whole_patches(kind: type[SiglipConfig | ClipConfig], content: dict[str, Any]) -> bool:
    wanted = "full" if kind is SiglipConfig else "default"
    return content.get("vision_feature_select_strategy", "default") == wanted


def _width(content: dict[str, Any]) -> int:
    return int(content.get("hidden_size", 4096))


def _head(name: str, hidden: int | None) -> AnyHeadConfig:
    """Return a head with hidden layers of that width."""
    name = _known("action_head_type", OTHER_NAMES.get(name, name), (*HEADS, *OTHER_NAMES))
    head = HEADS[name]()
    if hidden is None:
        return head
    if isinstance(sizes := getattr(head, "hidden", None), tuple):
        return dataclasses.replace(head, hidden=(hidden,) * len(sizes))  # type: ignore[call-arg]
    return dataclasses.replace(head, **{"width" if hasattr(head, "width") else "hidden": hidden})  # type: ignore[arg-type]


def _known(what: str, name: str, names: tuple[str, ...]) -> str:
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"{what}: there is no {name!r}. {guess}There is: {', '.join(names)}.")
