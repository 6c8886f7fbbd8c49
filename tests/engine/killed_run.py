"""A script: trains the tiny recipe, killed at every few moments; exits 0 when all end with the same weights."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

torch.set_num_threads(1)

from engine.tiny import evaluate, train, weights  # noqa: E402
from kill import answers_after_kills  # noqa: E402


def job(path: Path) -> str:
    """Train to the end and return a digest of all numbers and of the log's updates."""
    recipe = train(path, on_eval=evaluate)
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in weights(recipe))).hexdigest()
    links = [(path / "checkpoints" / name).readlink().name for name in ("last", "best")]
    return f"{digest} {links} {(path / 'metrics.jsonl').read_text().count(chr(10))}"


if __name__ == "__main__":
    train(Path(sys.argv[1]) / "warm-up")  # torch imports half of itself at the first step: once, not in every fork
    answers = dict(answers_after_kills(job, Path(sys.argv[1]), step=int(sys.argv[2])))
    wrong = {moment: answer for moment, answer in answers.items() if answer != answers[-1]}
    sys.exit(f"{len(answers) - 1} kills, {answers[-1]}, others: {wrong}" if wrong or len(answers) < 8 else 0)
