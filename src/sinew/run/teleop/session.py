"""A person's session of recording: scenes, verdicts and counts; knows no clock, no keys and no screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sinew.core.types import NumpyObservation, VecEnv
from sinew.data.recorder import EpisodeRecorder, Frame, within
from sinew.run.teleop.controls import Word
from sinew.safety.hold import Guard

Phase = Literal["ready", "recording", "judging"]
"""Waiting for a start, driving, or stopped and waiting for a verdict."""
SPLIT = "train"


class Session:
    """Records episodes of a world with one row, driven by somebody.

    Every scene is of the task with the fewest episodes. What the world itself judges is proposed as the verdict; the
    person has the last word. Nothing is kept before a verdict, except when the session is closed.

    Args:
        env: the world, or a robot (``RobotEnv``).
        recorder: where episodes go; the session does not close it.
        tasks: those to record; the world's by default.
        wanted: episodes after which the session is over, those that were there before included; None: never.
        longest: ticks after which an episode stops.
        follows: the robot follows the person between episodes too.
        task: what to call all episodes in tables; the world's task by default.

    Attributes:
        phase: see ``Phase``. over: nothing more is to be recorded.
        obs: what is to be seen. note: the last thing that happened, for people.
        proposal: what the world says of the episode that stopped, None where it says nothing.
        ticks: of the episode. action: (A,) sent last. scenes: how many were shown, the one at hand included.
        unjudged: the session was closed in the middle of an episode.
        guard: to be set by whoever wants one: has the last word on what is sent, such as a ``Shield``.
        changed: ticks in which it stepped in.
    """

    def __init__(
        self,
        env: VecEnv,
        recorder: EpisodeRecorder,
        *,
        tasks: Sequence[str] | None = None,
        wanted: int | None = None,
        longest: int,
        follows: bool = False,
        task: str | None = None,
    ) -> None:
        self.env, self.recorder, self.wanted, self.longest = env, recorder, wanted, longest
        self.follows, self.task = follows, task
        self.guard: Guard | None = None
        self.changed = 0
        self.tasks = tuple(tasks or env.tasks)
        self.over = wanted is not None and recorder.num_episodes >= wanted
        self.phase: Phase = "ready"
        self.note = "".join(
            f"{found.frames} frames of a broken-off recording were saved. " for found in recorder.recovered
        )
        self.proposal: bool | None = None
        self._tried: Counter[str] = Counter()
        self._seen = set(recorder.ids)
        self.action = np.zeros(env.spec.action_size, np.float32)
        self.scenes, self.unjudged = 0, False
        self.scene()

    @property
    def counts(self) -> dict[str, int]:
        """Episodes that are kept, by what they are called in tables."""
        return {name: self.recorder.tasks[name] for name in ([self.task] if self.task else self.tasks)}

    # ------------------------------------------------------------------------------ what people do

    def do(self, word: Word) -> None:
        """Take a word; one that makes no sense now does nothing."""
        if word == "end":
            self.over = True
        elif self.phase == "ready":
            self._before(word)
        elif word == "again":
            self.recorder.discard()
            self._restart("Once more.")
        elif word == "discard":
            self.recorder.discard()
            self.note = "Discarded."
            self.scene()
        elif word in ("success", "failure"):
            self._keep(success=word == "success")
        elif self.phase == "recording":
            self._stop("How did it go?", proposal=None)
        elif self.proposal is not None:
            self._keep(success=self.proposal)

    def scene(self) -> None:
        """Show the next scene, of the task with the fewest episodes."""
        task = min(self.tasks, key=lambda name: (self.recorder.tasks[self.task or name], self._tried[name]))
        while True:
            (state_id,) = self.env.states(SPLIT, task, 1, self._tried[task])
            self._tried[task] += 1
            if state_id not in self._seen:
                break
        self._seen.add(state_id)
        self.current, self.state_id = task, state_id
        self._restart(self.note)

    # ------------------------------------------------------------------------------- what time does

    def tick(self, action: NDArray[np.float32] | None) -> None:
        """Let one tick pass: move, and record when recording.

        Without an action nothing moves and nothing is kept, but that a guard first brakes what still moves.
        """
        if self.phase != "recording" and not self.follows:
            return
        sent, seen = self._guarded(action), self.obs
        if sent is None:
            return
        result = self.env.step(sent[None], [0])
        self.obs, self.action = result.obs, sent
        if self.phase != "recording":
            return
        self.recorder.add(Frame.of(seen, sent, targets=tuple(self.env.target_names)))
        self.ticks += 1
        if result.terminated[0] or result.truncated[0]:
            self._stop(f"{result.note[0].capitalize()}.", proposal=bool(result.success[0]))
        elif self.ticks >= self.longest:
            self._stop("Out of time.", proposal=None)

    def _guarded(self, action: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Return what is sent (A,), None for nothing."""
        wanted = None if action is None else within(self.env.spec, action)
        if self.guard is None:
            return wanted
        state = self.obs.state[:, -1]
        if wanted is None:
            return None if self.guard.at_rest() else self.guard.brake(state)[0]
        sent = self.guard.filter(wanted[None], state)[0]
        self.changed += bool(self.guard.last.reasons[0])
        return sent

    def close(self) -> None:
        """Keep what was proposed to be kept; an episode that is still driven is kept without a verdict."""
        if self.phase == "judging" and self.proposal is not None:
            self._finish(success=self.proposal)
        elif self.recorder.recording and self.recorder.frames:
            self._finish(success=None)
            self.unjudged = True

    def _before(self, word: Word) -> None:
        """Take a word before an episode."""
        if word == "go":
            self.recorder.begin(instruction=self.obs.instruction[0], task=self.task or self.current, id=self.state_id)
            self.phase, self.note = "recording", ""
        elif word == "discard":
            gone = self.recorder.discard_last()
            self.note = "There is nothing to discard." if gone is None else f"Discarded the last episode, {gone}."
        elif word == "again":
            self._restart("")
        elif word == "failure":
            self.note = "Another scene."
            self.scene()

    def _keep(self, *, success: bool) -> None:
        frames = self.recorder.frames
        if frames:
            self._finish(success=success)
            self.note = f"Kept: {'success' if success else 'failure'}, {frames} frames."
        else:
            self.recorder.discard()
            self.note = "Nothing was recorded."
        self.over = self.over or (self.wanted is not None and self.recorder.num_episodes >= self.wanted)
        if self.over:
            self.phase = "ready"
        else:
            self.scene()

    def _finish(self, *, success: bool | None) -> None:
        last = self.obs.state[0, -1]
        final = last if self.env.spec.state and np.isfinite(last).all() else None
        self.recorder.end(success=success, terminated=bool(success) or self._ended, final_state=final)

    def _stop(self, note: str, *, proposal: bool | None) -> None:
        self.phase, self.note, self.proposal = "judging", note, proposal
        self._ended = proposal is not None

    def _restart(self, note: str) -> None:
        self.obs: NumpyObservation = self.env.reset([self.state_id], [0])
        self.phase, self.note, self.proposal, self.ticks, self._ended = "ready", note, None, 0, False
        self.scenes += 1
        if self.guard is not None:
            self.guard.reset()
