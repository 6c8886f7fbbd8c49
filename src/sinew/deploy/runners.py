"""Runs the graphs of an artefact with onnxruntime: in one pass, or from noise in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import CheckpointError, ConfigError, require
from sinew.deploy.artefact import Manifest

Arrays = dict[str, NDArray[Any]]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class GraphRunner(Protocol):
    """From an observation to actions."""

    def __call__(self, feeds: Mapping[str, NDArray[Any]], noise: NDArray[np.float32] | None) -> Arrays:
        """Return "actions" (B, H, A), unclipped, and "points.<name>" (B, k), physical units.

        Args:
            feeds: "images.<camera>", "state", "ids" and, where the artefact says so, "previous".
            noise: (B, H, A) standard normal where ``draws``, else None.
        """
        ...

    @property
    def draws(self) -> bool:
        """Whether noise is wanted."""
        ...


class Session:
    """One graph in onnxruntime.

    Args:
        path: of the file.
        threads: that one run may use; 0 means all cores.
        device: auto and cpu mean the CPU; cuda needs the package onnxruntime-gpu.

    Raises:
        CheckpointError: this onnxruntime cannot run the file.
        ConfigError: it has no such device.
        DependencyError: there is no onnxruntime.
    """

    def __init__(self, path: Path, *, threads: int, device: str) -> None:
        ort = require("onnxruntime", extra="deploy")
        provider = PROVIDERS["cpu" if device == "auto" else device] if device in (*PROVIDERS, "auto") else device
        if provider not in ort.get_available_providers():
            there = [name for name, known in PROVIDERS.items() if known in ort.get_available_providers()]
            raise ConfigError(f"--device {device}: onnxruntime has {', '.join(there)} here. Try --device cpu.")
        errors = require("onnxruntime.capi.onnxruntime_pybind11_state", extra="deploy")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self.session: Any = ort.InferenceSession(str(path), options, providers=[provider])
        except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented) as error:
            raise CheckpointError(
                f"{path}: onnxruntime {ort.__version__} cannot run it ({error}). Upgrade it, or export again."
            ) from error
        self.inputs: tuple[str, ...] = tuple(item.name for item in self.session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(item.name for item in self.session.get_outputs())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return all outputs by name; of the feeds, what the graph has no use for is left out."""
        values = self.session.run(self.outputs, {name: feeds[name] for name in self.inputs})
        return dict(zip(self.outputs, values, strict=True))


class Single:
    """One pass of one graph.

    Args:
        graphs: "policy".
    """

    draws = False

    def __init__(self, graphs: Mapping[str, Session]) -> None:
        self.policy = graphs["policy"]

    def __call__(self, feeds: Mapping[str, NDArray[Any]], noise: NDArray[np.float32] | None) -> Arrays:
        """Return actions and points."""
        del noise
        return self.policy.run(feeds)


class Denoise:
    """The observation once, then the chunk step by step from noise.

    Args:
        graphs: "prefix" and "step".
        times: of the steps.
    """

    draws = True

    def __init__(self, graphs: Mapping[str, Session], times: Sequence[float]) -> None:
        self.prefix, self.step = graphs["prefix"], graphs["step"]
        self.times = tuple(times)

    def __call__(self, feeds: Mapping[str, NDArray[Any]], noise: NDArray[np.float32] | None) -> Arrays:
        """Return actions and points."""
        if noise is None:
            raise ValueError("denoising starts from noise, and none was given")
        found = self.prefix.run(feeds)
        found["chunk"] = noise
        for time in self.times:
            found["time"] = np.full(len(noise), time, dtype=np.float32)
            found |= self.step.run(found)
            found["chunk"] = found["next"]
        return found


def open_runner(path: Path, manifest: Manifest, *, threads: int, device: str) -> GraphRunner:
    """Return the runner of an artefact with its graphs loaded.

    Raises:
        CheckpointError: onnxruntime cannot run them.
        ConfigError: there is no such device.
    """
    if manifest.format != "onnx":
        raise CheckpointError(f"{path}: graphs of format {manifest.format!r}, this sinew runs onnx. Export to onnx.")
    graphs = {
        role: Session(path / graph.file, threads=threads, device=device) for role, graph in manifest.graphs.items()
    }
    return Single(graphs) if manifest.runner == "single" else Denoise(graphs, manifest.times)
