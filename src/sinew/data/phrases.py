"""Other words for the same instruction; what tells one task from another is never touched.

Only phrases in a short table are exchanged, and only small words are left out, so objects, which no table could list,
stay as they are. Colours, numbers, directions and negations are refused even in a table of one's own.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sinew.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from sinew.core.types import Batch
    from sinew.data.config import PhraseConfig

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "pick up": ("grab", "take"),
    "grasp": ("grab", "grip"),
    "grab": ("grasp", "take"),
    "put": ("place", "set"),
    "place": ("put", "set"),
    "push": ("shove",),
    "move": ("bring",),
    "turn on": ("switch on",),
    "turn off": ("switch off",),
}
"""Phrases that mean the same wherever an instruction begins."""
VERBS = frozenset(
    re.findall(
        r"\S+",
        "pick place put push pull lift grasp grab move go open close stack turn slide press reach take insert rotate "
        "drop pour touch wipe fold hold bring knock sweep align poke set",
    )
)
"""Words that an instruction begins with; only such sentences are put into a form of politeness."""
TEMPLATES = ("please {}", "can you {}", "could you {}", "your task is to {}", "i want you to {}", "now {}")
MANNERS = ("please", "carefully")
SMALL = frozenset(re.findall(r"\S+", "the a an please kindly just"))
JOINTS = frozenset(re.findall(r"\S+", "and then please now"))
"""Words after which a verb may stand."""
NEGATIONS = frozenset(
    re.findall(r"\S+", "not no never without don't dont nothing none neither nor except avoid cannot can't")
)
PROTECTED = NEGATIONS | frozenset(
    re.findall(
        r"\S+",
        "red orange yellow green blue purple violet pink brown black white grey gray cyan magenta beige golden silver "
        "one two three four five six seven eight nine ten first second third last all both each every "
        "left right up down top bottom front back behind ahead above below over under inside outside into onto on off "
        "in out between beside near next towards away forward forwards backward backwards clockwise counterclockwise "
        "north south east west upper lower middle center centre",
    )
)
"""Colours, numbers, directions and negations."""


def rephrase(batch: Batch[Tensor], config: PhraseConfig, seed: int) -> Batch[Tensor]:
    """Return the batch with some instructions said in other words.

    Args:
        batch: its ids and sources tell the rows apart; without ids their places do.
        config: chances.
        seed: with it and a row's id, its sentence is determined.
    """
    ids = range(batch.num_rows) if batch.ids is None else batch.ids.tolist()
    sources = batch.source or ("",) * batch.num_rows
    said = tuple(
        phrase(sentence, config, (seed, zlib.crc32(source.encode()), int(number)))
        for sentence, source, number in zip(batch.obs.instruction, sources, ids, strict=True)
    )
    return dataclasses.replace(batch, obs=dataclasses.replace(batch.obs, instruction=said))


def phrase(sentence: str, config: PhraseConfig, seed: tuple[int, ...]) -> str:
    """Return a sentence as it is or, with a chance below one half, in other words.

    Args:
        sentence: the instruction.
        config: chances.
        seed: of the choice.
    """
    random = np.random.default_rng(seed)
    keep, synonym, delete, template, insert = random.random(5) < (
        config.keep, config.synonym, config.delete, config.template, config.insert,
    )  # fmt: skip
    words = sentence.split()
    if keep or not words:
        return sentence
    protected = PROTECTED | frozenset(config.protect)
    plain = NEGATIONS.isdisjoint(word.lower().strip(".,;!?") for word in words)
    if plain and synonym:
        words = _exchanged(words, table_of(config), random)
    if plain and delete:
        small = [number for number, word in enumerate(words) if word.lower() in SMALL - protected]
        if small:
            del words[small[random.integers(len(small))]]
    text = " ".join(words)
    if plain and template and words and words[0].lower() in VERBS:
        text = TEMPLATES[random.integers(len(TEMPLATES))].format(_small_first(text))
    elif insert and "please" not in text.lower().split():
        text = _polite(text, MANNERS[random.integers(len(MANNERS))] if plain else "please", random)
    return text if 0 < len(text.split()) <= config.longest else sentence


def table_of(config: PhraseConfig) -> Mapping[str, tuple[str, ...]]:
    """Return the synonyms in use: without the phrases that hold a word which is protected beyond the usual ones."""
    table = SYNONYMS if config.synonyms is None else config.synonyms
    return {text: others for text, others in table.items() if set(config.protect).isdisjoint(text.split())}


def spoken(config: PhraseConfig) -> set[str]:
    """Return texts that hold every word that may be added, for a tokenizer to know."""
    said = {text for texts in table_of(config).values() for text in texts}
    return {*said, *MANNERS, *(template.format("") for template in TEMPLATES)}


def check_phrases(config: PhraseConfig) -> None:
    """Refuse settings under which instructions would lose their meaning.

    Raises:
        ConfigError: too few originals are kept, a chance is none, or a synonym is of a protected word.
    """
    chances = {name: getattr(config, name) for name in ("synonym", "template", "insert", "delete")}
    if not 0.5 <= config.keep <= 1 or not all(0 <= value <= 1 for value in chances.values()):
        raise ConfigError(f"augment.phrases: keep {config.keep:g} must be 0.5 to 1, and {chances} shares from 0 to 1.")
    wrong = [
        text
        for text in config.synonyms or {}
        if text not in SYNONYMS and (PROTECTED.intersection(text.lower().split()) or any(map(str.isdigit, text)))
    ]
    if wrong:
        raise ConfigError(
            f"augment.phrases.synonyms: {', '.join(wrong)} holds a colour, number, direction or negation; "
            " exchanging it would make another task of it. Leave it out."
        )


def _exchanged(words: list[str], table: Mapping[str, tuple[str, ...]], random: np.random.Generator) -> list[str]:
    """Return the words with the first phrase of the table that stands where a verb stands exchanged."""
    for number, word in enumerate(words):
        if number and words[number - 1].lower() not in JOINTS and not words[number - 1].endswith(","):
            continue
        small = [one.lower() for one in words[number:]]
        fitting = [text for text in table if small[: len(text.split())] == text.split()]
        if fitting:
            text = max(fitting, key=len)
            chosen = table[text][random.integers(len(table[text]))]
            chosen = chosen.capitalize() if word[0].isupper() else chosen
            return [*words[:number], *chosen.split(), *words[number + len(text.split()) :]]
    return words


def _polite(text: str, manner: str, random: np.random.Generator) -> str:
    """Return the text with a manner before or after it."""
    if manner == "please" and random.random() < 0.5:
        return f"please {_small_first(text)}"
    ending = re.search(r"[.!?]*$", text)
    end = ending[0] if ending else ""
    return f"{text[: len(text) - len(end)]} {manner}{end}"


def _small_first(text: str) -> str:
    return text[:1].lower() + text[1:]
