"""Takes over policies that others trained: from their files to a policy directory of ours."""

from __future__ import annotations

from pathlib import Path

from sinew.core.errors import CheckpointError, ConfigError, DataError, SpecError
from sinew.core.files import new_directory
from sinew.data.formats.robot import Facts, PartialSpec, read_partial, resolve
from sinew.models.language import train_tokenizer
from sinew.models.lerobot import read_lerobot
from sinew.models.lerobot_files import Foreign
from sinew.models.openvla import is_openvla, read_openvla
from sinew.models.policy import VLAPolicy
from sinew.models.pretrained import fetch
from sinew.models.towers import Part, Taken, take_language, take_tower
from sinew.run.screen import say


def adopt(source: Path, out: Path, spec: Path | None, tokenizer: str = "", dataset: str = "") -> VLAPolicy:
    """Write a policy of LeRobot's, or an OpenVLA, as one of ours.

    Args:
        source: its ``pretrained_model`` directory, that of an OpenVLA, or an id on the hub.
        out: policy directory that is written; must not exist.
        spec: spec.json with what the policy's files do not say of the robot: names, units, rate, meaning of actions.
            None looks for spec.json beside the policy's files, or here if those come from the hub.
        tokenizer: of a policy that hears words: directory or hub id; "" is the one that its settings name.
        dataset: of an OpenVLA that knows several: whose actions it is to say.

    Raises:
        CheckpointError: the directory holds no such policy, or one with parts that we do not have.
        DataError: something about the robot is said nowhere; the message shows the file to write.
        ConfigError: ``out`` exists.
    """
    if out.exists():
        raise ConfigError(f"{out} exists and is left as it is. Name another directory with --out.")
    place = at(source)
    foreign = read_openvla(place, dataset) if is_openvla(place) else read_lerobot(place, tokenizer)
    beside = place / "spec.json" if source == place else Path("spec.json")
    policy = build(foreign, source, spec or beside)
    with new_directory(out) as temporary:
        policy.save_pretrained(temporary)
    for note in foreign.notes:
        say(f"  {note}")
    return policy


def adopt_part(source: Path, out: Path, part: Part, heads: int | None) -> Taken:
    """Write a part of a large policy as a directory for ``--policy.<part>.path``; say what stays behind.

    Args:
        source: directory with the policy's safetensors, or an id on the hub.
        out: directory that is written; must not exist.
        part: of the policy.
        heads: attention heads of that part, where its width does not tell.

    Raises:
        CheckpointError: there is no such part.
        ConfigError: ``out`` exists, or the heads are not known.
    """
    if out.exists():
        raise ConfigError(f"{out} exists and is left as it is. Name another directory with --out.")
    with new_directory(out) as temporary:
        taken = {"vision": take_tower, "language": take_language}[part](at(source), temporary, heads=heads)
    for line in taken.lines():
        say(f"  {line}")
    return taken


def at(source: Path) -> Path:
    """Return the directory of a policy, or of the hub's copy where it is no directory but an id there, OWNER/NAME.

    Raises:
        CheckpointError: it is not to be had from the hub.
    """
    is_id = not source.exists() and len(source.parts) == 2 and not source.parts[0].startswith((".", "~", "/"))
    return fetch(source.as_posix()) if is_id else source


def build(foreign: Foreign, source: Path, spec: Path) -> VLAPolicy:
    """Return the policy for a robot that a spec.json describes.

    Raises:
        CheckpointError: weights and settings do not fit each other.
        DataError: something about the robot is said nowhere.
        SpecError: what is said does not fit the policy.
    """
    given = read_partial(spec) if spec.is_file() else PartialSpec()
    facts = Facts(foreign.action_size, foreign.state_size, foreign.cameras)
    robot = resolve(str(source), facts, given, place=spec, reach=lambda: _reach(foreign, spec))
    if robot.binary:
        raise SpecError(
            f"{spec}: says that {', '.join(robot.binary)} takes two values only. Such policies predict it like any "
            "other: leave it out of binary."
        )
    policy = VLAPolicy(foreign.policy, robot, foreign.tokenizer or train_tokenizer(set()), foreign.blueprints)
    try:
        policy.load_state_dict(dict(foreign.weights))
    except RuntimeError as error:
        raise CheckpointError(f"{source}: its weights and its config.json do not fit each other ({error}).") from error
    return policy.eval()


def _reach(foreign: Foreign, spec: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the bounds of the actions that a policy was trained on."""
    if not foreign.low:
        raise DataError(
            f"{spec}: the policy brings no statistics, so nothing tells the bounds of actions. Say low and high, "
            f"{foreign.action_size} numbers each."
        )
    return foreign.low, foreign.high
