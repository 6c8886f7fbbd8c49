"""From a command line to a full configuration: preset, then config file, then flags."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from sinew.cli.options import CollectOptions, TrainOptions
from sinew.core.config import from_dict, to_dict
from sinew.core.errors import CheckpointError, ConfigError, DataError
from sinew.core.files import read_json
from sinew.data.config import DataConfig, MixConfig, SourceConfig
from sinew.deploy.load import checkpoint_of
from sinew.envs.config import ENVS, AnyEnvConfig
from sinew.models.architectures import named
from sinew.models.config import FUSIONS, HEADS, LANGUAGE, PREVIOUS, PROJECTORS, VISION, PolicyConfig
from sinew.models.vlm_config import VLM_VISION, VlmConfig
from sinew.presets import PRESETS
from sinew.presets.size import Size, shorten
from sinew.recipes.config import RECIPES
from sinew.run import InitConfig, RunConfig
from sinew.run.stages import TextsConfig, has_body
from sinew.run.start import start_from

KINDS: dict[str, dict[str, type[Any]]] = {
    "env": dict(ENVS),
    "policy.vision": dict(VISION),
    "policy.language": dict(LANGUAGE),
    "policy.projector": dict(PROJECTORS),
    "policy.fusion": dict(FUSIONS),
    "policy.head": dict(HEADS),
    "policy.previous": dict(PREVIOUS),
    "recipe": dict(RECIPES),
    "vlm.vision": dict(VLM_VISION),
    "vlm.projector": dict(PROJECTORS),
}
"""Where a configuration holds one of several classes, and their names."""

C = TypeVar("C")


@dataclass(frozen=True)
class World:
    """Settings of a world."""

    env: AnyEnvConfig


def find_preset(name: str) -> Callable[[Size], object]:
    """Return the preset function of that name, or of that Python file.

    Raises:
        ConfigError: there is no such preset, or the file defines none.
        DataError: there is no such file.
    """
    if name.endswith(".py"):
        return _load_preset(Path(name))
    if name not in PRESETS:
        raise ConfigError(unknown("preset", name, PRESETS) + " A file of your own works too: ./my_preset.py")
    return PRESETS[name]


def build_preset(name: str, size: Size) -> RunConfig:
    """Return the full configuration of a preset.

    Raises:
        ConfigError: the preset returned something else.
    """
    config = find_preset(name)(size)
    if not isinstance(config, RunConfig):
        raise ConfigError(f"{name}: preset(size) returned {type(config).__name__}, a sinew.run.RunConfig was wanted.")
    return config


def starting_point(options: TrainOptions | CollectOptions) -> RunConfig:
    """Return the preset of that size, made short if asked, with the config file put over it.

    Raises:
        ConfigError: neither a preset nor a config file was named.
    """
    if isinstance(options, CollectOptions) and options.robot is not None:
        return RunConfig()
    if options.preset is None and options.config is None:
        raise ConfigError(f"Name a preset. There is: {', '.join(PRESETS)}. What to expect of them: sinew list")
    config = RunConfig() if options.preset is None else build_preset(options.preset, options.size)
    if isinstance(options, TrainOptions):
        config = shorten(config) if options.quick else config
        if options.architecture is not None:
            config = dataclasses.replace(config, policy=named(options.architecture, config.policy))
        config = config if options.init is None else begin_with(config, options.init)
        config = config if options.from_ is None else start_from(config, options.from_)
        config = learn_from(config, options) if options.data or options.weights else config
    return config if options.config is None else overlay_file(config, options.config)


def begin_with(config: RunConfig, path: Path) -> RunConfig:
    """Return the configuration that begins with the weights of a run or checkpoint, and is built as that one is.

    What is learned already must not be washed out, so the learning rate is a third of the preset's.

    Raises:
        CheckpointError: there is no policy.
    """
    place = checkpoint_of(path) / "config.json"
    if has_body(config.stages):
        return around(config, place.parent)
    policy = from_dict(PolicyConfig, read_json(place).get("policy"), str(place))
    optim = dataclasses.replace(config.optim, lr=config.optim.lr / 3)
    return dataclasses.replace(config, policy=policy, optim=optim, init=InitConfig(str(path)))


def around(config: RunConfig, place: Path) -> RunConfig:
    """Return the configuration that gives a vision-language model of that directory a body, which it is taught no more.

    Raises:
        CheckpointError: it holds a policy.
    """
    if (place / "spec.json").exists():
        raise CheckpointError(
            f"{place}: holds a policy; {config.name} begins with a vision-language model. "
            "Name a run of: sinew train vlm"
        )
    stages = tuple(stage for stage in config.stages or () if stage.robot is not None)
    loop = dataclasses.replace(config.loop, updates=sum(stage.updates for stage in stages))
    return dataclasses.replace(config, vlm=VlmConfig(path=str(place.resolve())), stages=stages, loop=loop)


def learn_from(config: RunConfig, options: TrainOptions) -> RunConfig:
    """Return the configuration with recordings to learn from.

    Raises:
        ConfigError: there is not one weight for each of several.
    """
    if has_body(config.stages):
        config = dataclasses.replace(config, env=None)
    elif config.vlm is not None:
        return converse(config, options)
    data, paths = config.data or DataConfig(), options.data
    weights = options.weights or (1.0,) * len(paths)
    if len(weights) != len(paths) or (options.weights and len(paths) < 2):
        raise ConfigError(
            f"--weights {' '.join(f'{weight:g}' for weight in weights)}: name as many data sets, at least two, "
            f"with --data; there are {len(paths)}."
        )
    said = {"spec": options.spec, "instruction": options.instruction}
    ingest = dataclasses.replace(data.ingest, **{name: value for name, value in said.items() if value is not None})
    if len(paths) == 1:
        return dataclasses.replace(config, data=dataclasses.replace(data, path=str(paths[0]), mix=None, ingest=ingest))
    sources = tuple(SourceConfig(str(path), weight) for path, weight in zip(paths, weights, strict=True))
    mix = dataclasses.replace(data.mix or MixConfig(), sources=sources)
    return dataclasses.replace(config, data=dataclasses.replace(data, path="", mix=mix, ingest=ingest))


def converse(config: RunConfig, options: TrainOptions) -> RunConfig:
    """Return the configuration that teaches a vision-language model by data sets instead of a world's scenes.

    Raises:
        ConfigError: there are more than two, or weights, which conversations have none of.
    """
    paths = [str(path) for path in options.data]
    if len(paths) > 2 or options.weights:
        raise ConfigError(
            f"{config.name}: one --data with conversations, or two, captions first, and no --weights; "
            f"there are {len(paths)}."
        )
    texts = dataclasses.replace(config.texts or TextsConfig(), captions=paths[0], instructions=paths[-1])
    return dataclasses.replace(config, texts=texts, env=None)


def world_of(name: str | None, flags: Sequence[str], command: str) -> AnyEnvConfig | None:
    """Return the world of that name with its ``--env.`` flags put over it; None without a name.

    Raises:
        ConfigError: there is no such world.
    """
    if name is None:
        return None
    if name not in ENVS:
        raise ConfigError(unknown("--env", name, ENVS))
    return parse_flags(World, World(cast("AnyEnvConfig", ENVS[name]())), flags, command).env


def overlay_file(config: RunConfig, path: Path) -> RunConfig:
    """Return the configuration with what a JSON file says put over it; the file may be partial.

    Raises:
        ConfigError: unknown settings or wrong values, all of them named.
        DataError: the file is missing or not JSON.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a JSON {type(content).__name__}, an object with settings was wanted.")
    return from_dict(RunConfig, _merge(config, content, ""), str(path))


def swap_kinds(config: RunConfig, flags: Sequence[str]) -> RunConfig:
    """Return the configuration with each class that a ``--….kind NAME`` flag names in its place.

    Settings that both classes share are kept, and so is a recipe that was, or becomes, the inner one.

    Raises:
        ConfigError: a name that does not exist; the nearest and all names are given.
    """
    for where, kinds in KINDS.items():
        name = _value_of(flags, f"--{where}.kind")
        if name is None:
            continue
        if name not in kinds:
            raise ConfigError(unknown(f"--{where}.kind", name, kinds))
        part = where.partition(".")[0]
        if getattr(config, part) is None:
            raise ConfigError(f"--{where}.kind {name}: {config.name} has no {part}. Presets that have: sinew list")
        config = _replace(config, where.split("."), kinds[name])
    return config


def parse_flags(kind: type[C], default: C, flags: Sequence[str], command: str) -> C:
    """Return a dataclass with the flags put over its default; a wrong flag ends the program with the nearest one."""
    import tyro

    return tyro.cli(kind, default=default, args=flags, prog=command, config=(tyro.conf.AvoidSubcommands,))


def unknown(what: str, name: str, names: Iterable[str]) -> str:
    """Return a message about a wrong name, with the nearest one and the list."""
    known = list(names)
    near = difflib.get_close_matches(name, known, n=1)
    return (
        f"{what}: there is no {name!r}. "
        + (f"Did you mean {near[0]!r}? " if near else "")
        + f"There is: {', '.join(known)}."
    )


def _load_preset(path: Path) -> Callable[[Size], object]:
    if not path.is_file():
        raise DataError(f"{path}: no such file. Presets that come with sinew: {', '.join(PRESETS)}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: could not be read as Python. {type(error).__name__}: {error}") from error
    function = getattr(module, "preset", None)
    if not callable(function):
        raise ConfigError(f"{path}: defines no function preset(size) -> RunConfig. See docs/extending.md.")
    return function


def _merge(config: Any, content: dict[str, Any], prefix: str) -> dict[str, Any]:  # noqa: ANN401  (any config dataclass)
    """Return plain values: the config's own with the content's put over them, classes by their kind."""
    merged: dict[str, Any] = to_dict(config)
    for key, value in content.items():
        below = getattr(config, key, None)
        if not (dataclasses.is_dataclass(below) and isinstance(value, dict)):
            merged[key] = value
            continue
        name = value.get("kind")
        kinds = KINDS.get(prefix + key, {})
        if name in kinds and not isinstance(below, kinds[name]):
            below = _swap(below, kinds[name])
        merged[key] = _merge(below, value, f"{prefix}{key}.")
    return merged


def _replace(config: Any, where: Sequence[str], kind: type[Any]) -> Any:  # noqa: ANN401
    """Return a config in which the part at ``where`` is of that class."""
    if not where:
        return config if isinstance(config, kind) else _swap(config, kind)
    part = _replace(getattr(config, where[0]), where[1:], kind)
    return dataclasses.replace(config, **{where[0]: part})


def _swap(old: Any, kind: type[Any]) -> Any:  # noqa: ANN401
    """Return an object of class ``kind`` that keeps what it shares with ``old``."""
    if isinstance(getattr(old, "inner", None), kind):
        return old.inner
    fresh = kind()
    if hasattr(fresh, "inner") and isinstance(old, type(fresh.inner)):
        return dataclasses.replace(fresh, inner=old)
    names = {item.name for item in dataclasses.fields(fresh)} - {"kind"}
    return dataclasses.replace(fresh, **{name: getattr(old, name) for name in names if hasattr(old, name)})


def _value_of(flags: Sequence[str], flag: str) -> str | None:
    """Return the last value given to a flag, as ``--flag value`` or ``--flag=value``."""
    value = None
    for number, word in enumerate(flags):
        if word == flag and number + 1 < len(flags):
            value = flags[number + 1]
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value
