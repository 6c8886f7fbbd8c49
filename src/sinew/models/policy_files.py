"""A policy's directory: config.json, spec.json, tokenizer.json, the weights and the statistics.

With pretrained parts there is a blueprints.json as well, so that nothing needs to be fetched again; a policy of several
bodies has a bodies.json, which also says as which of them it acts, if as one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinew.core import config as configs
from sinew.core.errors import CheckpointError
from sinew.core.files import new_directory, read_json, write_json, write_text
from sinew.core.types import RobotSpec
from sinew.models.config import BLUEPRINTS, PolicyConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

SCHEMA = 1
BODIES = "bodies.json"
NORMS = ".normalizer."
"""Part of the names of statistics, after a dot has been put before them."""
WEIGHTS = ("model.safetensors", "normalizer.safetensors")
WANTED = ("config.json", "spec.json", "tokenizer.json", *WEIGHTS)


@dataclass(frozen=True)
class Described:
    """All of a policy but its weights.

    Attributes:
        config: its parts.
        spec: the robot that acts, or all of several bodies in one.
        bodies: the several, nothing where there is one. acts_as: number of the one that acts.
        tokenizer: of its words.
        blueprints: of its pretrained parts.
    """

    config: PolicyConfig
    spec: RobotSpec
    bodies: tuple[RobotSpec, ...]
    acts_as: int | None
    tokenizer: Tokenizer
    blueprints: Mapping[str, Any] | None


def write_policy(directory: Path, policy: Described, weights: Mapping[str, Tensor]) -> None:
    """Write a policy into an existing directory."""
    from safetensors.torch import save_file

    describe(directory, policy)
    others, norms = split_normalizer(weights)
    save_file(others, directory / "model.safetensors")
    save_file(norms, directory / "normalizer.safetensors")


def describe(directory: Path, policy: Described) -> None:
    """Write all of a policy but its weights."""
    content = {"schema_version": SCHEMA, "policy": configs.to_dict(policy.config)}
    write_json(directory / "config.json", content)
    write_json(directory / "spec.json", configs.to_dict(policy.spec))
    if policy.bodies:
        kept = {"specs": [configs.to_dict(spec) for spec in policy.bodies], "acts_as": policy.acts_as}
        write_json(directory / BODIES, {"schema_version": SCHEMA, **kept})
    write_text(directory / "tokenizer.json", policy.tokenizer.to_str(pretty=False))
    if policy.blueprints:
        write_json(directory / BLUEPRINTS, policy.blueprints)


def write_body(place: Path, number: int, directory: Path) -> None:
    """Write a directory in which the policy at ``place`` acts as one of its bodies; weights are linked, not copied.

    Args:
        place: the directory of a policy of several bodies.
        number: of the body.
        directory: to be written; what was there is replaced.
    """
    policy = read_described(place)
    with new_directory(directory) as fresh:
        describe(fresh, replace(policy, spec=policy.bodies[number], acts_as=number))
        for name in WEIGHTS:
            try:
                (fresh / name).hardlink_to((place / name).resolve())
            except OSError:  # another disk, or one that has no links
                shutil.copyfile(place / name, fresh / name)


def read_described(place: Path) -> Described:
    """Read all of a policy but its weights.

    Raises:
        CheckpointError: a file is missing or of another version.
        ConfigError: a file holds something else.
    """
    from tokenizers import Tokenizer

    missing = [name for name in WANTED if not (place / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{place}: not a policy directory, {', '.join(missing)} missing. Name a folder that holds them."
        )
    content = _known(place / "config.json")
    bodies, acts_as = (), None
    if (place / BODIES).is_file():
        kept = _known(place / BODIES)
        bodies = tuple(configs.from_dict(RobotSpec, one, str(place / BODIES)) for one in kept["specs"])
        acts_as = kept["acts_as"]
    return Described(
        config=configs.from_dict(PolicyConfig, content["policy"], str(place / "config.json")),
        spec=configs.load(RobotSpec, place / "spec.json"),
        bodies=bodies,
        acts_as=acts_as,
        tokenizer=Tokenizer.from_file(str(place / "tokenizer.json")),
        blueprints=read_json(place / BLUEPRINTS) if (place / BLUEPRINTS).is_file() else None,
    )


def read_weights(policy: nn.Module, place: Path) -> None:
    """Put the weights and statistics of a directory into a policy.

    Raises:
        CheckpointError: they do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, Any] = load_file(place / "model.safetensors") | load_file(place / "normalizer.safetensors")
        policy.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{place}: the weights do not fit ({error}). Use the files of one checkpoint.") from error


def split_normalizer(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights that are no statistics, and those that are."""
    norms = {name: value.contiguous() for name, value in weights.items() if NORMS in f".{name}"}
    return {name: value.contiguous() for name, value in weights.items() if name not in norms}, norms


def _known(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA:
        found = content.get("schema_version") if isinstance(content, dict) else "none"
        raise CheckpointError(f"{path}: schema {found}, this sinew reads {SCHEMA}.")
    return content
