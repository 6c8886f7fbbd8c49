"""Settings of an expert that is built like a language model and reads one; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class InterleavedConfig:
    """Sizes of an interleaved expert, beside its width; those of SmolVLA and pi0 follow from their language models.

    Attributes:
        hidden: width of the feed-forward layers.
        heads: attention heads, a multiple of the language model's heads of keys and values.
        every: layers 0, ``every``, 2 ``every`` and so on share their attention with the language model, the others look
            at it alone; 1 shares all, 0 none.
        padded: values of an action inside, of which a robot's are the first; the others are zeros to be learned. One
            expert so fits robots of up to so many. None has as many as the robot.
        periods: (shortest, longest) of the waves that tell it the time of the noise.
        like: smolvla, the default, has layers of a Llama, in which steps see those up to their own. pi0 has layers of a
            Gemma, in which steps see each other, and before them a step for the state, which sees what the language
            model read.
    """

    hidden: int = 512
    heads: int = 4
    every: int = 2
    padded: int | None = None
    periods: tuple[float, float] = (4e-3, 4.0)
    like: Literal["smolvla", "pi0"] | None = None
