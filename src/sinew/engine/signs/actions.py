"""Signs in what the policy does on recorded observations: see ``evaluate/probe.py`` for the measurements."""

from __future__ import annotations

from collections.abc import Iterator

from sinew.engine.evidence import Evidence
from sinew.engine.findings import Finding

COLLAPSED = 0.1
"""Spread of the predictions over that of the recorded actions, below which they are all alike."""
JITTERY = 3.0
"""Second differences of the executed actions over those of the recordings."""
UNUSED = 0.1
"""Change of the action under another image or sentence, over its change under another observation."""


def mode_collapse(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when all predictions are nearly identical."""
    spread = evidence["probe/spread"]
    if len(spread) and spread.last < COLLAPSED:
        yield Finding(
            "mode collapse",
            "",
            evidence.update,
            f"predictions spread {100 * spread.last:.1f} % as much as the recorded actions",
            "one average action is cheaper to learn than what to do when: the learning rate is too high, units are "
            "dead, or the inputs do not tell",
            "A lower --optim.lr, a head that keeps several ways apart (--policy.head.kind flow), noise on the inputs; "
            "check that images and states vary (sinew data view).",
        )


def action_jitter(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when the executed actions shake more than the demonstrations'."""
    jitter = evidence["probe/jitter"]
    if len(jitter) and jitter.last > JITTERY and not _collapsed(evidence):
        yield Finding(
            "action jitter",
            "",
            evidence.update,
            f"second differences of the actions are {jitter.last:.1f} times those of the demonstrations",
            "every tick is predicted anew from a slightly different image, or a head draws with too much noise",
            "Larger chunks (--policy.horizon, --policy.execute), --optim.ema 0.999, fewer noise draws; smooth with "
            "the shield (sinew run --shield).",
        )


def blind(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when the policy does not look."""
    looks = evidence["probe/look"]
    if len(looks) and looks.last < UNUSED and not _collapsed(evidence):
        yield Finding(
            "dead input",
            "images",
            evidence.update,
            f"another image changes the action by {100 * looks.last:.1f} % of what another observation does: "
            "it does not look",
            "the state alone predicts the demonstrations, or the vision encoder gets no gradient",
            "Leave the state out (--policy.no-state), more varied starts, labels of where things are "
            "(sinew data label), a vision encoder that is not frozen.",
        )


def deaf(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding when the policy does not listen."""
    listens = evidence["probe/listen"]
    if len(listens) and listens.last < UNUSED and not _collapsed(evidence):
        yield Finding(
            "dead input",
            "instruction",
            evidence.update,
            f"another sentence changes the action by {100 * listens.last:.1f} % of what another observation does: "
            "it does not listen",
            "in these recordings the scene alone tells what to do, so the words need not be read",
            "Record the same scene under several sentences, say them in other words (--recipe.augment.phrases.*), "
            "train longer.",
        )


def _collapsed(evidence: Evidence) -> bool:
    """Whether nothing moves at all; then ratios of changes mean nothing."""
    spread = evidence["probe/spread"]
    return len(spread) > 0 and spread.last < COLLAPSED
