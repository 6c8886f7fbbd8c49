"""``sinew infer``: what a policy would do with one observation, in physical units."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from sinew.cli.words import read
from sinew.core.errors import ConfigError, DataError
from sinew.core.observed import check_observation
from sinew.core.types import NumpyObservation, RobotSpec

if TYPE_CHECKING:
    from sinew.deploy.load import LoadedPolicy


@dataclass(frozen=True)
class InferOptions:
    """Print the action chunk that a policy predicts; history before it is filled with the same observation.

    Attributes:
        path: run, checkpoint or exported artefact. An artefact needs no torch.
        image: CAMERA=FILE for every camera, of the size that the policy was trained with.
        state: the proprioceptive values in physical units, separated by commas: --state=-0.1,0.2
        instruction: what is to be done.
        seed: of the noise, where the policy starts from noise.
        device: auto, cpu, cuda or mps.
        json: print one JSON object instead of a table.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARTEFACT_OR_RUN")]
    instruction: str
    image: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    state: str = ""
    seed: int = 0
    device: str = "auto"
    json: bool = False


def infer(words: list[str]) -> int:
    """Print a chunk."""
    options = read(InferOptions, words, "sinew infer")

    from sinew.deploy.load import load_policy

    policy = load_policy(options.path, device=options.device)
    spec = policy.spec
    obs = observation(spec, options)
    full = policy.history.alike().push(obs)
    _seed(policy, options.seed)
    chunk = policy.predict_action_chunk(full)[0]
    answer = {
        "instruction": options.instruction,
        "action": list(spec.action),
        "units": list(spec.action_units),
        "kind": spec.kind,
        "hz": spec.hz,
        "execute": policy.queue.execute,
        "chunk": [[_short(value) for value in step] for step in chunk],
        "points": {name: [_short(value) for value in point[0]] for name, point in policy.points().items()},
    }
    print(json.dumps(answer) if options.json else "\n".join(as_lines(answer)))
    return 0


def observation(spec: RobotSpec, options: InferOptions) -> NumpyObservation:
    """Return what the options say as one row of one tick.

    Raises:
        ConfigError: an option does not fit the robot.
        DataError: an image cannot be read, or the state is not finite.
        SpecError: an image has another size than the policy was trained with.
    """
    files = {name: file for name, _, file in (word.partition("=") for word in options.image)}
    if set(files) != set(spec.cameras):
        wanted = " ".join(f"--image {name}=FILE" for name in spec.cameras)
        raise ConfigError(f"images of {', '.join(files) or 'no camera'} were given. Wanted: {wanted}")
    try:
        values = [float(word) for word in options.state.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigError(f"--state {options.state}: {error}. Give numbers separated by commas.") from error
    if len(values) != spec.state_size:
        names = ", ".join(f"{name} [{unit}]" for name, unit in zip(spec.state, spec.state_units, strict=True))
        raise ConfigError(f"--state has {len(values)} values, {spec.state_size} are wanted: {names}.")
    images = {name: _read_image(Path(file)) for name, file in files.items()}
    obs = NumpyObservation(images, np.array(values, dtype=np.float32)[None, None], (options.instruction,))
    check_observation(spec, obs)
    return obs


def as_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the answer as a table for people: a line a step, a column an action."""
    heads = [f"{name} [{unit}]" for name, unit in zip(answer["action"], answer["units"], strict=True)]
    rows = [[f"{value:.5g}" for value in step] for step in answer["chunk"]]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    yield f'"{answer["instruction"]}", {answer["kind"]} actions at {answer["hz"]:g} Hz'
    for name, values in (("step", heads), *((str(number), row) for number, row in enumerate(rows))):
        mark = "" if name == "step" or int(name) >= answer["execute"] else "  executed"
        yield (
            f"  {name:<6}" + "  ".join(f"{value:>{width}}" for value, width in zip(values, widths, strict=True)) + mark
        )
    for name, point in answer["points"].items():
        yield f"  it sees {name} at {', '.join(f'{value:.4f}' for value in point)} [m], in the robot's frame"


def _read_image(path: Path) -> NDArray[np.uint8]:
    """Return (1, 1, 3, h, w)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}). Give a PNG or JPEG.") from error
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None, None]


def _seed(policy: LoadedPolicy, number: int) -> None:
    """Make what a policy draws the same every time."""
    from sinew.deploy.infer import VLAInferenceEngine

    if isinstance(policy, VLAInferenceEngine):
        policy.seed(number)
        return
    import torch

    torch.manual_seed(number)


def _short(value: np.float32) -> float:
    """Return the shortest number that is the same float32."""
    return float(str(value))
