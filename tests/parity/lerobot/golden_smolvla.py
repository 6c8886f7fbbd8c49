"""Writes what LeRobot's SmolVLA answers and loses, for weights that follow from their names (tests/filled.py).

Each directory is a ``pretrained_model/`` as LeRobot writes it, but for model.safetensors, of which there are names and
shapes. ``vlm`` stands in for HuggingFaceTB/SmolVLM2-500M-Video-Instruct: a SmolVLM of the same layout, small, with a
tokenizer of its own.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import shim  # noqa: F401  (before torchvision)
import torch
from golden_policies import statistics
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from filled import fill

CAMERAS = {"observation.images.front": (48, 64), "observation.images.wrist": (24, 20)}
STATE, ACTION, ROWS, CHUNK = 5, 4, 3, 6
PUBLISHED = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
TASKS = ("push the red block", "lift it\n", "")
SPECIAL = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
SEEING = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
READING = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 5, "num_attention_heads": 6}
SMALL = {
    "chunk_size": CHUNK,
    "n_action_steps": 3,
    "max_state_dim": 8,
    "max_action_dim": 7,
    "resize_imgs_with_padding": (32, 32),
    "tokenizer_max_length": 12,
    "num_vlm_layers": 4,
}
POLICIES = {
    "interleaved": {"empty_cameras": 1},
    "joint": {
        "attention_mode": "self_attn",
        "expert_width_multiplier": 0.5,
        "pad_language_to": "max_length",
        "prefix_length": 60,
        "num_steps": 4,
        "num_vlm_layers": 3,
        "normalization_mapping": {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.MEAN_STD,
            "ACTION": NormalizationMode.MIN_MAX,
        },
    },
    "bfloat16": {"load_vlm_weights": True},
}


def write_vlm(place):
    """Write a small SmolVLM in the layout of the hub, weights included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    first = ["<|endoftext|>", "<|im_start|>", *SPECIAL.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TASKS, trainers.BpeTrainer(vocab_size=280, special_tokens=first, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=SPECIAL)
    fast.pad_token = fast.eos_token = "<|endoftext|>"
    processor = SmolVLMProcessor(SmolVLMImageProcessor(), fast, SmolVLMVideoProcessor(), image_seq_len=4)
    processor.save_pretrained(place)
    text = {"model_type": "llama", "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5, "rope_theta": 5000.0}
    config = SmolVLMConfig(
        vision_config={**SEEING, "image_size": 32, "patch_size": 4},
        text_config={**READING, **text, "vocab_size": len(fast), "pad_token_id": 0},
        scale_factor=4,
        image_token_id=2,
        pad_token_id=0,
    )
    model = SmolVLMForConditionalGeneration(config)
    model.save_pretrained(place)


def policy_of(vlm, **changed):
    images = {name: PolicyFeature(FeatureType.VISUAL, (3, *size)) for name, size in CAMERAS.items()}
    config = SmolVLAConfig(
        input_features={**images, "observation.state": PolicyFeature(FeatureType.STATE, (STATE,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        device="cpu",
        push_to_hub=False,
        vlm_model_name=str(vlm),
        **SMALL | changed,
    )
    return SmolVLAPolicy(config)


def write(directory, policy):
    rng = np.random.default_rng(0)
    directory.mkdir(parents=True)
    config = policy.config
    stats = statistics({**config.input_features, **config.output_features}, rng)
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    before.save_pretrained(directory)
    after.save_pretrained(directory)
    policy._save_pretrained(directory)
    for path in directory.glob("*.json"):
        path.write_text(path.read_text().replace(config.vlm_model_name, PUBLISHED))
    with safe_open(directory / "model.safetensors", "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no dictionary)
    (directory / "model.safetensors").unlink()
    weights = {name: torch.from_numpy(value) for name, value in fill(shapes).items()}
    lacking = policy.load_state_dict(weights, strict=False)
    assert not lacking.unexpected_keys, lacking
    print(directory.name, "not in the file:", lacking.missing_keys)
    (directory / "shapes.json").write_text(json.dumps(shapes, indent=0) + "\n")

    raw = {
        name: rng.uniform(0, 255, (ROWS, 1, 3, size[0] // 4, size[1] // 4)).repeat(4, axis=3).repeat(4, axis=4)
        for name, size in CAMERAS.items()
    }
    raw = {name: images.astype(np.uint8) for name, images in raw.items()}
    state = rng.normal(size=(ROWS, 1, STATE)).astype(np.float32)
    action = rng.normal(size=(ROWS, CHUNK, ACTION)).astype(np.float32)
    noise = rng.normal(size=(ROWS, CHUNK, config.max_action_dim)).astype(np.float32)
    time = rng.uniform(0.1, 1.0, ROWS).astype(np.float32)
    policy.eval()
    chunks, losses = [], []
    for row in range(ROWS):
        one = {name: torch.from_numpy(images[row, 0]).float() / 255 for name, images in raw.items()}
        one |= {"observation.state": torch.from_numpy(state[row, 0]), "task": TASKS[row]}
        start = torch.from_numpy(noise[row : row + 1])
        chunk = policy.predict_action_chunk(dict(before(dict(one))), noise=start)
        chunks.append(torch.stack([after(chunk[:, step]) for step in range(CHUNK)], dim=1)[0].float().numpy())
        ready = dict(before({**one, "action": torch.from_numpy(action[row : row + 1])}))
        with torch.no_grad():
            loss, _ = policy.forward(ready, start, torch.from_numpy(time[row : row + 1]), reduction="none")
        losses.append(loss.numpy())
    np.savez_compressed(
        directory / "expected.npz",
        state=state,
        action=action,
        noise=noise,
        time=time,
        chunk=np.stack(chunks),
        loss=np.concatenate(losses),
        **raw,
    )


if __name__ == "__main__":
    out = Path(sys.argv[1])
    torch.manual_seed(0)
    write_vlm(out / "vlm")
    for name, changed in POLICIES.items():
        torch.manual_seed(0)
        write(out / name, policy_of(out / "vlm", **changed))
        print("written:", name)
    for name in out.glob("vlm/*"):
        if name.name not in ("config.json", "tokenizer.json"):
            shutil.rmtree(name) if name.is_dir() else name.unlink()
