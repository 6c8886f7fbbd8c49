"""A film of one sentence, like those in a report."""

from __future__ import annotations

import re
from pathlib import Path

from sinew.core.errors import DataError
from sinew.core.rollout import Outcome
from sinew.envs.playable import Playable
from sinew.evaluate.film import film_episode
from sinew.run.play.cast import Cast, actor
from sinew.run.play.game import tidy

LOOKED_AT = 60
"""Scenes per task that are searched for one in which a sentence makes sense."""


def fitting_state(env: Playable, sentence: str) -> str:
    """Return the first seen scene in which a sentence makes sense, the first one of all where it does so in none."""
    for number in range(LOOKED_AT):
        for task in env.tasks:
            state_id = env.states("seen", task, 1, number)[0]
            env.reset([state_id], [0])
            if env.understand(0, sentence) is not None:
                return state_id
    return env.states("seen", env.tasks[0], 1)[0]


def film_sentence(
    cast: Cast, sentence: str, *, state_id: str | None, out: Path | None, size: int
) -> tuple[Path, Outcome]:
    """Let the policy do what a sentence says and film it.

    Args:
        cast: who plays.
        sentence: anyone's words.
        state_id: where it begins; by default a scene in which the sentence makes sense.
        out: the film, MP4; by default named after the sentence.
        size: side of the picture [px].

    Returns:
        The film's path, and how it ended.

    Raises:
        DataError: nothing is said, or something that the scripted expert does not understand.
    """
    said = tidy(sentence)
    path = Path(f"{re.sub(r'[^a-z0-9]+', '-', said.lower()).strip('-') or 'film'}.mp4") if out is None else out
    start = cast.env.told(fitting_state(cast.env, said) if state_id is None else state_id, said)
    cast.env.reset([start], [0])
    judged = cast.env.understand(0, said) is not None
    if not judged and not cast.reads:
        ideas = "; ".join(cast.env.suggestions(0)[:3])
        raise DataError(f"the scripted expert does not understand {said!r} in this scene. Say, for example: {ideas}.")
    film = film_episode(cast.env, actor(cast), start, size=size, judged=judged)
    return film.save_mp4(path), film.outcomes[0]
