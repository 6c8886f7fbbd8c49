"""The game itself: one world, one policy, and whatever somebody says and moves; knows no clock and no network."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.core.rollout import after
from sinew.core.types import NumpyObservation, Policy
from sinew.envs.playable import Meaning
from sinew.evaluate.film import pointed_at
from sinew.run.play.cast import Cast, Overheard
from sinew.run.play.words import unheard
from sinew.safety.shield import ShieldedPolicy

Phase = Literal["waiting", "acting", "paused", "success", "failure", "late"]
"""Nothing said yet, at it, stopped by hand, or how the attempt ended; "late" is out of time."""
LONGEST = 200
"""Characters of a sentence."""
TRIES = 30
"""Attempts that are remembered."""
SCENES = 100_000
LONGEST_READY = 60
"""Ticks after which an attempt begins, ready or not."""
CHANGED = 1e-6
"""Share of an action's range below which a difference is rounding."""


@dataclass(frozen=True)
class Try:
    """One attempt that has ended: what was said, how it went (None where nothing judged), and how long it took."""

    sentence: str
    success: bool | None
    ticks: int
    note: str


class Game:
    """Row 0 of a world, played by a policy and people.

    Args:
        cast: who plays.
        seed: of the scenes.
    """

    def __init__(self, cast: Cast, *, seed: int = 0) -> None:
        self.cast, self.env = cast, cast.env
        self.random = np.random.default_rng(seed)
        self.overheard = Overheard(cast.policy)
        self.guarded = None if cast.shield is None else ShieldedPolicy(self.overheard, cast.shield)
        self.shielded = cast.shielded
        self.split = "seen"
        self.tries: list[Try] = []
        self.scene()

    # ------------------------------------------------------------------------------ what people do

    def scene(self, split: str | None = None, state_id: str | None = None) -> None:
        """Begin anew in another scene.

        Args:
            split: which set of initial states it is from; the last one's by default.
            state_id: a certain one.

        Raises:
            DataError: there is no such split or state.
        """
        wanted = self.split if split is None else split
        if wanted not in self.env.splits:
            raise DataError(f"there is no split {wanted!r}; this world has {', '.join(self.env.splits)}.")
        if state_id is None:
            task = self.env.tasks[int(self.random.integers(len(self.env.tasks)))]
            state_id = self.env.states(wanted, task, 1, int(self.random.integers(SCENES)))[0]
        self.obs: NumpyObservation = self.env.reset([state_id], [0])
        self.split, self.state_id = wanted, state_id
        self.began = self.env.get_state([0])[0]
        self.held: int | None = None
        self.sentence, self.meaning, self.unknown = "", None, ()
        self._begin("waiting")

    def say(self, sentence: str) -> None:
        """Begin an attempt in the world as it stands; the robot makes itself ready for it first, if it must.

        Raises:
            DataError: nothing is said, too much, or something that this policy can do nothing with.
        """
        said = tidy(sentence)
        meaning = self.env.understand(0, said)
        if meaning is None and not self.cast.reads:
            raise DataError("the scripted expert does only what this world understands. Choose one of the suggestions.")
        self.began = self.env.get_state([0])[0]
        self.sentence, self.meaning, self.unknown = said, meaning, unheard(self.cast.policy, said)
        self._begin("acting")

    def again(self) -> None:
        """Put everything back to where it was when the last sentence was said, and say it again if there was one."""
        sentence = self.sentence
        self.obs, self.held = self.env.set_state([self.began], [0]), None
        if sentence:
            self.say(sentence)
        else:
            self._begin("waiting")

    def go_on(self) -> None:
        """Let the policy act; after an ending, let it try the same sentence once more from here.

        Raises:
            DataError: nothing was said yet.
        """
        if not self.sentence:
            raise DataError("there is nothing to do yet. Say something first.")
        if self.phase == "paused":
            self.phase = "acting"
        elif self.phase != "acting":
            self.say(self.sentence)

    def pause(self) -> None:
        """Stop the time."""
        if self.phase == "acting":
            self.phase = "paused"

    def step(self) -> None:
        """Stop the time, but for one tick."""
        self.go_on()
        self.phase = "paused"
        self.tick()

    def shield(self, *, on: bool) -> None:
        """Put the shield between policy and world, or take it away.

        Raises:
            DataError: there is none.
        """
        if self.guarded is None:
            raise DataError("the limits of this robot are not known. Start with --limits FILE to shield it.")
        self.guarded.shield.reset()
        self.shielded = on

    def hold(self, number: int, point: Sequence[float]) -> None:
        """Hold a thing where ``point`` (x, y in 0 .. 1) of the picture is."""
        self.obs = self.env.hold(0, number, np.asarray(point, dtype=np.float32))
        self.held = number

    def drop(self) -> None:
        """Put down what is held."""
        if self.held is not None:
            self.obs, self.held = self.env.drop(0), None
            self.ideas = self.env.suggestions(0)

    def understand(self, sentence: str) -> dict[str, Any]:
        """Return what a sentence would mean now: ``plain``, ``named`` points of the picture, ``unknown`` words."""
        try:
            said = tidy(sentence)
        except DataError:
            return {"plain": None, "named": [], "unknown": []}
        meaning = self.env.understand(0, said)
        plain = None if meaning is None else meaning.plain
        return {"plain": plain, "named": self._named(meaning), "unknown": unheard(self.cast.policy, said)}

    # ------------------------------------------------------------------------------- what time does

    def tick(self) -> None:
        """Let the policy act once, if it is at it or paused."""
        if self.phase not in ("acting", "paused"):
            return
        if self.making_ready:
            self._make_ready()
            return
        self.wish, self.executed = self.overheard.wish, self.next
        span = np.subtract(self.env.spec.high, self.env.spec.low)
        self.changed += np.abs(self.executed - self.wish) > CHANGED * span
        result = self.env.step(self.next[None], [0])
        self.obs = after(result.obs, self.env.spec, self.next[None])
        self.ticks += 1
        self._think()
        if result.terminated[0] or result.truncated[0]:
            success = None if self.meaning is None else bool(result.success[0])
            self.phase = "success" if success else "late" if result.truncated[0] else "failure"
            self.note = result.note[0]
            self.tries = [*self.tries, Try(self.sentence, success, self.ticks, self.note)][-TRIES:]
            self.ideas = self.env.suggestions(0)

    # ------------------------------------------------------------------------------- what one sees

    def about(self) -> dict[str, Any]:
        """Return what stays the same all the time, as JSON values."""
        spec = self.env.spec
        notes: Mapping[str, str] = getattr(self.env, "split_notes", {})
        axes = zip(spec.action, spec.action_units, spec.low, spec.high, spec.binary_mask, strict=True)
        return {
            "name": self.cast.name,
            "reads": self.cast.reads,
            "hz": spec.hz,
            "splits": {name: notes.get(name, "") for name in self.env.splits},
            "axes": [dict(zip(("name", "unit", "low", "high", "binary"), axis, strict=True)) for axis in axes],
            "has_shield": self.guarded is not None,
            "longest": LONGEST,
        }

    def look(self) -> dict[str, Any]:
        """Return how everything stands, as JSON values; places are points of the picture, in 0 .. 1."""
        return {
            "phase": self.phase,
            "ready": not self.making_ready,
            "sentence": self.sentence,
            "judged": self.meaning is not None,
            "plain": None if self.meaning is None else self.meaning.plain,
            "unknown": self.unknown,
            "named": self._named(self.meaning),
            "ticks": self.ticks,
            "seconds": self.ticks / self.env.spec.hz,
            "note": self.note,
            "scene": self.state_id,
            "split": self.split,
            "held": self.held,
            "things": self._things(),
            "marks": self.marks,
            "wish": [float(value) for value in self.wish],
            "executed": [float(value) for value in self.executed],
            "changed": [int(count) for count in self.changed],
            "shielded": self.shielded,
            "tries": [dataclasses.asdict(item) for item in self.tries],
            "ideas": self.ideas,
        }

    def views(self) -> tuple[NDArray[np.uint8], ...]:
        """Return what the policy's cameras see, (h, w, 3) each."""
        return tuple(np.ascontiguousarray(images[0, -1].transpose(1, 2, 0)) for images in self.obs.images.values())

    def _begin(self, phase: Phase) -> None:
        self.phase: Phase = phase
        self.ticks, self.note = 0, ""
        size = self.env.spec.action_size
        self.changed = np.zeros(size, dtype=np.int64)
        self.wish = self.executed = np.zeros(size, dtype=np.float32)
        self.marks: list[dict[str, Any]] = []
        self.ideas = self.env.suggestions(0)
        self.making_ready = phase == "acting"
        self.readied = 0

    def _make_ready(self) -> None:
        """Do one step towards where an attempt may begin, or begin it."""
        action = self.env.ready(0) if self.readied < LONGEST_READY else None
        if action is None:
            self.making_ready = False
            self.obs = self.env.instruct(0, self.sentence)
            self._actor().reset([0])
            self._think()
            return
        self.readied += 1
        self.wish = self.executed = action
        self.obs = self.env.step(action[None], [0]).obs

    def _think(self) -> None:
        """Ask the policy about what is to be seen now: where it points, and what it does in the next tick."""
        self.next = np.array(self._actor().select_action(self.obs, [0])[0], dtype=np.float32)
        self.marks = self._points()

    def _actor(self) -> Policy:
        return self.guarded if self.guarded is not None and self.shielded else self.overheard

    def _points(self) -> list[dict[str, Any]]:
        """Return where the policy points, and how far that is from the truth [m] where the world knows it."""
        judged = self.meaning is not None
        obs = self.obs if judged else dataclasses.replace(self.obs, privileged={})
        found = pointed_at(self.env, self.cast.policy, obs)
        said: Mapping[str, NDArray[np.float32]] = getattr(self.cast.policy, "points", dict)()
        marks: list[dict[str, Any]] = []
        for name, (x, y) in found.items():
            truth = obs.privileged.get(name)
            off = None if truth is None else float(np.linalg.norm(np.asarray(said[name])[0] - truth[0]))
            marks.append({"name": name, "x": x, "y": y, "off": off})
        return marks

    def _things(self) -> list[dict[str, Any]]:
        """Return what can be moved: name, middle and half the width as it appears."""
        found = self.env.movables(0)
        places = np.stack([item.place for item in found])
        sides = places + np.array([[item.radius, 0, 0] for item in found], dtype=np.float32)
        middle, edge = self.env.project(0, places), self.env.project(0, sides)
        radii = np.hypot(*(edge - middle).T)
        return [
            {"name": item.name, "x": float(at[0]), "y": float(at[1]), "r": float(radius)}
            for item, at, radius in zip(found, middle, radii, strict=True)
        ]

    def _named(self, meaning: Meaning | None) -> list[list[float]]:
        return [] if meaning is None else self.env.project(0, meaning.points).tolist()


def tidy(sentence: str) -> str:
    """Return a sentence in one line without the mark at its end: policies have never heard one.

    Raises:
        DataError: there are no words, or too many.
    """
    said = re.sub(r"[\s.!?]+$", "", re.sub(r"\s+", " ", sentence).strip())
    if not said.isprintable() or not said:
        raise DataError("nothing was said. Type a sentence.")
    if len(said) > LONGEST:
        raise DataError(f"that sentence has {len(said)} characters; at most {LONGEST} are read.")
    return said
