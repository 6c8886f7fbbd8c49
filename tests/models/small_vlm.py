"""Vision-language models small enough for tests, and directories in the layout of real ones."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sinew.core.files import write_json
from sinew.models.encoder_config import ClipConfig, SiglipConfig, VitSizes
from sinew.models.vlm import VLM
from sinew.models.vlm_config import AnyVlmVisionConfig, CausalConfig, StemConfig, VlmConfig

TEXTS = ("what is it ? red blue", "how many ? one two", "describe it : x y")
LANGUAGE = CausalConfig(width=16, layers=2, heads=2, hidden=32)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'"
    " }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


SIZES = VitSizes(image=16, patch=8, width=16, layers=2, heads=2)
VISIONS: dict[str, AnyVlmVisionConfig] = {
    "siglip": SiglipConfig(random=SIZES),
    "siglip, last but one": SiglipConfig(random=SIZES, layer=-2),
    "clip, last but one": ClipConfig(random=SIZES, layer=-2),
    "stem": StemConfig(image=16, patch=8, width=16, layers=1, heads=2),
}


def small_vlm(kind: str = "siglip", seed: int = 0) -> VLM:
    torch.manual_seed(seed)
    return VLM.build(VlmConfig(vision=VISIONS[kind], language=LANGUAGE, max_tokens=64), TEXTS)


def qwen_directory(path: Path) -> Path:
    """Write a tiny Qwen2 with a byte-level tokenizer and ChatML, as Qwen2-Instruct's directory has them."""
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHATML
    fast.save_pretrained(path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(fast), num_key_value_heads=1, **sizes)).save_pretrained(path)
    return path


def siglip_directory(path: Path) -> Path:
    """Write a tiny SigLIP of both towers with its processor's settings, as google/siglip-* has them."""
    from transformers import SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    text = SiglipTextConfig(vocab_size=40, bos_token_id=0, eos_token_id=1, pad_token_id=1, **sizes)
    seen = SiglipVisionConfig(image_size=16, patch_size=8, **sizes)
    SiglipModel(SiglipConfig(text_config=text, vision_config=seen)).save_pretrained(path)
    size, half = {"height": 16, "width": 16}, [0.5, 0.5, 0.5]
    content = {"image_processor_type": "SiglipImageProcessor", "image_mean": half, "image_std": half, "size": size}
    write_json(path / "preprocessor_config.json", content)
    return path
