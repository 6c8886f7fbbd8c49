"""Observations that carry what a network made of them in place of images, so that a head alone has to run again."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from sinew.core.types import Features, Observation

FEATURES = "features"
"""Key of ``Observation.context`` under which the tokens stand."""
MASK = "features_mask"
"""Key of which of them count, where not all do."""
STATE = "features_state"
"""Key of the state, where a head reads it by itself."""


def condensed(obs: Observation[Tensor], features: Features) -> Observation[Tensor]:
    """Return observations without images and sensors, with these features."""
    kept = {FEATURES: features.tokens}
    if features.mask is not None:
        kept[MASK] = features.mask
    if features.state is not None:
        kept[STATE] = features.state
    for number, (key, value) in enumerate(features.cache or ()):
        kept |= {f"{FEATURES}.key.{number}": key, f"{FEATURES}.value.{number}": value}
    return dataclasses.replace(obs.public(), images={}, sensors={}, context=kept)


def features_in(obs: Observation[Tensor]) -> Features | None:
    """Return the features that observations carry, None where they carry none."""
    known = obs.context.get(FEATURES)
    if known is None:
        return None
    layers = sum(name.startswith(f"{FEATURES}.key.") for name in obs.context)
    pairs = tuple((obs.context[f"{FEATURES}.key.{n}"], obs.context[f"{FEATURES}.value.{n}"]) for n in range(layers))
    return Features(known, obs.context.get(MASK), cache=pairs or None, state=obs.context.get(STATE))
