"""Writes what LeRobot's pi0 answers and loses, for weights that follow from their names (tests/filled.py).

LeRobot 0.4.4 asks for a branch of transformers that is on no package index. What that branch changes and pi0 uses
stands in below (norms that also return a gate, which pi0 does not have; image features that are not divided); all else
is LeRobot's own: names, processors, padding, masks, positions, time, attention and loss. Velocities are read as they
leave its last layer in training, at the times of its Euler steps.

``vlm`` stands in for google/paligemma-3b-pt-224: a small PaliGemma of the same layout, with a tokenizer of its own.
"""

import functools
import json
import sys
import types
from pathlib import Path

import numpy as np
import shim  # noqa: F401  (before torchvision)
import torch
import transformers.models.siglip
from golden_policies import statistics
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.pi0 import modeling_pi0, processor_pi0
from lerobot.policies.pi0.configuration_pi0 import PI0Config
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PaliGemmaConfig, PreTrainedTokenizerFast
from transformers.models.gemma import modeling_gemma
from transformers.models.paligemma.modeling_paligemma import PaliGemmaModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from filled import fill

CAMERAS = {"observation.images.front": (48, 64), "observation.images.wrist": (24, 20)}
STATE, ACTION, ROWS, CHUNK, SIDE = 5, 4, 3, 6, 32
PUBLISHED = "google/paligemma-3b-pt-224"
TASKS = ("push the red block", "lift it\n", "")
SEEING = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
SEEING |= {"image_size": SIDE, "patch_size": 8, "vision_use_head": False, "model_type": "siglip_vision_model"}
READING = modeling_pi0.GemmaConfig(width=48, depth=3, mlp_dim=64, num_heads=8, num_kv_heads=1, head_dim=8)
ACTING = modeling_pi0.GemmaConfig(width=24, depth=3, mlp_dim=40, num_heads=8, num_kv_heads=1, head_dim=8)
SMALL = {
    "chunk_size": CHUNK,
    "n_action_steps": 3,
    "max_state_dim": 8,
    "max_action_dim": 7,
    "image_resolution": (SIDE, SIDE),
    "tokenizer_max_length": 12,
    "num_inference_steps": 5,
}
POLICIES = {"whole": {"empty_cameras": 1}}


def stand_in(vlm, words):
    """Put small sizes, and what the branch of transformers changes, in their places."""
    checks = types.ModuleType("transformers.models.siglip.check")
    checks.check_whether_transformers_replace_is_installed_correctly = lambda: True
    transformers.models.siglip.check = sys.modules[checks.__name__] = checks
    norm = modeling_gemma.GemmaRMSNorm.forward
    modeling_gemma.GemmaRMSNorm.forward = lambda self, x, cond=None: (norm(self, x), None)
    modeling_gemma._gated_residual = lambda x, y, gate: x + y
    PaliGemmaModel.get_image_features = lambda self, pixels: self.multi_modal_projector(
        self.vision_tower(pixels).last_hidden_state
    )
    modeling_pi0.get_gemma_config = {"gemma_2b": READING, "gemma_300m": ACTING}.__getitem__
    mapping = modeling_pi0.CONFIG_MAPPING
    small = functools.partial(PaliGemmaConfig, vision_config=dict(SEEING), projection_dim=READING.width)
    modeling_pi0.CONFIG_MAPPING = {"paligemma": small, "gemma": mapping["gemma"]}

    def of_few_words(kind):
        def build(config):
            config.vocab_size = words
            if hasattr(config, "text_config"):
                config.text_config.vocab_size = words
                config.vision_config.intermediate_size = SEEING["intermediate_size"]
                config.vision_config.projection_dim = READING.width
            return kind(config=config)

        return build

    modeling_pi0.PaliGemmaForConditionalGeneration = of_few_words(modeling_pi0.PaliGemmaForConditionalGeneration)
    modeling_pi0.GemmaForCausalLM = of_few_words(modeling_pi0.GemmaForCausalLM)
    step = processor_pi0.TokenizerProcessorStep
    processor_pi0.TokenizerProcessorStep = lambda tokenizer_name, **more: step(tokenizer_name=str(vlm), **more)


def write_vlm(place):
    """Write the tokenizer and the settings of a small PaliGemma; return how many words it has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    first = ["<pad>", "<eos>", "<bos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TASKS, trainers.BpeTrainer(vocab_size=280, special_tokens=first, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    fast.save_pretrained(place)
    text = {"model_type": "gemma", "hidden_size": READING.width, "intermediate_size": READING.mlp_dim}
    text |= {"num_hidden_layers": READING.depth, "num_attention_heads": READING.num_heads}
    text |= {"num_key_value_heads": READING.num_kv_heads, "head_dim": READING.head_dim, "vocab_size": len(fast)}
    PaliGemmaConfig(vision_config=dict(SEEING), text_config=text, projection_dim=READING.width).save_pretrained(place)
    return len(fast)


def policy_of(**changed):
    images = {name: PolicyFeature(FeatureType.VISUAL, (3, *size)) for name, size in CAMERAS.items()}
    config = PI0Config(
        input_features={**images, "observation.state": PolicyFeature(FeatureType.STATE, (STATE,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        device="cpu",
        push_to_hub=False,
        **SMALL | changed,
    )
    return modeling_pi0.PI0Policy(config)


def write(directory, policy, vlm):
    rng = np.random.default_rng(0)
    directory.mkdir(parents=True)
    config = policy.config
    stats = statistics({**config.input_features, **config.output_features}, rng)
    before, after = processor_pi0.make_pi0_pre_post_processors(config, stats)
    before.save_pretrained(directory)
    after.save_pretrained(directory)
    policy._save_pretrained(directory)
    for path in directory.glob("*.json"):
        path.write_text(path.read_text().replace(str(vlm), PUBLISHED))
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
        ready = dict(before({**one, "action": torch.from_numpy(action[row : row + 1])}))
        start, moment = torch.from_numpy(noise[row : row + 1]), torch.from_numpy(time[row : row + 1])
        with torch.no_grad():
            losses.append(loss(policy, ready, start, moment).numpy())
            chunk = walk(policy, ready, start)[..., :ACTION]
        chunks.append(torch.stack([after(chunk[:, step]) for step in range(CHUNK)], dim=1)[0].float().numpy())
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


def loss(policy, ready, noise, time):
    """Return LeRobot's loss with this noise and time, which it takes below its policy's own ``forward``."""
    inner = policy.model
    given = functools.partial(type(inner).forward, inner, noise=noise, time=time)
    inner.forward = given
    found, _ = policy.forward(ready, reduction="none")
    del inner.forward
    return found


def walk(policy, ready, noise):
    """Return a chunk by LeRobot's Euler steps, each with the velocity that leaves the last layer."""
    left = []
    handle = policy.model.action_out_proj.register_forward_hook(lambda layer, given, found: left.append(found))
    steps = policy.config.num_inference_steps
    for step in range(steps):
        time = torch.tensor([1.0 + step * (-1.0 / steps)], dtype=torch.float32)
        images, seen = policy._preprocess_images(ready)
        words, said = ready["observation.language.tokens"], ready["observation.language.attention_mask"]
        # With these for actions, what it mixes is the noise that it is given.
        inner = [images, seen, words, said, policy.prepare_state(ready), noise]
        policy.model.forward(*inner, noise=noise, time=time)
        noise = noise + (-1.0 / steps) * left[-1]
    handle.remove()
    return noise


if __name__ == "__main__":
    out = Path(sys.argv[1])
    stand_in(out / "vlm", write_vlm(out / "vlm"))
    for name, changed in POLICIES.items():
        torch.manual_seed(0)
        write(out / name, policy_of(**changed), out / "vlm")
        print("written:", name)
    for path in (out / "vlm").glob("*"):
        if path.name not in ("config.json", "tokenizer.json"):
            path.unlink()
