"""A policy cut into modules that can be exported: physical units and word ids in, physical units out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from sinew.models.heads.flow import FlowHead

if TYPE_CHECKING:
    from sinew.core.types import ActionHead, Features
    from sinew.models.network import Scene
    from sinew.models.policy import VLAPolicy


@runtime_checkable
class SteppingHead(Protocol):
    """An action head that carries noise to a chunk step by step, and draws nothing on the way."""

    @property
    def times(self) -> tuple[float, ...]:
        """What tells each step which one it is."""
        ...

    def remember(self, features: Features) -> tuple[Tensor, ...]:
        """Return what the steps need of the features, each (B, ...)."""
        ...

    def advance(self, memory: tuple[Tensor, ...], chunk: Tensor, time: Tensor) -> Tensor:
        """Return the chunk (B, H, A) one step after ``time`` (B,), one of ``times``."""
        ...

    def finish(self, memory: tuple[Tensor, ...], chunk: Tensor) -> Tensor:
        """Return the chunk (B, H, A) with its two-valued actions decided from ``memory`` alone."""
        ...


class Seeing(nn.Module):
    """What all graphs that take an observation share.

    Args:
        policy: to be exported, in evaluation mode.
        points: names of the points that are outputs.
    """

    def __init__(self, policy: VLAPolicy, points: tuple[str, ...]) -> None:
        super().__init__()
        self.policy, self.names = policy, points

    def see(self, images: list[Tensor], state: Tensor, ids: Tensor, previous: Tensor | None) -> Scene:
        """Return features and points of images (B, T, 3, h, w) per camera, state (B, T, S) and ids (B, N).

        ``previous`` (B, P, A) are the actions executed before, for a policy that looks at them.
        """
        return self.policy.see(dict(zip(self.policy.spec.cameras, images, strict=True)), ids, state, previous)

    def points(self, scene: Scene) -> tuple[Tensor, ...]:
        """Return the points, each (B, k), physical units."""
        to_physical = self.policy.normalizer.to_physical
        return tuple(to_physical(f"targets_{name}", scene.points[name]) for name in self.names)


class Whole(Seeing):
    """From an observation to actions in one pass."""

    def forward(
        self, images: list[Tensor], state: Tensor, ids: Tensor, previous: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return actions (B, H, A) and the points."""
        scene = self.see(images, state, ids, previous)
        chunk = cast("ActionHead", self.policy.head).sample(scene.features)
        return self.policy.taken(chunk, state), *self.points(scene)


class Prefix(Seeing):
    """From an observation to all that the steps need of it."""

    def forward(
        self, images: list[Tensor], state: Tensor, ids: Tensor, previous: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return a chunk (B, H, A), the points, and the head's memory.

        Of the chunk the two-valued actions count; in place of the others stands what is to be added to them.
        """
        scene, head = self.see(images, state, ids, previous), cast("SteppingHead", self.policy.head)
        memory = head.remember(scene.features)
        own = memory[0].new_zeros(memory[0].shape[0], self.policy.config.horizon, self.policy.spec.action_size)
        begin = self.policy.laid_out(self.policy.frame.taken(own, state))
        return head.finish(memory, begin), *self.points(scene), *memory


class Step(nn.Module):
    """One step of the chunk, with what it would be as actions.

    Args:
        policy: to be exported, with a ``SteppingHead``.
    """

    def __init__(self, policy: VLAPolicy) -> None:
        super().__init__()
        self.policy, self.head = policy, policy.head
        self.register_buffer("binary", torch.tensor(policy.layout.binary_mask), persistent=False)
        self.binary: Tensor

    def forward(self, memory: list[Tensor], decided: Tensor, chunk: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next chunk (B, H, A) at unit scale, and it in physical units with two-valued actions decided.

        Of a head whose actions have more values inside, the chunk has those.
        """
        following = cast("SteppingHead", self.head).advance(tuple(memory), chunk, time)
        own = following if following.shape[-1] == len(self.binary) else following[..., : len(self.binary)]
        whole = self.policy.cut(torch.where(self.binary, decided, own))
        actions = self.policy.own.to_physical("action", whole)
        if self.policy.frame.sign:
            actions = actions + self.policy.cut(torch.where(self.binary, torch.zeros_like(decided), decided))
        return following, actions


def inside(policy: VLAPolicy) -> int:
    """Return how many values a step of the noise has: the robot's actions, those of its layout, or more."""
    return policy.head.size if isinstance(policy.head, FlowHead) else policy.layout.action_size
