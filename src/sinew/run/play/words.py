"""Which words a policy has never heard."""

from __future__ import annotations

import re
from typing import Any

from sinew.core.types import Policy


def unheard(policy: Policy, sentence: str) -> tuple[str, ...]:
    """Return the words of a sentence that a policy's tokenizer does not know; none where it has no word tokenizer."""
    tokenizer: Any = getattr(policy, "tokenizer", None)
    if tokenizer is None or not hasattr(tokenizer, "token_to_id"):
        return ()
    words = re.findall(r"\w+|[^\w\s]+", sentence.lower())
    return tuple(dict.fromkeys(word for word in words if tokenizer.token_to_id(word) is None))
