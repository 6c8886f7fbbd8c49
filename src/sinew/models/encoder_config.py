"""Settings of pretrained encoders and of what joins their tokens; light to import, built on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sinew.models.visuomotor_config import VISUOMOTOR, AnyVisuomotorConfig

Frozen = int | Literal["all"]
"""How much of an encoder stays as it is: its embeddings and that many first layers, or "all"."""


@dataclass(frozen=True)
class VitSizes:
    """Sizes of a vision transformer with random weights.

    Attributes:
        image: side of the square image it reads [px].
        patch: side of a patch [px].
        width: D of its tokens. layers: its blocks. heads: attention heads.
    """

    image: int = 32
    patch: int = 8
    width: int = 64
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True)
class ResnetSizes:
    """Sizes of a residual network with random weights; the images are halved at each stage but the first.

    Attributes:
        image: side of the square image it reads [px].
        stem: channels of the first convolution, which with its pooling quarters the image.
        widths: channels of each stage.
        depths: blocks of each stage.
        block: two convolutions (18 and 34 layers) or three (50 and more).
    """

    image: int = 64
    stem: int = 16
    widths: tuple[int, ...] = (16, 32)
    depths: tuple[int, ...] = (1, 1)
    block: Literal["basic", "bottleneck"] = "basic"


@dataclass(frozen=True)
class TextSizes:
    """Sizes of a language transformer with random weights; its vocabulary is that of the policy's tokenizer.

    Attributes:
        width: D of its tokens. layers: its blocks. heads: attention heads.
        kv_heads: heads of keys and values where several queries share them.
        positions: longest text it could read.
    """

    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    positions: int = 128


@dataclass(frozen=True)
class VitConfig:
    """A vision transformer of ``transformers``; base of those that differ in their kind alone.

    Attributes:
        path: id on the hub, or a directory in its layout; empty for random weights of the sizes below.
        frozen: what stays as it is: the embeddings and that many first layers, or "all".
        layer: whose output the tokens are, counted from the end: -1 the last one with its norm, -2 as LLaVA has it.
        random: sizes where no path is given.
    """

    path: str = ""
    frozen: Frozen = 0
    layer: int = -1
    random: VitSizes = field(default_factory=VitSizes)


@dataclass(frozen=True)
class SiglipConfig(VitConfig):
    """SigLIP (Zhai 2023, arXiv:2303.15343): taught by captions, each pair for itself."""

    kind: Literal["siglip"] = "siglip"


@dataclass(frozen=True)
class ClipConfig(VitConfig):
    """CLIP (Radford 2021, arXiv:2103.00020): taught by captions, each batch as a whole."""

    kind: Literal["clip"] = "clip"


@dataclass(frozen=True)
class Dinov2Config(VitConfig):
    """DINOv2 (Oquab 2023, arXiv:2304.07193): taught by images alone; strong on where things are."""

    kind: Literal["dinov2"] = "dinov2"


@dataclass(frozen=True)
class Dinov2RegistersConfig(VitConfig):
    """DINOv2 with registers (Darcet 2023, arXiv:2309.16588): tokens that belong to no patch take what is no patch's."""

    kind: Literal["dinov2_with_registers"] = "dinov2_with_registers"


@dataclass(frozen=True)
class PlainVitConfig(VitConfig):
    """ViT (Dosovitskiy 2020, arXiv:2010.11929): taught to classify."""

    kind: Literal["vit"] = "vit"


@dataclass(frozen=True)
class ResnetConfig:
    """ResNet (He 2015, arXiv:1512.03385) of ``transformers``.

    Attributes:
        path: id on the hub, or a directory in its layout; empty for random weights of the sizes below.
        frozen: what stays as it is: the stem and that many first stages, or "all".
        norm: "frozen" batch norms keep their statistics, as ACT has it; "group" puts group norms in their place, as
            Diffusion Policy has it and random weights need; None is the one with a path and the other without.
        random: sizes where no path is given.
    """

    kind: Literal["resnet"] = "resnet"
    path: str = ""
    frozen: Frozen = 0
    norm: Literal["frozen", "group"] | None = None
    random: ResnetSizes = field(default_factory=ResnetSizes)


@dataclass(frozen=True)
class TextConfig:
    """A language model of ``transformers``; base of those that differ in their kind alone.

    Attributes:
        path: id on the hub, or a directory in its layout; empty for random weights of the sizes below.
        frozen: what stays as it is: the embeddings and that many first layers, or "all".
        max_tokens: longest instruction; longer ones are cut.
        random: sizes where no path is given.
        ending: what every instruction ends with; added where it does not.
        template: what is said in place of an instruction, which stands in small letters where it has {}.
    """

    path: str = ""
    frozen: Frozen = 0
    max_tokens: int = 32
    random: TextSizes = field(default_factory=TextSizes)
    ending: str | None = None
    template: str | None = None


@dataclass(frozen=True)
class Qwen2Config(TextConfig):
    """Qwen2 (Yang 2024, arXiv:2407.10671): a causal language model."""

    kind: Literal["qwen2"] = "qwen2"


@dataclass(frozen=True)
class LlamaConfig(TextConfig):
    """Llama (Touvron 2023, arXiv:2302.13971) and its like, such as SmolLM2: a causal language model."""

    kind: Literal["llama"] = "llama"


@dataclass(frozen=True)
class GemmaConfig(TextConfig):
    """Gemma (Mesnard 2024, arXiv:2403.08295), as it is in PaliGemma and pi0: a causal language model."""

    kind: Literal["gemma"] = "gemma"


@dataclass(frozen=True)
class BertConfig(TextConfig):
    """BERT (Devlin 2018, arXiv:1810.04805): reads a sentence in both directions."""

    kind: Literal["bert"] = "bert"


@dataclass(frozen=True)
class ClipTextConfig(TextConfig):
    """The text side of CLIP (Radford 2021, arXiv:2103.00020)."""

    kind: Literal["clip_text"] = "clip_text"


@dataclass(frozen=True)
class PrismaticConfig:
    """Two towers side by side, as Prismatic and OpenVLA have them (Karamcheti 2024, arXiv:2402.07865).

    Attributes:
        dino: of images alone. siglip: of captions; both cut an image into as many patches.
    """

    kind: Literal["prismatic"] = "prismatic"
    dino: Dinov2RegistersConfig = field(default_factory=lambda: Dinov2RegistersConfig(layer=-2))
    siglip: SiglipConfig = field(default_factory=lambda: SiglipConfig(layer=-2))


AnyVitConfig = SiglipConfig | ClipConfig | Dinov2Config | Dinov2RegistersConfig | PlainVitConfig
AnyEncoderConfig = AnyVitConfig | ResnetConfig
AnyCausalConfig = Qwen2Config | LlamaConfig | GemmaConfig
AnyTextConfig = AnyCausalConfig | BertConfig | ClipTextConfig
ENCODERS: dict[str, type[AnyEncoderConfig]] = {
    "siglip": SiglipConfig,
    "clip": ClipConfig,
    "dinov2": Dinov2Config,
    "dinov2_with_registers": Dinov2RegistersConfig,
    "vit": PlainVitConfig,
    "resnet": ResnetConfig,
}
CAUSAL: dict[str, type[AnyCausalConfig]] = {"qwen2": Qwen2Config, "llama": LlamaConfig, "gemma": GemmaConfig}
"""Language models that images can enter."""
TEXT_ENCODERS: dict[str, type[AnyTextConfig]] = {**CAUSAL, "bert": BertConfig, "clip_text": ClipTextConfig}


@dataclass(frozen=True)
class ConcatFusionConfig:
    """Late fusion: one vector of what is seen, one of what is said, joined by an MLP.

    Attributes:
        hidden: width between its layers, of the output's.
    """

    kind: Literal["concat"] = "concat"
    hidden: float = 2.0


@dataclass(frozen=True)
class CrossFusionConfig:
    """What is seen reads what is said by cross-attention.

    Attributes:
        layers: rounds of reading. heads: attention heads.
    """

    kind: Literal["cross"] = "cross"
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True)
class TransformerFusionConfig:
    """Early fusion: all tokens in one transformer, with readouts as Octo has them (Ghosh 2024, arXiv:2405.12213).

    Attributes:
        layers: blocks. heads: attention heads.
        readouts: learned tokens that read all others and that no other reads; the head gets these alone. 0: the head
            gets all tokens.
    """

    kind: Literal["transformer"] = "transformer"
    layers: int = 2
    heads: int = 4
    readouts: int = 0


@dataclass(frozen=True)
class FilmFusionConfig:
    """What is said scales and shifts what is seen; a token learner then keeps few tokens (RT-1, arXiv:2212.06817).

    Attributes:
        blocks: modulated blocks.
        tokens: learned tokens that are kept of each image (TokenLearner, Ryoo 2021); 0 keeps all.
        layers: blocks of self-attention over all that is kept. heads: attention heads.
    """

    kind: Literal["film"] = "film"
    blocks: int = 2
    tokens: int = 8
    layers: int = 0
    heads: int = 4


@dataclass(frozen=True)
class LmFusionConfig:
    """What is seen enters the causal language model before the words (LLaVA, Liu 2023, arXiv:2304.08485).

    Needs a causal ``language.kind`` and a ``width`` that is the language model's. Heads get its last hidden states, its
    keys and values, and may decode through it.

    Attributes:
        after: how many tokens of the words stand before what is seen; None for none, 1 is the beginning of the sentence
            as in OpenVLA.
    """

    kind: Literal["lm"] = "lm"
    after: int | None = None


@dataclass(frozen=True)
class PrefixFusionConfig:
    """What is seen, said and felt is one prefix that the language model reads in all directions, as SmolVLA has it.

    Needs a causal ``language.kind`` and a ``width`` that is the language model's. Heads get its last hidden states, its
    keys and values.

    Attributes:
        like: smolvla, the default, pads images above and to the left, scales tokens by the root of their width and ends
            the prefix with the state. pi0 pads on all sides, scales nothing (a Gemma scales its words by itself) and
            hands the state to the head.
        padding: value of the pixels that images are padded with; None is black, 0.
        shuffle: side of the squares of patches that are joined to one token.
        state: values of a state inside, of which a robot's are the first, so that one network fits robots of up to so
            many; None has as many as the robot.
    """

    kind: Literal["prefix"] = "prefix"
    like: Literal["smolvla", "pi0"] | None = None
    padding: float | None = None
    shuffle: int = 1
    state: int | None = None


AnyTokenFusionConfig = ConcatFusionConfig | CrossFusionConfig | TransformerFusionConfig | FilmFusionConfig
"""Fusions that take the tokens of any encoder."""
AnyFusionConfig = AnyTokenFusionConfig | LmFusionConfig | PrefixFusionConfig | AnyVisuomotorConfig
FUSIONS: dict[str, type[AnyFusionConfig]] = {
    "concat": ConcatFusionConfig,
    "cross": CrossFusionConfig,
    "transformer": TransformerFusionConfig,
    "film": FilmFusionConfig,
    "lm": LmFusionConfig,
    "prefix": PrefixFusionConfig,
    **VISUOMOTOR,
}


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters beside the weights of encoders (Hu 2021, arXiv:2106.09685), merged when a policy is saved.

    Attributes:
        rank: of an adapter. alpha: its scale, times the rank. dropout: share of its inputs dropped in training.
        parts: which encoders have them; their other weights stay as they are.
        targets: names of the linear maps they stand beside; empty means those of attention and feed-forward layers.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    parts: tuple[Literal["vision", "language"], ...] = ("language",)
    targets: tuple[str, ...] = ()
