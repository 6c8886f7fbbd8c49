"""Writes walks of diffusers' schedulers, which ours must repeat: python golden.py OUT.json, diffusers 0.42.1."""

import json
import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler

SHAPE = (2, 3, 2)
BOUND = 2.0
NAMES = {"epsilon": "epsilon", "sample": "sample", "velocity": "v_prediction"}


def said(sample, step, length):
    """Stands in for a network; tests/models/test_noise_schedule.py has the same."""
    return 1.5 * torch.sin(3.0 * sample + step / length)


def walk(scheduler, length, eta):
    """Return the samples of a walk from fixed noise and the noise added on the way."""
    random = torch.Generator().manual_seed(0)
    sample = torch.randn(SHAPE, generator=random)
    samples, noises = [sample], []
    for number, step in enumerate(scheduler.timesteps):
        noise = torch.randn(SHAPE, generator=random.manual_seed(number + 1))
        if isinstance(scheduler, DDIMScheduler):
            options = {"eta": eta, "use_clipped_model_output": True, "variance_noise": noise if eta else None}
        else:
            options = {"generator": random.manual_seed(number + 1)}
        sample = scheduler.step(said(sample, step, length), step, sample, **options).prev_sample
        samples.append(sample)
        noises.append(noise)
    return {"samples": [item.tolist() for item in samples], "noises": [item.tolist() for item in noises]}


cases = []
for name, theirs in NAMES.items():
    common = {
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": theirs,
        "clip_sample": True,
        "clip_sample_range": BOUND,
        "timestep_spacing": "trailing",
    }
    for kind, length, steps, eta in (("ddpm", 20, 20, 1.0), ("ddim", 100, 10, 0.0), ("ddim", 100, 10, 1.0)):
        scheduler = (DDPMScheduler if kind == "ddpm" else DDIMScheduler)(num_train_timesteps=length, **common)
        scheduler.set_timesteps(steps)
        clean, noise = torch.linspace(-1, 1, 6).view(1, 3, 2), torch.linspace(2, -1, 6).view(1, 3, 2)
        step = torch.tensor([length // 3])
        cases.append(
            {
                "kind": kind,
                "prediction": name,
                "length": length,
                "steps": steps,
                "eta": eta,
                "bound": BOUND,
                "timesteps": scheduler.timesteps.tolist(),
                "alphas": scheduler.alphas_cumprod.tolist(),
                "blurred": scheduler.add_noise(clean, noise, step).tolist(),
                **walk(scheduler, length, eta),
            }
        )
Path(sys.argv[1]).write_text(json.dumps(cases) + "\n")
