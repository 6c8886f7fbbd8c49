"""Counts what tensors take while a step runs: live bytes and their peak, operator calls, floating-point operations."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class Ledger(TorchDispatchMode):
    """Keeps the books of every storage that is made inside its ``with`` statement.

    It sees what is allocated through operators, on any device and in the backward pass too. Scratch space inside a
    kernel and what an allocator keeps back are not seen; ``forecast.SPARE`` stands for them. The count follows from
    shapes alone and is the same on every machine.

    Attributes:
        live: bytes of tensors made inside and alive now.
        peak: most bytes alive at a time.
        calls: operator calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.calls = 0
        self._known: set[int] = set()
        self._flops = FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)

    @property
    def flops(self) -> int:
        """Floating-point operations of matrix products, convolutions and attention; an addition counts as one."""
        return self._flops.get_total_flops()

    def __enter__(self) -> Ledger:
        """Begin to count."""
        self._flops.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop counting; what is freed later still leaves ``live``."""
        super().__exit__(kind, error, trace)
        self._flops.__exit__(kind, error, trace)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Call the operator and enter what it made."""
        given = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        for tensor in _tensors(result):
            self._enter(tensor.untyped_storage(), given)
        return result

    def _enter(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        """Count a storage once; one that came in as an argument and is not in the books was there before."""
        key, size = id(storage), storage.nbytes()
        if key in self._known or key in given:
            return
        self._known.add(key)
        weakref.finalize(storage, self._leave, key, size).atexit = False
        self.live += size
        self.peak = max(self.peak, self.live)

    def _leave(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def storage_bytes(tree: Any) -> int:  # noqa: ANN401  (any tree)
    """Return the bytes of all tensors of a tree, what shares memory counted once."""
    storages = {id(storage): storage for storage in (tensor.untyped_storage() for tensor in _tensors(tree))}
    return sum(storage.nbytes() for storage in storages.values())


def _tensors(tree: Any) -> Iterator[Tensor]:  # noqa: ANN401  (any tree)
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            yield leaf


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Return the operations of softmax(Q K') V for (B, heads, N, d): two products of 2 B heads N M d each."""
    batch, heads, rows, size = query
    return 2 * batch * heads * rows * key[-2] * (size + value[-1])


def _attention_backward(
    grad: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """Return those of its backward pass: the scores again, and two products for each of the two."""
    return 5 * _attention(query, key, value) // 2


_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,  # noqa: SLF001
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,  # noqa: SLF001
}
"""What torch's own table lacks."""
