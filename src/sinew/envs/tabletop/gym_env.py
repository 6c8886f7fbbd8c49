"""One row of the table-top world as a Gymnasium environment."""

from __future__ import annotations

import string
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sinew.core.errors import ConfigError
from sinew.core.types import NumpyObservation
from sinew.envs.tabletop.config import TabletopConfig
from sinew.envs.tabletop.env import STATE_SIZE, TabletopVecEnv

Seen = dict[str, Any]
LONGEST_SENTENCE = 120
NUM_STARTS = 1_000_000


class TabletopEnv(gymnasium.Env[Seen, NDArray[np.float32]]):
    """The five-tuple view: ``{"image": (h, w, 3) uint8, "state": (10,) float32, "instruction": str}`` (Towers 2024).

    Actions are in physical units, as everywhere outside a policy; the reward is 1 on success. ``reset``
    takes ``options={"state_id": ...}``, or draws one of the split's states with the environment's generator.

    Args:
        config: the world's settings.
        split: where episodes begin.
        task: one skill, or None for all of them in turn by chance.
        render_mode: "rgb_array" or None.
    """

    def __init__(
        self,
        config: TabletopConfig | None = None,
        *,
        split: str = "train",
        task: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"tabletop has no render_mode {render_mode!r}; give 'rgb_array' or None.")
        self.render_mode = render_mode
        self.world = TabletopVecEnv(config or TabletopConfig(), 1)
        self.split = split
        self.skills = self.world.tasks if task is None else (task,)
        self.world.states(split, self.skills[0], 0)
        robot, size = self.world.spec, self.world.config.image_size
        low, high = np.array(robot.low, np.float32), np.array(robot.high, np.float32)
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (size, size, 3), np.uint8),
                "state": spaces.Box(-1.0, 1.0, (STATE_SIZE,), np.float32),
                "instruction": spaces.Text(LONGEST_SENTENCE, min_length=0, charset=string.ascii_lowercase + " "),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Seen, dict[str, Any]]:
        """Start an episode; ``info`` tells its state id."""
        super().reset(seed=seed)
        state_id = (options or {}).get("state_id")
        if state_id is None:
            task = self.skills[int(self.np_random.integers(len(self.skills)))]
            state_id = f"{self.split}/{task}/{int(self.np_random.integers(NUM_STARTS))}"
        return self._seen(self.world.reset([state_id])), {"state_id": state_id}

    def step(self, action: NDArray[np.float32]) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        """Act for one tick of 0.1 s; ``info`` holds ``success`` and, at the end, a ``note``."""
        result = self.world.step(np.asarray(action, dtype=np.float32)[None])
        info = {"success": bool(result.success[0]), "note": result.note[0]}
        ended = bool(result.terminated[0]), bool(result.truncated[0])
        return self._seen(result.obs), float(result.reward[0]), *ended, info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """Return a picture for people, (256, 256, 3), in mode "rgb_array"."""
        return self.world.picture(0, 256) if self.render_mode else None

    def _seen(self, obs: NumpyObservation) -> Seen:
        image = np.ascontiguousarray(obs.images["front"][0, 0].transpose(1, 2, 0))
        return {"image": image, "state": obs.state[0, 0], "instruction": obs.instruction[0]}
