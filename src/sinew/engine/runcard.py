"""The run card: a README.md in the run directory that says what, how, on what, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sinew.core.config import to_dict
from sinew.core.files import write_text
from sinew.core.machine import inspect_machine
from sinew.core.rundir import RunDir
from sinew.engine.progress import clock

RESULTS = "\n## Results\n"


@dataclass(frozen=True)
class Plan:
    """What is known before the first update.

    Attributes:
        purpose: one sentence.
        command: the command line that started the run.
        config: the full configuration, any dataclass.
        data: counts by name, such as episodes and frames.
        expected_s: wall time expected, None when unknown [s].
        risks: sentences on what may go wrong, and what then happens.
    """

    purpose: str
    command: str
    config: Any
    data: Mapping[str, int | str] = field(default_factory=dict)
    expected_s: float | None = None
    risks: Sequence[str] = ()


def start(rundir: RunDir, plan: Plan, modules: Mapping[str, nn.Module]) -> None:
    """Write the card, before the first update; an older one, and its results, are replaced."""
    expected = "unknown" if plan.expected_s is None else f"about {clock(plan.expected_s)}"
    parts = [
        f"# {rundir.path.name}\n\n{plan.purpose}\n",
        f"## Command\n\n```\n{plan.command}\n```\n\nExpected time: {expected}.\n",
        _section("Data", ("what", "count"), plan.data.items()),
        _section("Parameters", ("module", "trainable", "frozen"), (_count(*item) for item in modules.items())),
        _section("Risks", ("what may go wrong",), ((risk,) for risk in plan.risks)),
        _section("Configuration", ("setting", "value"), _leaves(to_dict(plan.config))),
        _section("Machine", ("what", "value"), _machine(rundir)),
    ]
    write_text(rundir.card, "\n".join(part for part in parts if part))


def finish(
    rundir: RunDir,
    *,
    results: Mapping[str, Any],
    best_update: int | None,
    elapsed_s: float,
    incidents: Sequence[str] = (),
) -> None:
    """Add how it ended; calling it again replaces what it added before.

    Args:
        rundir: the run.
        results: values by name, ready to print.
        best_update: the update that ``checkpoints/best`` points to.
        elapsed_s: wall time of training [s].
        incidents: what happened on the way, such as skipped updates or resumes.
    """
    card = rundir.card.read_text(encoding="utf-8").split(RESULTS)[0]
    best = (
        "none was tried out during training" if best_update is None else f"`checkpoints/best` is update {best_update}"
    )
    table = _table(("what", "value"), results.items())
    told = "\n".join(f"- {line}" for line in incidents) or "- none"
    ending = f"Best checkpoint: {best}. Training took {clock(elapsed_s)}."
    write_text(rundir.card, f"{card}{RESULTS}\n{table}\n{ending}\n\n### Incidents\n\n{told}\n")


def _section(title: str, head: tuple[str, ...], rows: Any) -> str:  # noqa: ANN401  (any iterable of tuples)
    table = _table(head, rows)
    return f"## {title}\n\n{table}" if table else ""


def _table(head: tuple[str, ...], rows: Any) -> str:  # noqa: ANN401  (any iterable of tuples)
    """Return a Markdown table, or nothing without rows."""
    body = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [list(head), ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if body else ""


def _count(name: str, module: nn.Module) -> tuple[str, str, str]:
    trainable = sum(item.numel() for item in module.parameters() if item.requires_grad)
    frozen = sum(item.numel() for item in module.parameters() if not item.requires_grad)
    return name, f"{trainable:,}", f"{frozen:,}"


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  (any JSON value)
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield f"`{prefix}`", json.dumps(tree)


def _machine(rundir: RunDir) -> Iterator[tuple[str, str]]:
    machine = inspect_machine(rundir.path)
    yield "system", machine.system
    yield "CPU cores", str(machine.cores)
    yield "torch threads", str(torch.get_num_threads())
    yield "memory", f"{machine.memory / 2**30:.1f} GiB"
    yield "disk free", f"{machine.disk_free / 2**30:.1f} GiB"
    yield "GPU", ", ".join(machine.gpus) or "none"
    yield "Python", machine.python
    yield "torch build", machine.torch_build
    for name, version in machine.packages.items():
        yield name, version or "not installed"
