"""What tests of several floors share and should make once."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sinew.models.policy import VLAPolicy

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: threads of each would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[VLAPolicy, Path]]:
    """Return a function that exports the tiny policy with the head of that name; tracing takes seconds.

    It is done once, also where several processes run the tests. Only "mlp" has history and sentences of
    any length, the others are as small as they can be; "gaussian" and "diffusion" remember three executed actions,
    "bins" has two cameras of different sizes.
    """
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    place = tmp_path_factory.mktemp("exported") if alone else tmp_path_factory.getbasetemp().parent / "exported"
    place.mkdir(exist_ok=True)

    @lru_cache
    def export(head: str) -> tuple[VLAPolicy, Path]:
        import torch

        from sinew.core.types import CameraSpec
        from sinew.deploy.artefact import is_artefact
        from sinew.deploy.onnx import export_onnx
        from sinew.models.config import LstmConfig
        from toy import ToyConfig
        from toy_policy import SIZE, SMALL, tiny_policy

        least = {"history": 1, "language": dataclasses.replace(SMALL.language, max_tokens=1)}
        past = LstmConfig(ticks=3, width=8) if head in ("gaussian", "diffusion") else None
        spec = ToyConfig(size=SIZE).spec
        if head == "bins":
            spec = dataclasses.replace(spec, cameras={**spec.cameras, "wrist": CameraSpec(6, 10)})
        policy = tiny_policy(head, spec=spec, previous=past, **({} if head == "mlp" else least))
        if policy.before is not None:
            torch.nn.init.normal_(policy.before.leave.weight, std=0.3)
        with (place / f"{head}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_artefact(place / head):
                export_onnx(policy, place / head, source={"run": "toy"})
        return policy, place / head

    return export
