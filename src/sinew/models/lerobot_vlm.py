"""What LeRobot's SmolVLA and pi0 have in common: a vision-language model below, whose tokenizer they do not bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sinew.core.errors import CheckpointError
from sinew.core.files import read_json
from sinew.models.lerobot_files import ACTION, STATE, Foreign, Theirs
from sinew.models.pretrained import fetch
from sinew.models.text_encoders import read_tokenizer
from sinew.models.towers import HEADS, READERS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.models.config import PolicyConfig
    from sinew.models.heads.config import FlowHeadConfig

SEES, READS = "network.vision.model.", "network.language.model."
FILES = ("*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched of the vision-language model: all but weights, which the policy brings."""
UNREAD = {
    "rtc_config": "draws chunks that go on where the last one is",
    "compile_model": "compiles the network",
}
"""Settings that are left out, with what they do."""


class Below:
    """The vision-language model that a policy began as: a tokenizer, and sizes that no weight tells.

    Args:
        theirs: the policy's settings.
        published: what such policies begin with, for the message.

    Attributes:
        place: its directory. name: directory or hub id.

    Raises:
        CheckpointError: there is no tokenizer.
    """

    def __init__(self, theirs: Theirs, published: str) -> None:
        self.theirs = theirs
        self.name: str = theirs.tokenizer or theirs.content.get("vlm_model_name") or published
        try:
            self.place = fetch(self.name, FILES)
            if not any((self.place / one).is_file() for one in ("tokenizer.json", "tokenizer_config.json")):
                raise CheckpointError(f"{self.place}: no tokenizer.json")
        except CheckpointError as error:
            raise CheckpointError(
                f"{theirs.directory}: such a policy brings no tokenizer, and there is none at {self.name}. Name with "
                f"--tokenizer a directory that holds the tokenizer.json and the config.json of {published}, or of what "
                f"this one began as ({error})"
            ) from error
        known = self.place / "config.json"
        self.known: Mapping[str, Any] = read_json(known) if known.is_file() else {}

    def said(self, part: str, name: str) -> Any:  # noqa: ANN401  (any JSON value)
        """Return a setting of its vision or text part, None where it says nothing of it."""
        return self.known.get(f"{part}_config", {}).get(name)

    def heads(self, part: str, found: Mapping[str, Tensor]) -> int | None:
        """Return attention heads as its config.json says; None where the width alone tells them.

        Raises:
            CheckpointError: neither does.
        """
        said = self.said(part, "num_attention_heads")
        if said is not None:
            return int(said)
        name, table = ("post_layernorm.weight", HEADS) if part == "vision" else ("norm.weight", READERS)
        width = len(found[name]) if name in found else 0
        if width not in table:
            raise CheckpointError(
                f"{self.theirs.directory}: its {part} part has a width of {width}, and how many attention heads share "
                "it no weight says. Put the config.json of the vision-language model that it began as beside the "
                "tokenizer (--tokenizer)."
            )
        return None

    def tokenizer(self) -> Tokenizer:
        """Return its tokenizer, which cuts what is longer than the policy reads."""
        tokenizer = read_tokenizer(self.place)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.theirs.content["tokenizer_max_length"])
        return tokenizer


def below(found: Mapping[str, Tensor], begin: str) -> dict[str, Tensor]:
    """Return the weights whose names begin so, without that."""
    return {name.removeprefix(begin): value for name, value in found.items() if name.startswith(begin)}


def layers_of(found: Mapping[str, Tensor], begin: str) -> int:
    """Return how many numbered layers there are below a name."""
    return 1 + max((int(name.split(".")[0]) for name in below(found, begin)), default=-1)


def with_words(weights: Mapping[str, Tensor], head: str, table: str) -> dict[str, Tensor]:
    """Return weights in which what embeds words is there, also where it was one with the output layer."""
    return {**weights, table: weights[head]} if table not in weights and head in weights else dict(weights)


def fixed(content: Mapping[str, Any], alone: str = "") -> bool:
    """Return whether the vision-language model, or the part of it that a setting of its own fixes, stays as it is."""
    return bool(content["train_expert_only"] or (alone and content[alone]))


def classifier(policy: PolicyConfig, head: FlowHeadConfig) -> dict[str, Tensor]:
    """Return what neither has: a classifier of two-valued actions, which has yet to learn."""
    assert head.interleaved is not None
    random, width = torch.Generator().manual_seed(0), policy.width
    flat = policy.horizon * (head.interleaved.padded or 0)
    return {
        "head.summary.key.weight": torch.randn(width, width, generator=random) / width,
        "head.summary.query": torch.randn(width, generator=random) / width**0.5,
        "head.logits.0.weight": torch.randn(head.width, width, generator=random) / width**0.5,
        "head.logits.0.bias": torch.zeros(head.width),
        "head.logits.2.weight": torch.zeros(flat, head.width),
        "head.logits.2.bias": torch.zeros(flat),
    }


def with_statistics(theirs: Theirs, policy: PolicyConfig, found: dict[str, Tensor], notes: list[str]) -> Foreign:
    """Return the policy with its statistics, or with none where it was published to be taught."""
    notes = [
        f"{name} is left out: LeRobot {does}." for name, does in UNREAD.items() if theirs.content.get(name)
    ] + notes
    if theirs.scales.knows(ACTION) and (theirs.scales.knows(STATE) or not theirs.state_size):
        return theirs.known(policy, found | theirs.norms(), notes)
    for name, size in (("state", theirs.state_size), ("action", theirs.action_size)):
        found |= {f"normalizer.{name}_{which}": torch.full((size,), float("nan")) for which in ("mean", "std")}
    notes.append("It brings no statistics of state and action: it acts once it was taught (sinew train bc --init).")
    return Foreign(policy, theirs.cameras, theirs.state_size, theirs.action_size, (), (), found, tuple(notes))
