"""How a policy is built that begins with the weights of another one: with its tokenizer and pretrained parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinew.deploy.load import checkpoint_of
from sinew.models.encoder_config import PrefixFusionConfig, PrismaticConfig
from sinew.models.policy_files import read_described

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from sinew.models.config import PolicyConfig
    from sinew.run import InitConfig


def inherited(init: InitConfig | None, policy: PolicyConfig) -> tuple[Tokenizer, Mapping[str, Any]] | None:
    """Return the tokenizer and the blueprints of what a policy begins with, None where it is to be built anew.

    A policy with the prefix fusion or two towers is taken over whole: its encoder and its language model came with it,
    so they can be fetched nowhere else.

    Raises:
        CheckpointError: there is no policy.
    """
    whole = isinstance(policy.fusion, PrefixFusionConfig) or isinstance(policy.vision, PrismaticConfig)
    if init is None or not whole:
        return None
    found = read_described(checkpoint_of(Path(init.path)))
    theirs = ((part.kind, getattr(part, "path", "")) for part in (found.config.vision, found.config.language))
    ours = ((part.kind, getattr(part, "path", "")) for part in (policy.vision, policy.language))
    if not found.blueprints or not getattr(policy.language, "path", "") or [*theirs] != [*ours]:
        return None
    return found.tokenizer, found.blueprints
