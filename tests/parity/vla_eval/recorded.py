"""A benchmark of vla-eval's that shows recorded observations and holds every action against what was expected."""

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW


class RecordedBenchmark(StepBenchmark):
    """Episodes succeed when every action is the one that the policy gives locally.

    Args:
        path: npz of observations and expected actions. send_state, send_wrist_image: told by the model server.
    """

    def __init__(self, path, send_state=False, send_wrist_image=False):
        super().__init__()
        self.recorded = np.load(path)
        self.send_state, self.send_wrist_image = send_state, send_wrist_image
        self.step_number, self.worst = 0, 0.0

    def get_tasks(self):
        return [{"name": "recorded"}]

    def get_metadata(self):
        return {"max_steps": 100}

    def get_action_spec(self):
        return {"raw": RAW}

    def get_observation_spec(self):
        return {"image": IMAGE_RGB, "language": LANGUAGE, "state": RAW}

    def reset(self, task):
        self.step_number, self.worst = 0, 0.0
        return 0

    def step(self, action):
        expected = self.recorded["actions"][self.step_number]
        assert action["actions"].shape == expected.shape, action["actions"].shape
        self.worst = max(self.worst, float(np.abs(action["actions"] - expected).max()))
        self.step_number += 1
        return StepResult(
            obs=self.step_number, reward=0.0, done=self.step_number == len(self.recorded["actions"]), info={}
        )

    def make_obs(self, number, task):
        recorded = self.recorded
        images = {"front": recorded["front"][number]}
        if self.send_wrist_image:
            images["wrist"] = recorded["wrist"][number]
        state = {"states": recorded["states"][number]} if self.send_state else {}
        return {"images": images, "task_description": str(recorded["instructions"][number]), **state}

    def get_step_result(self, result):
        return {"success": bool(result.done and self.worst <= 1e-6), "worst": self.worst}

    def get_metric_keys(self):
        return {"success": "mean", "worst": "max"}
