"""The parts of a network, and how much gradient each of them gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

LARGE = {True: 0.25, False: 0.5}
"""Share of the trainable tensors from which a child is looked at in its own parts: of the whole, and of a part."""
RANGES = 4
"""Groups of consecutive layers that a deep stack is told in."""

Parts = Mapping[str, Sequence[nn.Parameter]]


def parts_of(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters of a network by the part they belong to.

    Parts are its children; one with a quarter of all tensors is split into its own children, and of these one with
    half of all. Numbered layers are taken together in at most four ranges, such as "layers.0-5".
    """
    total = len(_trainable(module))
    return {name: list(found) for name, found in _split(module, "", total) if found}


@torch.no_grad()
def gradient_rms(parts: Parts) -> dict[str, Tensor]:
    """Return the root mean square gradient per weight of each part, 0-dim each; nobody waits for them.

    Weights without a gradient count as 0. Under sharding every rank must call it.
    """
    found = {name: [item.grad for item in members if item.grad is not None] for name, members in parts.items()}
    every = [gradient for gradients in found.values() for gradient in gradients]
    if not every:
        return {}
    each = torch._foreach_norm(every)  # noqa: SLF001  # pyright: ignore
    norms = torch.stack([_whole(norm) for norm in each]).float()
    squares = norms.square().split([len(gradients) for gradients in found.values()])
    sizes = {name: sum(item.numel() for item in members) for name, members in parts.items()}
    return {name: (square.sum() / sizes[name]).sqrt() for name, square in zip(found, squares, strict=True)}


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _split(module: nn.Module, name: str, total: int) -> Iterator[tuple[str, list[nn.Parameter]]]:
    """Yield the parts of a module that is too large to be one."""
    children = {child: part for child, part in module.named_children() if _trainable(part)}
    prefix = f"{name}." if name else ""
    own = [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
    yield name or "weights", own
    if len(children) > RANGES and all(child.isdigit() for child in children):
        yield from _ranges(prefix, children)
        return
    for child, part in children.items():
        members = _trainable(part)
        if len(members) > LARGE[not name] * total and any(True for _ in part.children()):
            yield from _split(part, f"{prefix}{child}", total)
        else:
            yield f"{prefix}{child}", members


def _ranges(prefix: str, children: Mapping[str, nn.Module]) -> Iterator[tuple[str, list[nn.Parameter]]]:
    names = list(children)
    for number in range(RANGES):
        chosen = names[number * len(names) // RANGES : (number + 1) * len(names) // RANGES]
        last = f"-{chosen[-1]}" if len(chosen) > 1 else ""
        yield f"{prefix}{chosen[0]}{last}", [item for name in chosen for item in _trainable(children[name])]


def _whole(norm: Tensor) -> Tensor:
    """Return the norm over all shards of a sharded gradient."""
    full = getattr(norm, "full_tensor", None)
    return norm if full is None else full()
