"""Physical units to unit scale and back; the policy owns it as buffers, so nobody can skip it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from sinew.core.errors import DataError

if TYPE_CHECKING:
    from sinew.core.types import Statistics

FLOOR = 1e-4
log = logging.getLogger(__name__)


class Normalizer(nn.Module):
    """Mean and standard deviation by name, of state, action and targets.

    Args:
        sizes: D by name; buffers of that size wait for ``fit`` or for loaded weights.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        for name, size in sizes.items():
            self.register_buffer(f"{name}_mean", torch.full((size,), float("nan")))
            self.register_buffer(f"{name}_std", torch.full((size,), float("nan")))

    def fit(self, statistics: Mapping[str, Statistics], *, fixed: Mapping[str, Sequence[bool]] | None = None) -> None:
        """Take statistics; a spread below 1e-4 is floored to 1 and said.

        Args:
            statistics: by name.
            fixed: values by name that are left as they are (two-valued actions).

        Raises:
            DataError: a statistic is missing, of another size or not finite.
        """
        for name, size in self.sizes.items():
            found = statistics.get(name)
            if found is None or found.mean.shape != (size,):
                seen = "none" if found is None else f"{found.mean.shape[0]} values"
                raise DataError(
                    f"statistics of {name!r}: found {seen}, wanted {size} values. Compute them from this policy's data."
                )
            if not (np.isfinite(found.mean).all() and np.isfinite(found.std).all()):
                raise DataError(
                    f"statistics of {name!r} are not finite: mean {found.mean}, std {found.std}. Check the data."
                )
            mean, std = torch.from_numpy(found.mean.copy()), torch.from_numpy(found.std.copy())
            keep = torch.tensor((fixed or {}).get(name, [False] * size), dtype=torch.bool)
            narrow = (std < FLOOR) & ~keep
            if narrow.any():
                log.warning(
                    "%s: values %s hardly vary; they are centred but not scaled.",
                    name,
                    narrow.nonzero().flatten().tolist(),
                )
            self.get_buffer(f"{name}_mean").copy_(mean.masked_fill(keep, 0.0))
            self.get_buffer(f"{name}_std").copy_(std.masked_fill(keep | narrow, 1.0))

    def to_unit(self, name: str, values: Tensor) -> Tensor:
        """Return physical values (..., D) at unit scale."""
        return (values - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_std")

    def to_physical(self, name: str, values: Tensor) -> Tensor:
        """Return values (..., D) at unit scale in physical units."""
        return values * self.get_buffer(f"{name}_std") + self.get_buffer(f"{name}_mean")
