"""Starting from another policy's weights: where names and shapes fit, and words by what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError, ConfigError, SpecError
from sinew.core.spec import differences
from sinew.models.encoder_config import PrefixFusionConfig
from sinew.models.heads.config import FlowHeadConfig
from sinew.models.language import PAD, UNKNOWN

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.core.types import RobotSpec
    from sinew.models.config import PolicyConfig
    from sinew.models.policy import VLAPolicy

WORDS = "network.language.embed.weight"
NORMS = ".normalizer."
LEAST = 0.01
"""Share of the weights that must fit, or else nothing is begun with."""
PERCEPTION = (
    "network.language.",
    "network.vision.",
    "network.look.",
    "network.pointers.",
    "network.sentence.",
    "network.scene.trunk.",
)
"""What sees and hears, and so means the same on any body."""
BODY = ("state", "state_units", "action", "action_units", "kind", "rotation", "binary", "gripper_sign")
"""Fields of a spec that say what the numbers mean that a policy takes and gives."""


@dataclass(frozen=True)
class Transfer:
    """What one policy took from another.

    Attributes:
        taken: names of the weights, each whole.
        fresh: (name, why) of weights that keep their random values.
        words: how many words brought their meaning along.
        new_words: words that the other did not know.
        spec: (field, theirs, ours) where the robots differ.
        numbers: how many single weights were taken, and how many there are.
    """

    taken: tuple[str, ...]
    fresh: tuple[tuple[str, str], ...]
    words: int
    new_words: tuple[str, ...]
    spec: tuple[tuple[str, str, str], ...]
    numbers: tuple[int, int]

    def lines(self) -> Iterator[str]:
        """Yield what to tell people, a line at a time."""
        yield f"{self.numbers[0]:,} of {self.numbers[1]:,} weights taken, {self.words} words with them."
        if self.new_words:
            yield f"new words, which begin at random: {', '.join(self.new_words)}"
        for part, names in _grouped(self.fresh).items():
            yield f"not taken: {part} ({names})"
        for name, theirs, ours in self.spec:
            yield f"the robots differ in {name}: {theirs} there, {ours} here"


def check_body(source: RobotSpec, spec: RobotSpec, place: str) -> None:
    """Refuse weights of a body whose numbers mean something else.

    Args:
        source: of the weights.
        spec: of the data.
        place: where the weights are from, for the message.

    Raises:
        SpecError: state or action differ in names, units or meaning; all differences are shown.
    """
    found = [(name, getattr(source, name), getattr(spec, name)) for name in BODY]
    wrong = [f"  {name}: {theirs} there, {ours} here" for name, theirs, ours in found if theirs != ours]
    if wrong:
        raise SpecError(
            "\n".join(
                [
                    f"{place}: was trained for another robot ({source.embodiment}; the data are of {spec.embodiment}):",
                    *wrong,
                    "Take a checkpoint of this robot, or only its eyes and words: --init.other-robot True.",
                ]
            )
        )


def check_actions(source: PolicyConfig, config: PolicyConfig, place: str) -> None:
    """Refuse a head whose numbers mean something else than they shall.

    Raises:
        ConfigError: one predicts actions of another kind than the other.
    """
    if (source.actions, source.measured_from) != (config.actions, config.measured_from):
        raise ConfigError(
            f"{place}: predicts {source.actions or 'the actions that the robot takes'}, here "
            f"{config.actions or 'the actions that the robot takes'} are wanted. Leave --policy.actions and "
            "--policy.measured-from as they are there, or take its eyes and words only: --init.other-robot True."
        )


@torch.no_grad()
def transfer(source: VLAPolicy, target: VLAPolicy, *, perception_only: bool = False) -> Transfer:
    """Put into a policy what fits of another one's weights, and say what that was.

    A weight fits where a weight of the same name has the same shape; the embedding of words goes word by word.
    Statistics are not weights: the target keeps those of its own data, except of points that its data say nothing of.

    A policy whose states and actions have room for any robot inside, as SmolVLA's, is taken whole for another one, too.

    Args:
        source: read only.
        target: changed in place; has its statistics.
        perception_only: take what sees and hears, and leave alone what knows a body.

    Raises:
        CheckpointError: next to nothing fits.
    """
    perception_only = perception_only and not _has_room(target.config)
    theirs, ours = source.state_dict(), target.state_dict()
    taken: list[str] = []
    fresh: list[tuple[str, str]] = []
    for name, value in ours.items():
        if name == WORDS or NORMS in f".{name}":
            continue
        reason = _why_not(name, theirs.get(name), value, perception_only=perception_only)
        if reason:
            fresh.append((name, reason))
        else:
            value.copy_(theirs[name])
            taken.append(name)
    words, new = _take_words(source, target)
    count = sum(ours[name].numel() for name in taken) + words * (ours[WORDS].shape[1] if words else 0)
    total = sum(parameter.numel() for parameter in target.parameters())
    if count < LEAST * total:
        raise CheckpointError(
            f"only {count:,} of {total:,} weights fit: that policy is built otherwise. "
            "Leave the --policy settings as they are there, or train without --init."
        )
    spec = tuple(differences(source.spec, target.spec))
    return Transfer(tuple(taken), tuple(fresh), words, new, spec, (count, total))


def known_words(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the words of a tokenizer, in a fixed order."""
    return tuple(sorted(set(tokenizer.get_vocab()) - {PAD, UNKNOWN}))


def _has_room(config: PolicyConfig) -> bool:
    """Return whether states and actions are padded inside to what several robots fit in."""
    head, fusion = config.head, config.fusion
    inside = isinstance(head, FlowHeadConfig) and head.interleaved is not None and head.interleaved.padded is not None
    return inside and isinstance(fusion, PrefixFusionConfig) and fusion.state is not None


def _why_not(name: str, theirs: Tensor | None, ours: Tensor, *, perception_only: bool) -> str:
    if perception_only and not name.startswith(PERCEPTION):
        return "belongs to the other body"
    if theirs is None:
        return "not there"
    if theirs.shape != ours.shape:
        return f"{tuple(theirs.shape)} there, {tuple(ours.shape)} here"
    return ""


def _take_words(source: VLAPolicy, target: VLAPolicy) -> tuple[int, tuple[str, ...]]:
    theirs, ours = source.tokenizer.get_vocab(), target.tokenizer.get_vocab()
    known, table = source.state_dict().get(WORDS), target.state_dict().get(WORDS)
    if known is None or table is None:
        return 0, ()  # a pretrained language model: its words are weights like any other
    new = sorted(set(ours) - set(theirs))
    if known.shape[1] != table.shape[1]:
        return 0, tuple(sorted(ours))
    shared = [word for word in ours if word in theirs]
    table[[ours[word] for word in shared]] = known[[theirs[word] for word in shared]].to(table.device)
    return len(shared), tuple(new)


def _grouped(fresh: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return reasons and shapes by the part of the policy, such as "network.fuse" or "head"."""
    groups: dict[str, list[str]] = {}
    for name, reason in fresh:
        part = ".".join(name.split(".")[: 2 if name.startswith("network.") else 1])
        groups.setdefault(part, [])
        if reason not in groups[part]:
            groups[part].append(reason)
    return {part: "; ".join(reasons) for part, reasons in groups.items()}
