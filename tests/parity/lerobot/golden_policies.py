"""Writes what LeRobot's ACT and Diffusion Policy answer, for weights that follow from their names (tests/filled.py).

Each directory is a ``pretrained_model/`` as LeRobot writes it, but for model.safetensors: of it there are the names and
shapes of what it would hold, as full weights of a ResNet are too large to be kept.
"""

import json
import sys
from pathlib import Path

import numpy as np
import shim  # noqa: F401  (before torchvision)
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from filled import fill

CAMERAS = ("observation.images.front", "observation.images.wrist")
SIZE, STATE, ACTION, ROWS = (64, 80), 5, 4, 3


def features(cameras):
    images = {name: PolicyFeature(FeatureType.VISUAL, (3, *SIZE)) for name in cameras}
    state = {"observation.state": PolicyFeature(FeatureType.STATE, (STATE,))}
    return {
        "input_features": {**images, **state},
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        "device": "cpu",
        "push_to_hub": False,
    }


def act(**changed):
    small = {"dim_model": 32, "n_heads": 4, "dim_feedforward": 48, "chunk_size": 6, "n_action_steps": 4}
    small |= {"n_encoder_layers": 2, "n_vae_encoder_layers": 2, "latent_dim": 8, "pretrained_backbone_weights": None}
    return ACTPolicy(ACTConfig(**features(CAMERAS), **small | changed))


def diffusion(cameras=CAMERAS[:1], **changed):
    small = {"down_dims": (16, 32), "n_groups": 4, "diffusion_step_embed_dim": 16, "horizon": 8, "n_action_steps": 4}
    small |= {"spatial_softmax_num_keypoints": 8, "crop_shape": (56, 72)}
    return DiffusionPolicy(DiffusionConfig(**features(cameras), **small | changed))


POLICIES = {
    "act": act,
    "act_plain": lambda: act(use_vae=False, pre_norm=True, feedforward_activation="gelu", n_decoder_layers=2),
    "diffusion": diffusion,
    "diffusion_ddim": lambda: diffusion(
        CAMERAS,
        noise_scheduler_type="DDIM",
        num_inference_steps=10,
        use_film_scale_modulation=False,
        crop_shape=None,
        use_separate_rgb_encoder_per_camera=True,
    ),
}


def statistics(names, rng):
    """Statistics as a data set would have them."""
    stats = {}
    for name, feature in names.items():
        shape = (3, 1, 1) if "images" in name else feature.shape
        mean, spread = rng.uniform(0.3, 0.6, shape), rng.uniform(0.2, 1.5, shape)
        columns = {"mean": mean, "std": spread, "min": mean - 2 * spread, "max": mean + 3 * spread}
        stats[name] = {key: torch.tensor(value, dtype=torch.float32) for key, value in columns.items()}
    return stats


def write(directory, policy):
    rng = np.random.default_rng(0)
    directory.mkdir(parents=True)
    config = policy.config
    config._save_pretrained(directory)
    stats = statistics({**config.input_features, **config.output_features}, rng)
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    before.save_pretrained(directory)
    after.save_pretrained(directory)

    shapes = {name: list(value.shape) for name, value in policy.state_dict().items() if value.is_floating_point()}
    computed = [name for name in shapes if name.endswith(("pos_grid", "vae_encoder_pos_enc"))]
    weights = {name: torch.from_numpy(value) for name, value in fill(shapes).items() if name not in computed}
    lacking = policy.load_state_dict(weights, strict=False)
    assert set(lacking.missing_keys) <= {*computed, *(name for name in policy.state_dict() if "num_batches" in name)}
    (directory / "shapes.json").write_text(json.dumps(shapes, indent=0) + "\n")

    ticks = config.n_obs_steps
    cameras = [name for name in config.input_features if "images" in name]
    raw = {
        name: (rng.uniform(0, 255, (ROWS, ticks, 3, 4, 5)).repeat(16, axis=3).repeat(16, axis=4)).astype(np.uint8)
        for name in cameras
    }
    state = rng.normal(size=(ROWS, ticks, STATE)).astype(np.float32)
    noise = rng.normal(size=(ROWS, getattr(config, "horizon", 0), ACTION)).astype(np.float32)
    chunks = answer(policy, before, after, raw, state, noise)
    np.savez_compressed(directory / "expected.npz", state=state, noise=noise, chunk=chunks, **raw)


def answer(policy, before, after, raw, state, noise):
    """Put the observations through LeRobot as its control loop does: one at a time, normalised, un-normalised."""
    policy.eval()
    chunks = []
    for row in range(ROWS):
        policy.reset()
        for tick in range(state.shape[1]):
            one = {name: torch.from_numpy(images[row, tick]).float() / 255 for name, images in raw.items()}
            ready = before({**one, "observation.state": torch.from_numpy(state[row, tick])})
            torch.manual_seed(row)  # DDPM draws at every step
            chunk = predict(policy, dict(ready), torch.from_numpy(noise[row : row + 1]))
        chunks.append(torch.stack([after(chunk[:, step]) for step in range(chunk.shape[1])], dim=1)[0].numpy())
    return np.stack(chunks)


def predict(policy, ready, noise):
    """Return the chunk that the newest tick leads to."""
    if policy.config.n_obs_steps == 1:
        return policy.predict_action_chunk(ready)
    policy._queues["action"].clear()
    first = policy.select_action(ready, noise=noise)
    return torch.stack([first, *policy._queues["action"]], dim=1)


if __name__ == "__main__":
    for name, build in POLICIES.items():
        torch.manual_seed(0)
        write(Path(sys.argv[1]) / name, build())
        print("written:", name)
