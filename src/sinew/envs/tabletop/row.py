"""One row of the table-top world: its simulation, its episode and its cameras."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.envs.tabletop import judge, playing, scene
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.language import SKILLS, Goal
from sinew.envs.tabletop.render import RayCamera
from sinew.envs.tabletop.robot import LEASH
from sinew.envs.tabletop.starts import Start, standing, start

TRUTH: dict[str, tuple[int, ...]] = {
    "target": (3,),
    "goal": (2,),
    "skill": (),
    "size": (3,),
    "hand": (3,),
    "setpoint": (3,),
    "opening": (),
    "grip": (),
    "contact": (2,),
}
"""Names and shapes (without B) of ``privileged``.

Lengths in [m]; ``size`` is half the target's width, the height of its origin and of its top above that;
``opening`` is the gap between the pads; ``skill`` a number, ``grip`` 1 for open, ``contact`` whether each
finger touches the target.
"""

FULL = mujoco.mjtState.mjSTATE_INTEGRATION
HAND = 5
CLOSED = -0.003


class Stage:
    """A compiled world with its simulation data and cameras, kept by a row for reuse."""

    def __init__(self, shapes: tuple[str, ...], num_zones: int, size: int) -> None:
        self.world = scene.build(shapes, num_zones)
        self.data = mujoco.MjData(self.world.model)
        self.camera = RayCamera(self.world.model, size, size)
        self.films: dict[tuple[int, bool], RayCamera] = {}
        count = self.world.num_objects
        self.places = self.data.qpos[HAND:].reshape(count, 7)
        self.speeds = self.data.qvel[HAND:].reshape(count, 6)


class Row:
    """One copy of the world.

    Args:
        config: the world's settings.
    """

    def __init__(self, config: TabletopConfig) -> None:
        self.config = config
        self.stages: dict[tuple[str, ...], Stage] = {}
        self.stage: Stage | None = None
        self.state_id = ""
        self.held: playing.Held | None = None

    @property
    def instruction(self) -> str:
        """What is said in this episode."""
        return self.start.instruction

    @property
    def live(self) -> Stage:
        """The world that the row is in.

        Raises:
            DataError: there is none before the first ``reset``.
        """
        if self.stage is None:
            raise DataError("tabletop: this row has no episode yet; call reset first.")
        return self.stage

    def reset(self, state_id: str) -> None:
        """Start an episode."""
        self._load(state_id)
        stage, pose = self.live, self.start.pose
        data = stage.data
        mujoco.mj_resetData(stage.world.model, data)
        stage.places[:] = self.began
        data.qpos[:3], data.qpos[3:5] = pose.hand, pose.opening
        data.ctrl[:3] = pose.hand
        self._grip(pose.grip)
        self.ticks = 0
        self.look()

    def step(self, action: NDArray[np.float64]) -> tuple[bool, bool, bool, str]:
        """Move for one tick; return success, terminated, truncated and a note where the episode ended."""
        stage = self.live
        data = stage.data
        hand = data.qpos[:3]
        wanted = np.clip(data.ctrl[:3] + action[:3], hand - LEASH, hand + LEASH)
        data.ctrl[:3] = np.clip(wanted, scene.HAND_LOW, scene.HAND_HIGH)
        self._grip(1.0 if action[3] >= 0.5 else 0.0)
        mujoco.mj_step(stage.world.model, data, scene.SUBSTEPS)
        playing.pin(self)
        self.look()
        self.ticks += 1
        return self._judge()

    def tell(self, instruction: str, goal: Goal | None) -> None:
        """Begin a new attempt in the world as it stands; without a goal nothing but its time is judged."""
        self._take_up(instruction, goal or self.start.goal, judged=goal is not None, began=self.live.places)
        self.ticks = 0
        self.look()

    def fill(self, state: NDArray[np.float32], truth: dict[str, NDArray[np.float32]], row: int) -> None:
        """Write the proprioception (10,) and this row of the simulator's truth."""
        stage, goal = self.live, self.start.goal
        data = stage.data
        hand, setpoint = data.qpos[:3], data.ctrl[:3]
        opening = data.qpos[3] + data.qpos[4]
        state[:3], state[3:6], state[6], state[7] = hand, setpoint - hand, opening, self.grip
        state[8:] = self.any_contact
        truth["hand"][row], truth["setpoint"][row] = hand, setpoint
        truth["opening"][row], truth["grip"][row] = opening, self.grip
        truth["contact"][row] = self.contact
        truth["target"][row] = stage.places[goal.target, :3]
        truth["goal"][row] = np.nan if goal.zone is None else self.start.layout.zones[goal.zone]
        truth["skill"][row] = self.skill
        truth["size"][row] = self.size

    def view(self) -> tuple[RayCamera, mujoco.MjData]:
        """Return the policy's camera and what it looks at."""
        stage = self.live
        return stage.camera, stage.data

    def picture(self, size: int, *, draft: bool = False) -> NDArray[np.uint8]:
        """Return a picture for people, (size, size, 3); a draft is a little coarser and takes half the time."""
        stage = self.live
        key = (size, draft)
        if key not in stage.films:
            stage.films[key] = RayCamera(stage.world.model, size, size, film=True, draft=draft)
        return stage.films[key].render(stage.data)

    def project(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where points (K, 2 or 3) lie in a picture, (K, 2) in 0 .. 1; points of two values lie on the table."""
        stage = self.live
        full = np.zeros((len(points), 3))
        full[:, : points.shape[1]] = points
        return stage.camera.project(stage.data, full).astype(np.float32)

    def snapshot(self) -> bytes:
        """Return everything that ``restore`` needs."""
        stage = self.live
        full = np.empty(mujoco.mj_stateSize(stage.world.model, FULL))
        mujoco.mj_getState(stage.world.model, stage.data, full, FULL)
        header: dict[str, Any] = {"tabletop": 1, "state_id": self.state_id, "ticks": self.ticks, "grip": self.grip}
        if self.told:
            goal = self.start.goal
            header["told"] = (self.instruction, *astuple(goal), self.start.judged, self.began.tolist())
        return json.dumps(header).encode() + b"\n" + full.astype("<f8").tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot.

        Raises:
            DataError: it is not a snapshot of this world.
        """
        head, _, body = snapshot.partition(b"\n")
        try:
            header = json.loads(head)
            self._load(header["state_id"])
            self.ticks, self.grip = int(header["ticks"]), float(header["grip"])
            if "told" in header:
                instruction, skill, target, zone, judged, began = header["told"]
                self._take_up(instruction, Goal(skill, target, zone), judged=judged, began=np.array(began))
            full = np.frombuffer(body, dtype="<f8").astype(np.float64)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"tabletop: no snapshot of this world ({error}). Take one with get_state.") from error
        stage = self.live
        size = mujoco.mj_stateSize(stage.world.model, FULL)
        if full.size != size:
            raise DataError(
                f"tabletop: the snapshot holds {full.size} values, this scene {size}. "
                "Restore it with the config that it was made with."
            )
        mujoco.mj_resetData(stage.world.model, stage.data)
        mujoco.mj_setState(stage.world.model, stage.data, full, FULL)
        self.look()

    def _load(self, state_id: str) -> None:
        """Prepare the scene of a state id without touching the simulation."""
        playing.release(self)
        self.start: Start = start(self.config, state_id)
        self.state_id = state_id
        layout = self.start.layout
        shapes = tuple(thing.shape for thing in layout.things)
        if shapes not in self.stages:
            self.stages[shapes] = Stage(shapes, len(layout.zones), self.config.image_size)
        self.stage = self.stages[shapes]
        self.stage.world.paint(tuple(thing.colour for thing in layout.things), layout.zone_colours, layout.zones)
        self.began = standing(layout, np.array([scene.SHAPES[name].half_height for name in shapes]))
        self.began[self.start.pose.number, :3] = self.start.pose.target
        self._aim()
        self.told = False

    def _take_up(self, instruction: str, goal: Goal, *, judged: bool, began: NDArray[np.float64]) -> None:
        self.start = replace(self.start, instruction=instruction, goal=goal, judged=judged)
        self.told, self.began = True, began.copy()
        self._aim()

    def _aim(self) -> None:
        goal = self.start.goal
        form = scene.SHAPES[self.start.layout.things[goal.target].shape]
        self.size = (form.radius, form.half_height, form.top)
        self.skill = SKILLS.index(goal.skill)

    def _grip(self, grip: float) -> None:
        self.grip = grip
        self.live.data.ctrl[3:] = scene.FINGER_TRAVEL if grip else CLOSED

    def look(self) -> None:
        """Bring positions and contacts up to date with the coordinates."""
        stage = self.live
        model, data = stage.world.model, stage.data
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        mujoco.mj_collision(model, data)
        pairs = stage.world.owner[data.contact.geom]
        pairs.sort(axis=1)
        pairs = pairs[(pairs[:, 1] >= 0) & (pairs[:, 0] < 0) & (pairs[:, 0] > scene.NOTHING)]
        self.touched = frozenset(pairs[:, 1].tolist())
        by_left, by_right = pairs[pairs[:, 0] == scene.LEFT, 1], pairs[pairs[:, 0] == scene.RIGHT, 1]
        self.any_contact = (len(by_left) > 0, len(by_right) > 0)
        target = self.start.goal.target
        self.contact = (bool((by_left == target).any()), bool((by_right == target).any()))

    def _judge(self) -> tuple[bool, bool, bool, str]:
        stage, goal, layout = self.live, self.start.goal, self.start.layout
        if not self.start.judged or self.held is not None:
            late = not self.start.judged and self.ticks >= self.config.max_ticks
            return False, False, late, judge.UNJUDGED if late else ""
        speed = float(np.linalg.norm(stage.speeds[goal.target, :3]))
        facts = judge.Facts(stage.data.qpos[:3], stage.places[:, :3], self.began[:, :3], speed, self.touched)
        failed = judge.failure(goal, layout, facts)
        if failed:
            return False, True, False, f"failed after {self.ticks} ticks: {failed}"
        if judge.success(goal, layout, facts):
            return True, True, False, f"success in {self.ticks} ticks"
        if self.ticks >= round(self.config.max_ticks * judge.TICK_SHARE[goal.skill]):
            return False, False, True, judge.time_out(goal, layout, facts)
        return False, False, False, ""
