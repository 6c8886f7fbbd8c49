"""Several bodies in one layout: what a policy of all of them sees and predicts, and what each one takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.types import RobotSpec
from sinew.models.action_frame import ActionFrame
from sinew.models.normalizer import Normalizer

if TYPE_CHECKING:
    from sinew.core.types import Batch, CameraSpec, Statistics
    from sinew.models.config import PolicyConfig

BODY = "body"
"""Key of ``Observation.context`` under which rows of a mixture say which body they are of, (B,) int64."""
Value = tuple[str, str, tuple[float, float] | None]
"""What makes values of two bodies the same: name, unit, and for two-valued ones which two."""


def joint_spec(specs: Sequence[RobotSpec]) -> RobotSpec:
    """Return a robot with all that any of the bodies has, which none of them is: the layout of a policy of several.

    State and action values of one name and unit share a place, all others have one of their own; cameras go by name.
    Calibrations are left out, since each body has its own.

    Raises:
        SpecError: two bodies have one name, or a camera of one name has several sizes.
    """
    names = [spec.embodiment for spec in specs]
    if len(set(names)) != len(names):
        raise SpecError(f"bodies named {', '.join(names)}: each needs a name of its own (embodiment in its spec.json).")
    cameras: dict[str, CameraSpec] = {}
    for spec in specs:
        for name, camera in spec.cameras.items():
            plain = dataclasses.replace(camera, intrinsics=None, pose=None)
            if cameras.setdefault(name, plain) != plain:
                raise SpecError(
                    f"camera {name} of {spec.embodiment} has {camera.height} x {camera.width} pixels, that of another "
                    f"body {cameras[name].height} x {cameras[name].width}. Scale all: --data.ingest.image-size H W"
                )
    states, actions = (_union(specs, what) for what in ("state", "action"))
    bounds = {value: [_bounds(spec, value) for spec in specs if value in _values(spec, "action")] for value in actions}
    return RobotSpec(
        embodiment="+".join(names),
        cameras=cameras,
        state=_told_apart(states),
        state_units=tuple(unit for _, unit, _ in states),
        action=(named := _told_apart(actions)),
        action_units=tuple(unit for _, unit, _ in actions),
        low=tuple(min(low for low, _ in bounds[value]) for value in actions),
        high=tuple(max(high for _, high in bounds[value]) for value in actions),
        hz=specs[0].hz,
        kind=specs[0].kind,
        binary=tuple(name for name, value in zip(named, actions, strict=True) if value[2] is not None),
    )


class OneBody(nn.Module):
    """One body within the joint layout: its scale, what its actions are measured from, and the places of its values.

    Args:
        spec: of the body.
        config: of the policy.
        specs: of all bodies.
    """

    def __init__(self, spec: RobotSpec, config: PolicyConfig, specs: Sequence[RobotSpec]) -> None:
        super().__init__()
        self.spec = spec
        self.normalizer = Normalizer({"state": spec.state_size, "action": spec.action_size})
        self.frame = ActionFrame(spec, config)
        self.sizes: dict[str, int] = {}
        for what in ("state", "action"):
            joint = _union(specs, what)
            own = _values(spec, what)
            places = torch.tensor([joint.index(value) for value in own], dtype=torch.int64)
            source = torch.tensor([own.index(value) if value in own else len(own) for value in joint])
            self.sizes[what] = len(joint)
            self.register_buffer(f"{what}_places", places, persistent=False)
            self.register_buffer(f"{what}_source", source, persistent=False)

    def state(self, state: Tensor) -> Tensor:
        """Return states (B, T, S or more) of this body in the joint layout at unit scale, zeros where it has none."""
        return self.spread("state", state[..., : self.spec.state_size])

    def actions(self, actions: Tensor, state: Tensor) -> Tensor:
        """Return actions (B, H, A or more), taken in a state, likewise, as the policy predicts them."""
        return self.spread("action", self.frame.predicted(actions[..., : self.spec.action_size], state))

    def taken(self, chunk: Tensor, state: Tensor) -> Tensor:
        """Return predicted chunks (B, H, joint A) at unit scale as this body takes them, (B, H, A) physical."""
        return self.frame.taken(self.normalizer.to_physical("action", self.cut(chunk)), state)

    def cut(self, actions: Tensor) -> Tensor:
        """Return this body's of the values (..., joint A)."""
        return actions.index_select(-1, self.get_buffer("action_places"))

    def spread(self, what: str, own: Tensor) -> Tensor:
        """Return physical values (..., D) of "state" or "action" at unit scale, each at its place."""
        return self.placed(what, self.normalizer.to_unit(what, own))

    def placed(self, what: str, own: Tensor) -> Tensor:
        """Return values (..., D) as they are, each at its place, zeros where this body has none."""
        padded = functional.pad(own, (0, 1))  # what it lacks is taken from the zero behind the end
        return padded.index_select(-1, self.get_buffer(f"{what}_source"))


class Bodies(nn.Module):
    """All bodies of a policy. Which one a row is of is a number, in the order in which they were named.

    The features are told the body by a learned vector, as Octo (2024, arXiv:2405.12213) and others do by a prompt.

    Args:
        specs: of the bodies, at least two.
        config: of the policy.
        width: D of the features.

    Raises:
        SpecError: see ``joint_spec``.
        ConfigError: actions that cannot be measured from a state as asked for.
    """

    def __init__(self, specs: Sequence[RobotSpec], config: PolicyConfig, width: int) -> None:
        super().__init__()
        self.specs, self.states = tuple(specs), config.grounding.states or ()
        self.each = nn.ModuleList([OneBody(spec, config, specs) for spec in specs])
        self.tell = nn.Embedding(len(specs), width)
        nn.init.normal_(self.tell.weight, std=0.02)
        self.register_buffer("known", self._has("action"), persistent=False)
        self.register_buffer("felt", self._has("state"), persistent=False)
        self.known: Tensor
        self.felt: Tensor

    def __getitem__(self, number: int) -> OneBody:
        """Return one body."""
        body = self.each[number]
        assert isinstance(body, OneBody)
        return body

    def number(self, name: str) -> int:
        """Return the number of the body of that name.

        Raises:
            ConfigError: there is none.
        """
        names = [spec.embodiment for spec in self.specs]
        if name not in names:
            raise ConfigError(f"body {name!r}: this policy knows {', '.join(names)}. Name one of these.")
        return names.index(name)

    def state(self, state: Tensor, body: Tensor) -> Tensor:
        """Return states (B, T, S) of rows of these bodies (B,) in the joint layout at unit scale."""
        return _chosen([one.state(state) for one in self.every()], body)

    def actions(self, actions: Tensor, state: Tensor, body: Tensor) -> Tensor:
        """Return actions (B, H, A) of rows of these bodies (B,), taken in a state, likewise, as they are predicted."""
        return _chosen([one.actions(actions, state) for one in self.every()], body)

    def told(self, body: Tensor | None, acts_as: int | None) -> Tensor:
        """Return the vector of each row's body, (B, 1, D), or of the one that acts."""
        return self.tell.weight[acts_as] if body is None else self.tell(body)[:, None]

    def only_felt(self, states: Tensor, body: Tensor | None, acts_as: int | None) -> Tensor:
        """Return states (B, S) in the joint layout with zeros for values that a row's body does not have."""
        return states * (self.felt[acts_as] if body is None else self.felt[body])

    def lesson(self, batch: Batch[Tensor], body: Tensor, *, rereads: bool) -> tuple[Batch[Tensor], Tensor]:
        """Return a batch with actions in the joint layout at unit scale, and (B,) factors for the loss of its rows.

        So are labels that are states, NaN where a body has no such value. Those of other things are places in images,
        which mean the same to all.

        Actions that a body lacks are masked. Heads that read what they predicted are to predict zeros there, so that
        they read what they learned with; their loss is a mean over more values, and the factors make up for that.

        Args:
            batch: rows of several bodies, physical units.
            body: of which they are, (B,).
            rereads: whether the head does that.
        """
        actions = self.actions(batch.actions, batch.obs.state, body)
        targets = dict(batch.targets)
        for name in self.states:
            each = [one.state(batch.targets[name][:, None]) for one in self.every()]
            targets[name] = _chosen(each, body)[:, 0].masked_fill(~self.felt[body], torch.nan)
        mask = self.known[body]
        share = mask.to(actions.dtype).mean(dim=-1) if rereads else actions.new_ones(len(actions))
        changed = dataclasses.replace(batch, actions=actions, targets=targets)
        return dataclasses.replace(changed, action_mask=None if rereads else mask), 1 / share

    def fit(self, statistics: Sequence[Mapping[str, Statistics]]) -> tuple[Tensor, Tensor]:
        """Take the statistics of each body; return the joint (A,) low and high of their actions at unit scale.

        Raises:
            DataError: one is missing or does not fit the spec.
        """
        if len(statistics) != len(self.specs):
            raise DataError(
                f"statistics of {len(statistics)} bodies for a policy of {len(self.specs)}; each needs its own."
            )
        ends: list[list[Tensor]] = [[], []]
        for one, known in zip(self.every(), statistics, strict=True):
            one.normalizer.fit(known, fixed={"action": one.spec.binary_mask})
            for found, end in zip(ends, (known["action"].low, known["action"].high), strict=True):
                found.append(one.spread("action", torch.from_numpy(end.copy()).to(self.known.device)))
        return torch.stack(ends[0]).amin(dim=0), torch.stack(ends[1]).amax(dim=0)

    def units(self, actions: Sequence[Tensor]) -> list[Tensor]:
        """Return predicted actions (..., A) of each body in the joint layout at unit scale."""
        return [one.spread("action", some) for one, some in zip(self.every(), actions, strict=True)]

    def _has(self, what: str) -> Tensor:
        """Return which values each body has, (bodies, joint D) bool."""
        has = torch.zeros(len(self.specs), self[0].sizes[what], dtype=torch.bool)
        for number, one in enumerate(self.every()):
            has[number, one.get_buffer(f"{what}_places")] = True
        return has

    def every(self) -> Iterator[OneBody]:
        """Yield each body."""
        return (self[number] for number in range(len(self.specs)))


def nobody_acts(specs: Sequence[RobotSpec]) -> ConfigError:
    """Return the refusal of a policy that was not told as which of these bodies it acts."""
    known = ", ".join(spec.embodiment for spec in specs)
    return ConfigError(
        f"this policy knows several bodies ({known}) and acts as one of them. Name the directory of one: "
        "RUN/bodies/NAME, or policy.act_as(NAME)."
    )


def seen_by_all(images: Mapping[str, Tensor], layout: RobotSpec) -> dict[str, Tensor]:
    """Return images (B, T, 3, h, w) of all cameras of a layout, black ones where a body lacks a camera."""
    some = next(iter(images.values()))
    return {
        name: images[name] if name in images else some.new_zeros(*some.shape[:3], camera.height, camera.width)
        for name, camera in layout.cameras.items()
    }


def _chosen(each: Sequence[Tensor], body: Tensor) -> Tensor:
    """Return for each row (B, ...) what the conversion for its own body gave."""
    found = each[0]
    for number, other in enumerate(each[1:], start=1):
        found = torch.where((body == number)[:, None, None], other, found)
    return found


def _values(spec: RobotSpec, what: str) -> tuple[Value, ...]:
    if what == "state":
        return tuple((name, unit, None) for name, unit in zip(spec.state, spec.state_units, strict=True))
    rows = zip(spec.action, spec.action_units, spec.low, spec.high, strict=True)
    return tuple((name, unit, (low, high) if name in spec.binary else None) for name, unit, low, high in rows)


def _union(specs: Sequence[RobotSpec], what: str) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(value for spec in specs for value in _values(spec, what)))


def _told_apart(values: Sequence[Value]) -> tuple[str, ...]:
    """Return names, with the unit where several values have one name, numbered where that is not enough."""
    names = [name for name, _, _ in values]
    longer = [f"{name} [{unit}]" if names.count(name) > 1 else name for name, unit, _ in values]
    return tuple(
        f"{name} {longer[:n].count(name) + 1}" if longer.count(name) > 1 else name for n, name in enumerate(longer)
    )


def _bounds(spec: RobotSpec, value: Value) -> tuple[float, float]:
    place = _values(spec, "action").index(value)
    return spec.low[place], spec.high[place]
