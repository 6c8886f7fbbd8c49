"""Mirrored and turned windows, in which numbers, labels and words follow the images as a map declares."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.data.pixels import flipped, moved, turned

if TYPE_CHECKING:
    from sinew.core.types import Batch, RobotSpec
    from sinew.data.config import MirrorConfig

_Change = Callable[["Columns", Tensor], Tensor]


@dataclass(frozen=True)
class Columns:
    """What becomes of the D values of one array.

    Attributes:
        source: (D,) which value takes this place when mirrored.
        sign: (D,) and its factor. offset: (D,) and what is added.
        pairs: (right, down) values that turn. spin: values that a turn adds to.
        about: (D,) the values at the turning point.
    """

    source: Tensor
    sign: Tensor
    offset: Tensor
    pairs: tuple[tuple[int, int], ...]
    spin: tuple[int, ...]
    about: Tensor

    def flip(self, values: Tensor, rows: Tensor) -> Tensor:
        """Return values (B, ..., D) mirrored in these rows (B,)."""
        device = values.device
        mirrored = values[..., self.source.to(device)] * self.sign.to(device) + self.offset.to(device)
        return torch.where(_spread(rows, values), mirrored, values)

    def turn(self, values: Tensor, angles: Tensor) -> Tensor:
        """Return values (B, ..., D) turned by angles (B,) [rad]."""
        found = values.clone()
        cos, sin, added = (_spread(one, values[..., 0]) for one in (angles.cos(), angles.sin(), angles))
        for right, down in self.pairs:
            middle = self.about[right].item(), self.about[down].item()
            across, along = values[..., right] - middle[0], values[..., down] - middle[1]
            found[..., right] = middle[0] + cos * across - sin * along
            found[..., down] = middle[1] + sin * across + cos * along
        for number in self.spin:
            found[..., number] = values[..., number] + added
        return found


class Mirror:
    """A declared mirror map, checked against the robot.

    A reflection and a turn are true of the world only if every number that has a side or a direction follows. So each
    state and action value must be named, and what was forgotten is refused.

    Args:
        config: the map.
        spec: the robot; its cameras look the same way in every episode.
        turns: whether images are turned too.

    Raises:
        ConfigError: a value is named nowhere or does not exist, or a mirrored action would leave its bounds.
    """

    def __init__(self, config: MirrorConfig, spec: RobotSpec, *, turns: bool = False) -> None:
        self.config, self.spec, self.turns = config, spec, turns
        state, action = [f"state.{name}" for name in spec.state], [f"action.{name}" for name in spec.action]
        self._check_names({*state, *action})
        self._check_bounds(action)
        self.state, self.action = self._columns(state), self._columns(action)
        self.partner = {one: two for pair in config.cameras for one, two in (pair, pair[::-1])}
        unknown = sorted(set(self.partner) - set(spec.cameras))
        if unknown:
            raise ConfigError(f"mirror.cameras: there is no {', '.join(unknown)}, only {', '.join(spec.cameras)}.")
        self.words = {one: two for pair in config.words for one, two in (pair, pair[::-1])}
        self._sides = re.compile(rf"\b({'|'.join(map(re.escape, self.words)) or '(?!)'})\b", re.IGNORECASE)

    def flip(self, batch: Batch[Tensor], rows: Tensor) -> Batch[Tensor]:
        """Return the batch with these rows (B,) seen in a mirror: right is left.

        Raises:
            ConfigError: a label's values are named nowhere, or there are sensors, which no map is known for.
        """
        self._check_batch(batch)
        obs, names = batch.obs, list(batch.obs.images)
        other = {name: self.partner.get(name, name) for name in names}
        images: dict[str, Tensor] = {}
        for name in names:
            there = _spread(rows, obs.images[name])
            swapped = torch.where(there, obs.images[other[name]], obs.images[name])
            images[name], _ = flipped(swapped if other[name] != name else obs.images[name], rows)
        present = {
            name: torch.where(
                rows.to(known.device), obs.present.get(other.get(name, name), torch.ones_like(known)), known
            )
            for name, known in obs.present.items()
        }
        targets = self._targets(batch.targets, lambda columns, values: columns.flip(values, rows))
        for name in targets:
            if name.startswith("image."):
                order = [names.index(other[camera]) for camera in names]
                places = targets[name].unflatten(1, (-1, 2))
                mirrored = places[:, order] * places.new_tensor([-1.0, 1.0]) + places.new_tensor([1.0, 0.0])
                targets[name] = torch.where(_spread(rows, places), mirrored, places).flatten(1)
        told = tuple(self.told(text) if row else text for text, row in zip(obs.instruction, rows.tolist(), strict=True))
        before = None if obs.prev_actions is None else self.action.flip(obs.prev_actions, rows)
        obs = dataclasses.replace(
            obs,
            images=images,
            state=self.state.flip(obs.state, rows),
            instruction=told,
            present=present,
            prev_actions=before,
        )
        return dataclasses.replace(batch, obs=obs, actions=self.action.flip(batch.actions, rows), targets=targets)

    def turn(self, batch: Batch[Tensor], angles: Tensor) -> Batch[Tensor]:
        """Return the batch with its images turned by angles (B,) [rad], from right to down.

        Rows whose sentence names a side stay as they are: a turn has no word for it.

        Raises:
            ConfigError: as for ``flip``.
        """
        self._check_batch(batch)
        obs = batch.obs
        sided = torch.tensor([self._sides.search(text) is not None for text in obs.instruction])
        angles = torch.where(sided, torch.zeros_like(angles), angles)
        images: dict[str, Tensor] = {}
        maps: list[Tensor] = []
        for name, image in obs.images.items():
            images[name], where = turned(image, angles)
            maps.append(where)
        targets = self._targets(batch.targets, lambda columns, values: columns.turn(values, angles))
        for name in targets:
            if name.startswith("image."):
                places = targets[name].unflatten(1, (-1, 2)).unbind(dim=1)
                both = zip(places, maps, strict=True)
                targets[name] = torch.cat([moved(place, where.to(place.device)) for place, where in both], dim=1)
        before = None if obs.prev_actions is None else self.action.turn(obs.prev_actions, angles)
        obs = dataclasses.replace(obs, images=images, state=self.state.turn(obs.state, angles), prev_actions=before)
        return dataclasses.replace(batch, obs=obs, actions=self.action.turn(batch.actions, angles), targets=targets)

    def told(self, sentence: str) -> str:
        """Return a sentence with the words of sides exchanged, first letters as they were."""

        def exchanged(found: re.Match[str]) -> str:
            word = self.words[found[0].lower()]
            return word.capitalize() if found[0][0].isupper() else word

        return self._sides.sub(exchanged, sentence)

    def _targets(self, targets: Mapping[str, Tensor], change: _Change) -> dict[str, Tensor]:
        return {
            name: values if name.startswith("image.") else change(self._columns(_label_names(name, values)), values)
            for name, values in targets.items()
        }

    def _columns(self, names: Sequence[str]) -> Columns:
        config, places = self.config, {name: number for number, name in enumerate(names)}
        partner = {one: two for pair in config.swap for one, two in (pair, pair[::-1])}
        about = torch.tensor([config.about.get(name, 0.0) for name in names], dtype=torch.float32)
        sign = torch.tensor([-1.0 if name in config.negate else 1.0 for name in names])
        return Columns(
            source=torch.tensor([places[partner.get(name, name)] for name in names], dtype=torch.int64),
            sign=sign,
            offset=about * (1 - sign),
            pairs=tuple((places[one], places[two]) for one, two in config.turn if one in places),
            spin=tuple(places[name] for name in config.spin if name in places),
            about=about,
        )

    def _check_names(self, wanted: set[str]) -> None:
        config = self.config
        swapped = {name for pair in config.swap for name in pair}
        moving = {name for pair in config.turn for name in pair} | set(config.spin)
        named = {*config.keep, *config.negate, *swapped}
        missing = sorted(wanted - named)
        unknown = sorted(name for name in named | moving if name not in wanted and not name.startswith("targets."))
        twice = sorted(set(config.keep) & ({*config.negate} | swapped))
        split = [pair for pair in (*config.swap, *config.turn) if pair[0].split(".")[0] != pair[1].split(".")[0]]
        still = sorted(set(config.negate) - moving) if self.turns else []
        problems = {
            "say what becomes of": missing,
            "there is no": unknown,
            "kept and changed": twice,
            "pairs of one array are wanted, not": split,
            "changes sign in a mirror but does not turn (name it in turn or spin)": still,
        }
        lines = [f"  {what}: {', '.join(map(str, names))}" for what, names in problems.items() if names]
        if lines:
            raise ConfigError("\n".join(["augment.mirror does not fit the robot.", *lines]))

    def _check_bounds(self, action: Sequence[str]) -> None:
        """Refuse a map under which a mirrored action would not be one of this robot's."""
        bounds = dict(zip(action, zip(self.spec.low, self.spec.high, strict=True), strict=True))
        partner = {one: two for pair in self.config.swap for one, two in (pair, pair[::-1])}
        for name, (low, high) in bounds.items():
            other = bounds[partner.get(name, name)]
            if name in self.config.negate:
                middle = 2 * self.config.about.get(name, 0.0)
                other = (middle - other[1], middle - other[0])
            if not all(
                math.isclose(one, two, rel_tol=1e-6, abs_tol=1e-9) for one, two in zip((low, high), other, strict=True)
            ):
                raise ConfigError(
                    f"augment.mirror: {name} lies in {low:g} .. {high:g}, mirrored in {other[0]:g} .. {other[1]:g}. "
                    "Say about which value it is mirrored (mirror.about), or mend the bounds."
                )

    def _check_batch(self, batch: Batch[Tensor]) -> None:
        config = self.config
        named = {*config.keep, *config.negate, *(name for pair in config.swap for name in pair)}
        labels = [label for name, values in batch.targets.items() for label in _label_names(name, values)]
        missing = [name for name in labels if name not in named and not name.startswith("targets.image.")]
        if missing or batch.obs.sensors:
            raise ConfigError(
                f"augment.mirror: nothing is said of {', '.join(missing) or ', '.join(batch.obs.sensors)}. "
                "Name these labels in keep, negate or swap; sensors cannot be mirrored, train without flip and turn."
            )


def _label_names(name: str, values: Tensor) -> list[str]:
    return [f"targets.{name}.{number}" for number in range(values.shape[1])]


def _spread(rows: Tensor, values: Tensor) -> Tensor:
    """Return rows (B,) with as many dimensions as the values, on their device."""
    return rows.to(values.device).reshape(-1, *[1] * (values.ndim - 1))
