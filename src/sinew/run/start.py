"""The policy that a run improves: which one it is, whether it can be improved, and the run's own copy of it."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sinew.core import config as configs
from sinew.core.errors import CheckpointError, ConfigError
from sinew.core.files import new_directory, read_json
from sinew.core.rundir import RunDir
from sinew.core.spec import check_spec
from sinew.core.types import RobotSpec
from sinew.deploy.load import checkpoint_of
from sinew.models.config import BLUEPRINTS, HEADS, FlowHeadConfig, PolicyConfig
from sinew.models.heads.config import AutoregressiveHeadConfig, DiffusionHeadConfig
from sinew.models.policy_files import BODIES
from sinew.recipes.config import GrpoConfig

if TYPE_CHECKING:
    from sinew.run import RunConfig

FILES = ("config.json", "spec.json", "tokenizer.json", "model.safetensors", "normalizer.safetensors")
"""What a policy directory holds; their bytes are what a run of improvement is known by."""
WEAK = "sinew train PRESET --policy.head.kind gaussian --recipe.kind bc --collect.episodes 600 --loop.updates 300"


def start_from(config: RunConfig, path: Path) -> RunConfig:
    """Return the configuration that improves the policy of a run or checkpoint: its parts and its weights.

    How many actions of a chunk are executed stays as the configuration says; the improved policy keeps it.

    Raises:
        ConfigError: the recipe improves nothing, or the policy's head draws nothing that could be scored.
        CheckpointError: there is no policy.
    """
    recipe = config.recipe
    if not isinstance(recipe, GrpoConfig):
        raise ConfigError(
            f"--from {path}: {config.name} is trained with {recipe.kind}, which improves no policy. "
            "Presets that do, such as those with recipe grpo: sinew list"
        )
    place = checkpoint_of(path).resolve()
    if (place / BODIES).is_file():
        raise ConfigError(f"--from {path}: learned on several bodies; what improves a policy knows one robot only.")
    policy = configs.from_dict(PolicyConfig, read_json(place / "config.json").get("policy"), str(place / "config.json"))
    recipe = dataclasses.replace(recipe, start=str(place), weights=digest_of(place))
    execute = min(config.policy.execute, policy.horizon)
    config = dataclasses.replace(config, policy=dataclasses.replace(policy, execute=execute), recipe=recipe)
    check_head(config)
    return config


def check_start(config: RunConfig) -> None:
    """Refuse a run of improvement that cannot work, before anything is written.

    Raises:
        ConfigError: no policy was named, it cannot be improved, or a setting is out of range.
        CheckpointError: it is not the one that was named, or not there.
        SpecError: it is another robot's.
    """
    recipe = config.recipe
    if not isinstance(recipe, GrpoConfig):
        return
    if not recipe.weights:
        raise ConfigError(
            f"{config.name} improves a policy: name its run with --from RUN. Its head must be one of "
            f"{', '.join(able())}. A weak one to see it work: {WEAK}"
        )
    check_head(config)
    wanted = {"scenes": recipe.scenes >= 1, "group": recipe.group >= 2, "epochs": recipe.epochs >= 1}
    wanted |= {"minibatches": recipe.minibatches >= 1, "clip_low": 0 < recipe.clip_low < 1}
    wanted |= {"clip_high": recipe.clip_high > 0, "kl": recipe.kl >= 0}
    wrong = [f"--recipe.{name.replace('_', '-')} {getattr(recipe, name)}" for name, fine in wanted.items() if not fine]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: scenes, epochs and minibatches begin at 1, a group at 2 episodes (it compares them), "
            "clip-low lies between 0 and 1, clip-high above 0, kl not below."
        )
    check_robot(config, Path(recipe.start))


def check_head(config: RunConfig) -> None:
    """Refuse a head that draws nothing that could be scored.

    Raises:
        ConfigError: with those that do, and how to train one.
    """
    head = config.policy.head
    if not head.stochastic:
        raise ConfigError(
            f"the policy has the {head.kind} head, which always answers with the same actions: there is nothing to try "
            f"out and nothing to score. Heads that can be improved: {', '.join(able())}. To train one: {WEAK}"
        )
    if isinstance(head, FlowHeadConfig | DiffusionHeadConfig) and head.noise <= 0:
        raise ConfigError(f"--policy.head.noise {head.noise:g}: improvement needs noise to try things out, above 0.")
    whole = config.policy.execute == config.policy.horizon
    if isinstance(head, AutoregressiveHeadConfig) and head.tokens == "fast" and not whole:
        raise ConfigError(
            f"--policy.execute {config.policy.execute}: FAST tokens say all {config.policy.horizon} steps at once, so "
            f"all must be executed to be scored: --policy.execute {config.policy.horizon}."
        )


def check_robot(config: RunConfig, policy: Path) -> None:
    """Refuse a policy that was made for another robot than the world's; one that has gone is not looked at.

    Raises:
        SpecError: with every difference and both sides.
    """
    if (policy / "spec.json").is_file():
        advice = "Give the world the settings that the policy was trained with (--env...), or choose another --from."
        check_spec(configs.load(RobotSpec, policy / "spec.json"), config.world.build(1).spec, advice=advice)


def able() -> list[str]:
    """Return the names of the heads that can be improved."""
    return [name for name, kind in HEADS.items() if kind.stochastic]


def digest_of(place: Path) -> str:
    """Return sixteen hexadecimal digits that change with any byte of a policy directory's files.

    Raises:
        CheckpointError: one is missing.
    """
    whole = hashlib.sha256()
    for name in FILES:
        if not (place / name).is_file():
            raise CheckpointError(f"{place}: {name} is missing. Name a run that has trained, or a whole checkpoint.")
        with (place / name).open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]


def keep_start(config: RunConfig, rundir: RunDir) -> Path:
    """Return the run's own copy of the policy it improves, made at the first call, so that the other may go.

    Raises:
        CheckpointError: the policy there is not the one that was named.
        SpecError: it is another robot's.
    """
    recipe = config.recipe
    assert isinstance(recipe, GrpoConfig)
    copy = rundir.path / "start"
    if not copy.exists():
        if digest_of(Path(recipe.start)) != recipe.weights:
            raise CheckpointError(
                f"{recipe.start}: its files are not those that this run was to start from ({recipe.weights}). "
                "Name the policy again with --from."
            )
        with new_directory(copy) as temporary:
            there = [name for name in (*FILES, BLUEPRINTS) if (Path(recipe.start) / name).is_file()]
            for name in there:
                shutil.copyfile(Path(recipe.start) / name, temporary / name)
    check_robot(config, copy)
    return copy
