"""Writes what OpenVLA answers, for weights that follow from their names (tests/filled.py): ``golden.py OPENVLA OUT``.

OPENVLA is a checkout of github.com/openvla/openvla, whose ``prismatic/extern/hf`` is what the published checkpoints run
with. It wants timm 0.9.16, transformers 4.40.1 and tokenizers 0.19.1 beside torch and torchvision. All is OpenVLA's own
but the sizes of its two towers.
"""

import functools
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from filled import fill
from small_openvla import PROMPT, TASKS, only_actions

SIDE, SIZE = 16, 7
TOWERS = {
    "vit_large_patch14_reg4_dinov2.lvd142m": functools.partial(
        VisionTransformer, embed_dim=16, depth=4, reg_tokens=4, no_embed_class=True, init_values=1e-5
    ),
    "vit_so400m_patch14_siglip_224": functools.partial(
        VisionTransformer, embed_dim=24, depth=3, class_token=False, global_pool="map"
    ),
}
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT |= {"num_key_value_heads": 4, "vocab_size": 32064, "rms_norm_eps": 1e-6, "max_position_embeddings": 128}
COLOURS = [[0.484375, 0.455078125, 0.40625], [0.5, 0.5, 0.5]], [[0.228515625, 0.2236328125, 0.224609375], [0.5] * 3]


def theirs(checkout):
    """Return OpenVLA's modules, with small towers."""
    timm.create_model = lambda name, pretrained, num_classes, img_size, act_layer: TOWERS[name](
        img_size=SIDE, patch_size=4, num_heads=2, num_classes=num_classes, act_layer=act_layer
    )
    package = sys.modules["theirs"] = types.ModuleType("theirs")
    package.__path__ = [str(checkout / "prismatic/extern/hf")]
    return [importlib.import_module(f"theirs.{name}_prismatic") for name in ("configuration", "modeling", "processing")]


def tokenizer_of(place):
    """Write a small tokenizer that begins a sentence as Llama's does, and return it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    said = [PROMPT.format(task.lower()) for task in TASKS]
    tokenizer.train_from_iterator(
        said, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(place)
    for path in place.glob("*token*"):
        if path.name != "tokenizer.json":
            path.unlink()
    return fast


def main(checkout, out):
    out.mkdir(parents=True)
    configuration, modeling, processing = theirs(checkout)
    rng = np.random.default_rng(0)
    low, high = -rng.uniform(0.1, 1, SIZE), rng.uniform(0.1, 1, SIZE)
    numbers = {"q01": low, "q99": high, "min": 1.1 * low, "max": 1.1 * high, "mean": 0 * low, "std": high}
    action = {name: value.tolist() for name, value in numbers.items()} | {"mask": [True] * 6 + [False]}
    stats = {name: {"action": action, "num_trajectories": 5} for name in ("bridge_orig", "other")}
    stats["other"] = {"action": {**action, "q99": [2.0] * SIZE}, "num_trajectories": 2}
    config = configuration.OpenVLAConfig(
        norm_stats=stats,
        vision_backbone_id="dinosiglip-vit-so-224px",
        llm_backbone_id="llama2-7b-pure",
        arch_specifier="no-align+fused-gelu-mlp",
        image_resize_strategy="resize-naive",
        text_config=TEXT,
        pad_token_id=2,
    )
    config.image_sizes = [SIDE, SIDE]
    torch.manual_seed(0)
    policy = modeling.OpenVLAForActionPrediction(config).eval()
    policy.save_pretrained(out)
    with safe_open(out / "model.safetensors", "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no dictionary)
    (out / "model.safetensors").unlink()
    (out / "shapes.json").write_text(json.dumps(shapes, indent=0) + "\n")
    weights = only_actions({name: torch.from_numpy(value) for name, value in fill(shapes).items()})
    print(policy.load_state_dict(weights, strict=False))
    seen = processing.PrismaticImageProcessor(
        use_fused_vision_backbone=True,
        image_resize_strategy="resize-naive",
        input_sizes=[(3, SIDE, SIDE)] * 2,
        interpolations=["bicubic"] * 2,
        means=COLOURS[0],
        stds=COLOURS[1],
    )
    seen.save_pretrained(out)
    words = tokenizer_of(out)
    images = rng.integers(0, 256, (len(TASKS), SIDE, SIDE, 3), dtype=np.uint8)
    actions, scores = [], []
    for image, task in zip(images, TASKS, strict=True):
        pixels = seen(Image.fromarray(image), return_tensors="pt")["pixel_values"]
        ids = torch.tensor([words(PROMPT.format(task.lower())).input_ids])
        actions.append(policy.predict_action(ids, "bridge_orig", pixel_values=pixels, do_sample=False))
        ids = torch.cat([ids, torch.tensor([[29871]])], dim=1)
        said = policy.generate(ids, max_new_tokens=SIZE, pixel_values=pixels, do_sample=False)
        with torch.no_grad():
            logits = policy(input_ids=said, attention_mask=torch.ones_like(said), pixel_values=pixels).logits
        scores.append(logits[0, -SIZE - 1 : -1, 31744:32000].log_softmax(dim=-1).flip(-1).numpy())
    np.savez_compressed(out / "expected.npz", images=images, actions=np.stack(actions), scores=np.stack(scores))
    print(np.stack(actions))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
