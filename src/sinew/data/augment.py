"""Changes of a batch in training, drawn once per row and shared by all ticks of its window."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.core.types import Batch, RobotSpec
from sinew.data import pixels
from sinew.data.config import AugmentConfig
from sinew.data.mirror import Mirror
from sinew.data.phrases import check_phrases, rephrase
from sinew.data.pixels import GREY, YIQ

CHANCES = {"saturation": 1.0, "crop": 1.0, "turn": 1.0, "blur": 0.2, "noise": 0.2, "cutout": 0.2}
"""Share of the rows that each change is made to where nobody says another."""


class Augment:
    """What training changes in a batch.

    Args:
        config: largest changes.
        spec: the robot, which a mirror map is checked against; None where none is given.

    Raises:
        ConfigError: the settings cannot work, or the mirror map does not fit the robot.
    """

    def __init__(self, config: AugmentConfig, spec: RobotSpec | None = None) -> None:
        check_augment(config)
        self.config = config
        self.hue_words = frozenset(config.hue_words)
        self.mirror: Mirror | None = None
        if config.mirror is not None and spec is not None and (config.flip or config.turn):
            self.mirror = Mirror(config.mirror, spec, turns=bool(config.turn))

    def __call__(self, batch: Batch[Tensor], generator: torch.Generator, *, seed: int) -> Batch[Tensor]:
        """Return the batch changed at random: sentences, sides, colours, places; labels in images follow.

        Args:
            batch: left as it is.
            generator: of the draws of hue, shift, brightness and contrast.
            seed: of all others, so that they change none of the former; and, with a row's id, of its sentence.

        Raises:
            ConfigError: the mirror map does not fit the batch.
        """
        config, more = self.config, torch.Generator().manual_seed(seed)
        if config.phrases is not None:
            batch = rephrase(batch, config.phrases, seed)
        if self.mirror is not None:
            batch = _mirrored(batch, config, self.mirror, more)
        images, where = dict(batch.obs.images), dict[str, list[Tensor]]()
        if config.hue:
            named = [not self.hue_words.isdisjoint(words.lower().split()) for words in batch.obs.instruction]
            chosen = torch.rand(len(named), generator=generator) < config.hue
            rows = chosen & ~torch.tensor(named)
            images = {name: turn_hues(image, rows.to(image.device), generator) for name, image in images.items()}
        for name, image in images.items():
            images[name], where[name] = augment(image, config, generator, more)
        if any(where.values()):
            batch = dataclasses.replace(batch, targets=follow(batch.targets, where))
        return dataclasses.replace(batch, obs=dataclasses.replace(batch.obs, images=images))


def augment(
    images: Tensor, config: AugmentConfig, generator: torch.Generator, more: torch.Generator
) -> tuple[Tensor, list[Tensor]]:
    """Return images with places and colours changed at random, and what was done to places in them.

    Both brightness and contrast are factors drawn evenly from 1 +- the largest change; together they are one
    multiplication and one addition, and with saturation and tint one product of matrices.

    Args:
        images: (B, T, 3, h, w) uint8 of one camera; left as they are.
        config: largest changes; 0 or None switches one off.
        generator: of shift, brightness and contrast; draws do not depend on the device of the images.
        more: of all others.

    Returns:
        The same shape and type, and (B, 2, 3) maps in their order, see ``pixels.moved``.
    """
    where: list[Tensor] = []
    if config.crop:
        images, one = pixels.cropped(images, config.crop, _choose("crop", config, len(images), more), more)
        where.append(one)
    if config.shift:
        images, one = pixels.shifted(images, config.shift, generator)
        where.append(one)
    factor, offset = _light(images, config, generator)
    if config.saturation or config.tint or config.blur or config.noise or config.cutout:
        texture = _texture(images, config, (factor, offset), more)
        return pixels.textured(images, texture, more), where
    if factor is None or offset is None:
        return images, where
    return images.float().mul_(factor).add_(offset + 0.5).clamp_(0, 255).to(torch.uint8), where


def turn_hues(images: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return images in which the hues of some rows are turned by an angle of their own, luminance kept.

    What is called by its shape keeps its name under any colour; so shapes are learned apart from colours.

    Args:
        images: (B, T, 3, h, w) uint8 of one camera; left as they are.
        rows: (B,) bool, those to turn.
        generator: of the angles, one per row whether it is turned or not.

    Returns:
        The same shape and type.
    """
    angles = torch.rand(len(rows), generator=generator, device=generator.device)[rows.cpu()] * (2 * torch.pi)
    if len(angles) == 0:
        return images
    turn = torch.zeros(len(angles), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angles.cos()
    turn[:, 2, 1] = angles.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    mixed = (torch.linalg.inv(YIQ) @ turn @ YIQ).to(images.device)
    changed = torch.einsum("bij,btjhw->btihw", mixed, images[rows].float()).add_(0.5).clamp_(0, 255).to(torch.uint8)
    turned = images.clone()
    turned[rows] = changed
    return turned


def follow(targets: Mapping[str, Tensor], where: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """Return the targets with the places in images moved along; NaN where a place is no longer seen.

    Args:
        targets: by name; those called ``image.*`` hold right and down in 0 .. 1 for each camera, (B, 2 C).
        where: by camera, in the order of the labels, what was done to its images, see ``pixels.moved``.
    """
    found = dict(targets)
    for name, values in targets.items():
        if not name.startswith("image."):
            continue
        places = list(values.unflatten(1, (-1, 2)).unbind(dim=1))
        for number, maps in enumerate(where.values()):
            for one in maps:
                places[number] = pixels.moved(places[number], one.to(values.device))
        found[name] = torch.cat(places, dim=1)
    return found


def check_augment(config: AugmentConfig) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: with what was seen and wanted.
    """
    if (config.flip or config.turn) and config.mirror is None:
        raise ConfigError(
            f"augment: flip {config.flip}, turn {config.turn} without a mirror map: mirrored images with actions that "
            "are not teach the wrong way. Say in augment.mirror what becomes of every state and action, or leave it."
        )
    shares = {name: getattr(config, name) for name in ("crop", "cutout", "flip", "saturation")}
    shares |= {f"chances.{name}": value for name, value in (config.chances or {}).items()}
    wrong = {name: value for name, value in shares.items() if value is not None and not 0 <= value <= 1}
    wrong |= {
        name: value for name in ("blur", "noise", "tint", "turn") if (value := getattr(config, name)) and value < 0
    }
    if config.crop == 1 or wrong:
        raise ConfigError(
            f"augment: {wrong or {'crop': 1}}; shares from 0 to 1 are wanted, a crop below, no negatives."
        )
    unknown = sorted(set(config.chances or {}) - set(CHANCES))
    if unknown:
        raise ConfigError(f"augment.chances: there is no {', '.join(unknown)}. There is: {', '.join(CHANCES)}.")
    if config.phrases is not None:
        check_phrases(config.phrases)


def _choose(name: str, config: AugmentConfig, count: int, more: torch.Generator) -> Tensor:
    """Draw the rows that a change is made to, (B,) bool."""
    return torch.rand(count, generator=more) < {**CHANCES, **(config.chances or {})}[name]


def _light(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
    """Return factor and offset (B, 1, 1, 1, 1) of brightness and contrast, None where both are off."""
    if not (config.brightness or config.contrast):
        return None, None
    draws = torch.rand(2, images.shape[0], 1, 1, 1, 1, generator=generator, device=generator.device).to(images.device)
    brightness = 1 + config.brightness * (2 * draws[0] - 1)
    contrast = 1 + config.contrast * (2 * draws[1] - 1)
    return brightness * contrast, GREY * (1 - contrast)


def _texture(
    images: Tensor, config: AugmentConfig, light: tuple[Tensor | None, Tensor | None], more: torch.Generator
) -> pixels.Texture:
    """Draw what becomes of colours and texture; brightness and contrast join in the product on the colours."""
    count = len(images)
    matrix, offset = torch.eye(3).repeat(count, 1, 1), torch.zeros(count, 3, 1)
    if config.saturation or config.tint:
        rows, stretch, angle = _choose("saturation", config, count, more), config.saturation or 0.0, config.tint or 0.0
        matrix = pixels.colours(count, saturation=stretch, tint=angle, rows=rows, generator=more)
    factor, added = light
    if factor is not None and added is not None:
        matrix, offset = matrix * factor.reshape(-1, 1, 1).cpu(), offset + added.reshape(-1, 1, 1).cpu()
    sizes = {"blur": config.blur or 0.0, "noise": 255 * (config.noise or 0.0)}
    drawn = {
        name: torch.where(
            _choose(name, config, count, more), size * torch.rand(count, generator=more), torch.zeros(count)
        )
        for name, size in sizes.items()
    }
    places: pixels.Patches = {}
    if config.cutout:
        size = (images.shape[-2], images.shape[-1])
        places = pixels.patch_places(_choose("cutout", config, count, more), config.cutout, size, more)
    return pixels.Texture(matrix, offset, drawn["blur"].square(), drawn["noise"], places)


def _mirrored(batch: Batch[Tensor], config: AugmentConfig, mirror: Mirror, more: torch.Generator) -> Batch[Tensor]:
    if config.flip:
        batch = mirror.flip(batch, torch.rand(batch.num_rows, generator=more) < config.flip)
    if config.turn:
        rows = _choose("turn", config, batch.num_rows, more)
        angles = config.turn * (2 * torch.rand(batch.num_rows, generator=more) - 1)
        batch = mirror.turn(batch, torch.where(rows, angles, torch.zeros_like(angles)))
    return batch
