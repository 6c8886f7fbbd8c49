"""Takes the SigLIP tower or the language model out of the weights of large policies, for policies of ours."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError, ConfigError
from sinew.core.files import write_json
from sinew.models.pixels import FILES, HALVES, Pixels
from sinew.models.pretrained import quiet, transformers_class

HEADS = {768: 12, 1024: 16, 1152: 16}
"""Attention heads of the published SigLIP towers (Zhai 2023, arXiv:2303.15343) by width; weights do not say it."""
TOKENIZER = "tokenizer.json"
EMBEDDINGS = {
    "patch_embed.proj": "embeddings.patch_embedding",
    "pos_embed": "embeddings.position_embedding.weight",
    "norm": "post_layernorm",
}
BLOCKS = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


Part = Literal["vision", "language"]
SIZED = ("self_attn.q", "self_attn.k", "mlp.up")
"""Layers of a language model whose outputs tell its sizes."""
READERS = {960: 64, 4096: 128}
"""Size of an attention head of SmolLM2-360M, which SmolVLA has, and of Llama 2 by their width."""
GEMMA_HEAD = 256
"""The same of the Gemmas of the published pi0."""


@dataclass(frozen=True)
class Kind:
    """A kind of policy with a SigLIP tower.

    Attributes:
        name: for people.
        tower: what the names of the tower's weights begin with, a regular expression.
        reader: the same of its language model. language: kind of that, for ``--policy.language.kind``.
        rename: from the rest of such a name and its weight to those of ``transformers``; several, or none.
        activation: of its layers, in the words of ``transformers``.
        mode: how its images were resized.
        layer: whose output the policy reads, for ``--policy.vision.layer``.
        others: of the other parts, what names begin with and why they stay behind.
    """

    name: str
    tower: str
    reader: str
    language: Literal["llama", "gemma"]
    rename: Callable[[str, Tensor], Mapping[str, Tensor]]
    activation: str
    mode: str
    layer: int
    others: Mapping[str, str]


@dataclass(frozen=True)
class Taken:
    """What became of a policy's weights.

    Attributes:
        kind: of the policy.
        part: that was taken.
        numbers: how many it has.
        left: by part how many numbers stayed behind, and why.
    """

    kind: Kind
    part: Part
    numbers: int
    left: tuple[tuple[str, int, str], ...]

    def lines(self) -> Iterator[str]:
        """Yield what was and was not taken, for people."""
        yield f"{self.kind.name}: taken {self.numbers / 1e6:.1f} M weights of its {self.part} part"
        for name, count, why in self.left:
            yield f"left {name}, {count / 1e6:.1f} M weights: {why}"


def as_they_are(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return a weight of a tower that ``transformers`` itself wrote; what only a pooled output needs is left out."""
    return {} if name.startswith("head.") else {name: value}


def from_timm(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return a weight of timm's vision transformer under the names of ``transformers``; what it joins is split."""
    if name.startswith("attn_pool."):
        return {}
    if name == "pos_embed":
        return {EMBEDDINGS[name]: value[0]}
    if found := re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", name):
        begin = f"encoder.layers.{found[1]}.self_attn"
        return {f"{begin}.{part}_proj.{found[2]}": piece for part, piece in zip("qkv", value.chunk(3), strict=True)}
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name):
        return {f"encoder.layers.{found[1]}.{BLOCKS.get(found[2], found[2])}.{found[3]}": value}
    stem, _, last = name.rpartition(".")
    return {f"{EMBEDDINGS.get(stem, stem)}.{last}": value}


OTHER = "--part language takes all but its output layer"
NO_EXPERT = "it reads that language model's keys and values"
SMOLVLA = Kind(
    "SmolVLA", r"(?:model\.)?vlm_with_expert\.vlm\.model\.vision_model\.",
    r"(?:model\.)?vlm_with_expert\.vlm\.model\.text_model\.", "llama", as_they_are, "gelu_pytorch_tanh", "bilinear", -1,
    {
        r".*\.vlm\.model\.connector\.": "projector: it leads into that language model",
        r".*\.vlm\.": f"language model: {OTHER}",
        r".*\.lm_expert\.": f"action expert: {NO_EXPERT}",
        r"(?:model\.)?(?:state|action)_": f"state and action layers: of the action expert; {NO_EXPERT}",
    },
)  # fmt: skip
PALIGEMMA = r"(?:model\.)?paligemma_with_expert\.paligemma\.(?:model\.)?"
PI0 = Kind(
    "pi0", PALIGEMMA + r"vision_tower\.vision_model\.", PALIGEMMA + r"language_model\.(?:model\.)?(?!lm_head)",
    "gemma", as_they_are, "gelu_pytorch_tanh", "bilinear", -1,
    {
        r".*\.multi_modal_projector\.": "projector: it leads into that language model",
        r".*\.paligemma\.": f"language model: {OTHER}",
        r".*\.gemma_expert\.": f"action expert: {NO_EXPERT}",
        r"(?:model\.)?(?:state|action|time)_": f"state and action layers: of the action expert; {NO_EXPERT}",
    },
)  # fmt: skip
OPENVLA = Kind(
    "OpenVLA", r"vision_backbone\.fused_featurizer\.", r"language_model\.model\.",
    "llama", from_timm, "gelu", "bicubic", -2,
    {
        r"vision_backbone\.featurizer\.": "second vision tower: a DINOv2 with registers; the whole policy has it",
        r"projector\.": "projector: it leads from both towers into that language model",
        r"language_model\.": f"language model: {OTHER}",
    },
)  # fmt: skip
KINDS = (SMOLVLA, PI0, OPENVLA)
"""Policies whose tower can be taken: of LeRobot, of openpi's PyTorch side, and in the layout of Hugging Face."""


def take_tower(source: Path, directory: Path, *, heads: int | None = None) -> Taken:
    """Write the SigLIP tower of a policy into an existing directory, in the layout of Hugging Face, float32.

    Args:
        source: directory with the policy's safetensors, in one file or in shards.
        directory: that is filled; ``--policy.vision.path`` reads it.
        heads: attention heads of the tower; None knows those of the published ones by their width.

    Raises:
        CheckpointError: there are no such weights, or none of a tower that is known, or some of it are missing.
        ConfigError: the number of heads is unknown or does not fit.
        DependencyError: transformers is not installed.
    """
    kind, found, sizes = _read(source, "vision")
    settings = siglip_settings(kind, found, heads)
    model = transformers_class("siglip", "SiglipVisionModel")(settings)
    _write(model, {name: value.float() for name, value in found.items()}, directory, f"{source}: {kind.name}")
    pixels = Pixels((settings.image_size, settings.image_size), *HALVES, mode=kind.mode)
    write_json(directory / FILES[0], pixels.to_dict())
    return _taken(kind, "vision", found, sizes)


def take_language(source: Path, directory: Path, *, heads: int | None = None) -> Taken:
    """Write the language model of a policy, without its output layer, likewise, in its own type.

    ``--policy.language.path`` reads it. Its rotary positions have the base 10000, as all these policies turn them. A
    tokenizer.json beside the weights is taken along.

    Args:
        source: as for ``take_tower``.
        directory: as for ``take_tower``.
        heads: attention heads; None knows those of the published ones by their width.

    Raises:
        CheckpointError: there are no such weights, or some are missing.
        ConfigError: the number of heads is unknown or does not fit.
        DependencyError: transformers is not installed.
    """
    kind, found, sizes = _read(source, "language")
    needed = ("embed_tokens.weight", *(f"layers.0.{name}_proj.weight" for name in SIZED))
    missing = [name for name in needed if name not in found]
    if missing:
        raise CheckpointError(
            f"{source}: its {kind.name} language part lacks {', '.join(missing)}. Copy all its files."
        )
    if kind.language == "gemma":
        size = len(found["layers.0.self_attn.q_proj.weight"]) // heads if heads else GEMMA_HEAD
        settings, name = gemma_settings(found, size, str(source)), "GemmaModel"
    else:
        settings, name = llama_settings(kind, found, heads), "LlamaModel"
    model = transformers_class(kind.language, name)(settings).to(found[needed[0]].dtype)
    _write(model, found, directory, f"{source}: {kind.name}")
    if (source / TOKENIZER).is_file():
        shutil.copyfile(source / TOKENIZER, directory / TOKENIZER)
    return _taken(kind, "language", found, sizes)


def llama_settings(kind: Kind, found: Mapping[str, Tensor], heads: int | None) -> Any:  # noqa: ANN401  (of transformers)
    """Return a Llama's settings as its weights tell them, with rotary positions of base 10000.

    Raises:
        ConfigError: the number of heads is unknown or does not fit.
    """
    words, width = found["embed_tokens.weight"].shape
    keys = found["layers.0.self_attn.k_proj.weight"]
    size = width // heads if heads else READERS.get(width)
    if size is None or width % size or len(keys) % size:
        raise _unknown(kind, "language", width, {wide: wide // each for wide, each in READERS.items()})
    return transformers_class("llama", "LlamaConfig")(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=len(found["layers.0.mlp.up_proj.weight"]),
        num_hidden_layers=1 + max(int(name.split(".")[1]) for name in found if name.startswith("layers.")),
        num_attention_heads=width // size,
        num_key_value_heads=len(keys) // size,
        rms_norm_eps=1e-5,
    )


def gemma_settings(found: Mapping[str, Tensor], size: int, where: str) -> Any:  # noqa: ANN401  (of transformers)
    """Return a Gemma's settings as its weights tell them, whose attention heads have that size.

    Raises:
        CheckpointError: heads of that size do not fit.
    """
    words, width = found["embed_tokens.weight"].shape
    query, key, hidden = (len(found[f"layers.0.{name}_proj.weight"]) for name in SIZED)
    if query % size or key % size:
        raise CheckpointError(
            f"{where}: queries of {query} values are not cut into attention heads of {size}. Put the config.json of "
            "the vision-language model that it began as beside the tokenizer (--tokenizer), or say --heads for a part."
        )
    return transformers_class("gemma", "GemmaConfig")(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=1 + max(int(name.split(".")[1]) for name in found if name.startswith("layers.")),
        num_attention_heads=query // size,
        num_key_value_heads=key // size,
        head_dim=size,
    )


def _write(model: Any, found: Mapping[str, Tensor], directory: Path, what: str) -> None:  # noqa: ANN401  (of transformers)
    """Write a model of ``transformers`` with these weights; their names may lack the outermost module's."""
    wanted = model.state_dict()
    names = {name.removeprefix("vision_model."): name for name in wanted}
    known = {name: value for name, value in found.items() if not name.endswith("rotary_emb.inv_freq")}
    wrong = sorted(set(names) ^ set(known)) or [
        name for name, value in known.items() if value.shape != wanted[names[name]].shape
    ]
    if wrong:
        raise CheckpointError(
            f"{what}: {len(wrong)} weights are missing, unknown or of another shape, such as {', '.join(wrong[:3])}. "
            "Copy the policy again, or take one of another release."
        )
    model.load_state_dict({names[name]: value for name, value in known.items()})
    with quiet():
        model.save_pretrained(directory)


def _taken(kind: Kind, part: Part, found: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Taken:
    reasons = {**kind.others, kind.tower: "vision tower: --part vision takes it"}
    left = Counter[str]()
    for name, size in sizes.items():
        why = next(
            (reasons[begin] for begin in (kind.tower, *kind.others) if re.match(begin, name)), "others: not known"
        )
        left[why] += size
    rows = tuple((why.split(": ", 1)[0], count, why.split(": ", 1)[1]) for why, count in left.items())
    return Taken(kind, part, sum(value.numel() for value in found.values()), rows)


def _unknown(kind: Kind, part: Part, width: int, known: Mapping[int, int]) -> ConfigError:
    return ConfigError(
        f"the {part} part of this {kind.name} has a width of {width}, and how many attention heads share it no weight "
        f"says. Known are {', '.join(f'{heads} for {wide}' for wide, heads in known.items())}; say yours with --heads."
    )


def _read(source: Path, part: Part) -> tuple[Kind, dict[str, Tensor], dict[str, int]]:
    """Return a policy's kind, its part's weights by the names of ``transformers``, and the sizes of all others."""
    kind, found, sizes = None, dict[str, Tensor](), dict[str, int]()
    begins = {one.name: one.tower if part == "vision" else one.reader for one in KINDS}
    for name, weight in weights_in(source):
        match = next((one for one in KINDS if begins[one.name] and re.match(begins[one.name], name)), None)
        if match is None:
            sizes[name] = int(torch.Size(weight.get_shape()).numel())
            continue
        kind, inner = match, re.sub(begins[match.name], "", name, count=1)
        found |= match.rename(inner, weight[:]) if part == "vision" else {inner: weight[:]}
    if kind is None:
        seen = f"{len(sizes)} weights, such as {', '.join(list(sizes)[:2])}" if sizes else "no *.safetensors"
        known = ", ".join(name for name, begin in begins.items() if begin)
        raise CheckpointError(
            f"{source}: {seen}; no {part} part of {known}. Name the directory that holds the policy's safetensors; "
            "openpi's own JAX checkpoints have to be converted with its examples/convert_jax_model_to_pytorch.py."
        )
    return kind, found, sizes


def weights_in(source: Path) -> Iterator[tuple[str, Any]]:
    """Yield the name of each weight in a directory, with what reads it when it is sliced."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(source.glob("*.safetensors")):
        try:
            file = safe_open(path, "pt")
            yield from ((name, file.get_slice(name)) for name in list(file.keys()))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}). Copy it again.") from error


def siglip_settings(kind: Kind, found: Mapping[str, Tensor], heads: int | None) -> Any:  # noqa: ANN401  (of transformers)
    """Return the tower's settings as its weights tell them.

    Raises:
        CheckpointError: weights are missing.
        ConfigError: the number of heads is unknown or does not fit.
    """
    needed = (
        "embeddings.patch_embedding.weight",
        "embeddings.position_embedding.weight",
        "encoder.layers.0.mlp.fc1.weight",
    )
    missing = [name for name in needed if name not in found]
    if missing:
        raise CheckpointError(f"the {kind.name} tower lacks {', '.join(missing)}. Copy all files of the policy.")
    width, _, patch, _ = found[needed[0]].shape
    heads = heads or HEADS.get(width)
    if heads is None or width % heads:
        raise _unknown(kind, "vision", width, HEADS)
    layers = {int(name.split(".")[2]) for name in found if name.startswith("encoder.layers.")}
    return transformers_class("siglip", "SiglipVisionConfig")(
        hidden_size=width,
        intermediate_size=len(found[needed[2]]),
        num_hidden_layers=max(layers) + 1,
        num_attention_heads=heads,
        image_size=round(len(found[needed[1]]) ** 0.5) * patch,
        patch_size=patch,
        hidden_act=kind.activation,
        vision_use_head=False,
    )
