"""Still scenes with what is said of them: one to a few things on the table, the hand somewhere above it."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.sights import Question, Sight
from sinew.envs.tabletop import asking, scene
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.language import Thing
from sinew.envs.tabletop.layout import Layout, all_things, draw_layout, held_out, pick, shuffled
from sinew.envs.tabletop.row import Stage
from sinew.envs.tabletop.starts import named_rng, standing

TRIES = 40
"""Places that the hand may be put at; the one where it hides least is taken."""
HAND_BOX = np.array(list(itertools.product((-0.09, 0.09), (-0.04, 0.04), (-0.015, 0.12))))
"""Corners around the open hand, relative to the point between its pads [m]."""
THING_BOX = np.array(list(itertools.product((-0.03, 0.03), (-0.03, 0.03), (0.0, 0.07))))


class TabletopSights:
    """Scenes of the table-top world (see ``core.sights.Sights``).

    Within a scene every colour comes once and every shape as rarely as can be, so that which colour belongs to which
    shape has to be seen. Pairs of the split "pairs" are the world's held-out ones; no other split shows them.

    Args:
        config: the world's settings; ``objects`` is the most that lie on the table.
    """

    describe = asking.DESCRIBE

    def __init__(self, config: TabletopConfig) -> None:
        self.config = config
        self.groups: tuple[str, ...] = asking.NUMBERS[1 : config.objects + 1]
        self.splits: tuple[str, ...] = ("train", "seen", "pairs") if held_out(config) else ("train", "seen")
        self._stages: dict[tuple[str, ...], Stage] = {}

    def look(self, split: str, group: str, number: int) -> Sight:
        """Return a scene.

        Raises:
            ConfigError: there is no such split or group.
        """
        if split not in self.splits or group not in self.groups:
            raise ConfigError(
                f"tabletop has no scenes {split}/{group}; splits are {', '.join(self.splits)}, "
                f"groups {', '.join(self.groups)}."
            )
        name = f"sight/{split}/{group}/{number}"
        rng = named_rng(name)
        things = self._things(split, self.groups.index(group) + 1, rng)
        layout, _ = draw_layout(self.config, rng, things, "touch")
        asked = shuffled(list(asking.questions(layout.things, layout.places)), rng)
        told = asking.caption(layout.things, layout.places)
        if split == "pairs":
            asked = [question for question in asked if self._is_about_unseen(question, things[0])]
        return Sight(f"{split}/{group}/{number}", self._picture(layout, rng), told, tuple(asked))

    def score(self, caption: str, said: str) -> float:
        """Return the share of a caption's things that a description gets right; see ``asking.score``."""
        return asking.score(caption, said)

    def texts(self) -> tuple[str, ...]:
        """Return texts that hold every word that can come up."""
        things = all_things(self.config)
        spots = np.array([[x, y] for x in (-0.1, 0.1) for y in (-0.1, 0.1)])
        pairs = [(first, second) for first in things for second in things if first.shape != second.shape]
        said = [q for pair in pairs or [(one, one) for one in things] for q in asking.questions(pair, spots[[0, 3]])]
        said += [q for one in things for spot in spots for q in asking.questions([one], spot[None])]
        words = {word for q in said for word in (q.text, q.answer)}
        grid = [f"x{column} y{row}" for column in range(asking.CELLS[0]) for row in range(asking.CELLS[1])]
        return tuple(sorted({*words, *grid, *self.groups, asking.DESCRIBE, ": ;", "yes no"}))

    def _things(self, split: str, count: int, rng: np.random.Generator) -> tuple[Thing, ...]:
        """Draw things of different colours whose shapes differ too, as far as there are enough; an unseen one first."""
        unknown = held_out(self.config)
        known = [thing for thing in all_things(self.config) if thing not in unknown]
        for _ in range(1000):
            drawn = shuffled(known, rng)
            chosen = [pick(sorted(unknown, key=str), rng)] if split == "pairs" else []
            shapes = min(count, self.config.shapes)
            for thing in drawn:
                alike = sum(one.shape == thing.shape for one in chosen)
                if (
                    len(chosen) < count
                    and thing.colour not in {one.colour for one in chosen}
                    and alike < count / shapes
                ):
                    chosen.append(thing)
            if len(chosen) == count:
                return tuple(chosen)
        raise ConfigError(f"tabletop: no {count} things of different colours. Raise colours, or lower objects.")

    @staticmethod
    def _is_about_unseen(question: Question, thing: Thing) -> bool:
        """Return whether one half of the unseen pair is asked for by the other."""
        by = {"colour": (thing.shape, thing.colour), "shape": (thing.colour, thing.shape)}.get(question.kind)
        return by is not None and f"the {by[0]} " in question.text and question.answer == by[1]

    def _picture(self, layout: Layout, rng: np.random.Generator) -> NDArray[np.uint8]:
        shapes = tuple(thing.shape for thing in layout.things)
        if shapes not in self._stages:
            self._stages[shapes] = Stage(shapes, len(layout.zones), self.config.image_size)
        stage = self._stages[shapes]
        model, data = stage.world.model, stage.data
        stage.world.paint(tuple(thing.colour for thing in layout.things), layout.zone_colours, layout.zones)
        mujoco.mj_resetData(model, data)
        stage.places[:] = standing(layout, np.array([scene.SHAPES[name].half_height for name in shapes]))
        data.qpos[3:5] = scene.FINGER_TRAVEL
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        data.qpos[:3] = _out_of_the_way(stage, layout, rng)
        mujoco.mj_kinematics(model, data)
        return np.ascontiguousarray(stage.camera.render(data).transpose(2, 0, 1))


def _out_of_the_way(stage: Stage, layout: Layout, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a place of the hand (3,) [m], the one of some at which it hides least of the things."""
    low, high = np.add(scene.HAND_LOW, (0.0, 0.0, 0.04)), np.array(scene.HAND_HIGH)
    hands = low + rng.random((TRIES, 3)) * (high - low)
    ground = np.concatenate([layout.places, np.zeros((len(layout.places), 1))], axis=1)
    hand_low, hand_high = _box(stage, hands, HAND_BOX)
    thing_low, thing_high = _box(stage, ground, THING_BOX)
    shared = np.minimum(hand_high[:, None], thing_high) - np.maximum(hand_low[:, None], thing_low)
    hidden = np.maximum(shared, 0.0).prod(axis=-1).sum(axis=-1)
    return hands[int(hidden.argmin())]


def _box(
    stage: Stage, centres: NDArray[np.float64], corners: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return low and high (K, 2) of boxes (8, 3) around centres (K, 3) as they appear in the image, 0 .. 1."""
    points = stage.camera.project(stage.data, (centres[:, None] + corners).reshape(-1, 3)).reshape(len(centres), -1, 2)
    return points.min(axis=1), points.max(axis=1)
