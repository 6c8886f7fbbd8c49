"""Entry point of ``sinew``: reads the command line, calls ``sinew.run``, turns errors into messages."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sinew import __version__
from sinew.core.errors import CheckpointError, ConfigError, SinewError
from sinew.core.launch import launched

if TYPE_CHECKING:
    from sinew.run import RunConfig

USER_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 a bad finding, 2 a mistake, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if launched().size > 1:  # else every rank tells of what torch's reducer could save
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        code = run_command(words)
        sys.stdout.flush()
    except ConfigError as error:
        return _fail(str(error)) if os.environ.get("RANK", "0") == "0" else 2  # every rank has the same flags
    except SinewError as error:
        return _fail(str(error))
    except KeyboardInterrupt as stopped:
        said = str(stopped) or "Stopped. What was written is whole, and the same command goes on."
        print(f"\n{said}\n  {shlex.join(['sinew', *words])}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        return _fail(f"{error.filename or 'disk'}: {error.strerror}. Free some space or choose another place.")
    return code


def run_command(words: list[str]) -> int:
    """Run what the words ask for.

    Raises:
        ConfigError: there is no such command.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"sinew {__version__}")
        return 0
    if words[0] not in COMMANDS:
        from sinew.cli.resolve import unknown

        raise ConfigError(unknown("command", words[0], COMMANDS))
    return COMMANDS[words[0]][0](words[1:])


def usage() -> str:
    """Return the page of ``sinew --help``."""
    from sinew.presets import PRESETS

    lines = [f"  sinew {name:<10}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            f"sinew {__version__}: train vision-language-action policies and take them to a robot.",
            "",
            *lines,
            "",
            f"Start with: sinew train {next(iter(PRESETS))}       More on a command: sinew train --help",
        ]
    )


def train(words: list[str]) -> int:
    """Train a policy."""
    from sinew import run
    from sinew.cli.configured import resolved_of
    from sinew.cli.options import TrainOptions

    resolved = resolved_of(TrainOptions, words, "train")
    if resolved is None:
        return 0
    options, config = resolved
    if options.seeds < 1:
        raise ConfigError(f"--seeds {options.seeds}: at least 1 is wanted.")
    if options.dry_run:
        run.dry_run(config, root=options.out, command=shlex.join(["sinew", "train", *words]))
        return 0
    run.train(config, root=options.out, command=shlex.join(["sinew", "train", *words]), seeds=options.seeds)
    return 0


def collect(words: list[str]) -> int:
    """Record demonstrations."""
    from sinew import run
    from sinew.cli.configured import resolved_of
    from sinew.cli.options import CollectOptions

    resolved = resolved_of(CollectOptions, words, "collect")
    if resolved is None:
        return 0
    options, config = resolved
    if options.teleop is not None or options.robot is not None:
        from sinew.cli.teleop import by_hand

        return by_hand(options, config)
    if options.episodes is not None:
        config = dataclasses.replace(config, collect=dataclasses.replace(config.collect, episodes=options.episodes))
    run.collect(config, out=options.out)
    return 0


def evaluate(words: list[str]) -> int:
    """Measure a policy."""
    import tyro

    from sinew import run
    from sinew.cli.options import EvaluateOptions
    from sinew.cli.resolve import world_of
    from sinew.cli.words import read

    if {"-h", "--help"} & {*words} and "--env" not in words:
        read(EvaluateOptions, words, "sinew evaluate")
    options, flags = tyro.cli(EvaluateOptions, args=words, prog="sinew evaluate", return_unknown_args=True)
    if flags and options.env is None:
        tyro.cli(EvaluateOptions, args=words, prog="sinew evaluate")  # which says what it does not know
    env = world_of(options.env, flags, f"sinew evaluate --env {options.env}")
    path, against = _existing(options.run), None if options.against is None else _existing(options.against)
    if options.episodes is not None and options.episodes < 1:
        raise ConfigError(f"--episodes {options.episodes}: at least 1 is wanted.")
    if options.limits is not None and options.ramp is not None:
        raise ConfigError(
            "--ramp shapes the limits that a robot's description implies; --limits names others. Give one."
        )
    shield = str(options.limits) if options.limits else "auto" if options.shield else None
    shield = shield if options.ramp is None else str(options.ramp)
    run.evaluate(path, episodes=options.episodes, against=against, env=env, tasks=options.tasks, shield=shield)
    return 0


def report(words: list[str]) -> int:
    """Write a report again."""
    from sinew import run
    from sinew.cli.options import ReportOptions
    from sinew.cli.words import read

    options = read(ReportOptions, words, "sinew report")
    path = _existing(options.run)
    run.report(path)
    return 0


def list_presets(words: list[str]) -> int:
    """Print the presets with what to expect of them."""
    from sinew.presets import PRESETS

    _no_words(words, "list")
    for name, function in PRESETS.items():
        doc = inspect.cleandoc(function.__doc__ or "")
        print(f"{name}\n  {doc.partition(chr(10))[0]}")
        for label in ("Expected", "Time"):
            match = re.search(rf"^{label}: (.+)$", doc, re.MULTILINE)
            print(f"  {label + ':':<10}{match[1] if match else 'not measured'}")
        print(f"  {'Start:':<10}sinew train {name}{_needs(function('small'))}")
    return 0


def doctor(words: list[str]) -> int:
    """Print what this machine has and lacks; 1 when something is missing."""
    from sinew.cli.doctor import examine

    _no_words(words, "doctor")
    findings = examine(Path("runs"))
    width = max(len(item.what) for item in findings) + 2
    for item in findings:
        print(f"{item.state:<9}{item.what:<{width}}{item.found}" + (f"   -> {item.todo}" if item.todo else ""))
    missing = [item.what for item in findings if item.state == "missing"]
    print(f"\nMissing: {', '.join(missing)}." if missing else "\nNothing is missing. What it can run: sinew list")
    return 1 if missing else 0


def lazy(command: str) -> Callable[[list[str]], int]:
    """Return a command that lies in the module of its name, which is imported when the command is run."""

    def run(words: list[str]) -> int:
        return getattr(importlib.import_module(f"sinew.cli.{command}"), command)(words)

    return run


def _needs(config: RunConfig) -> str:
    """Return what must be named for such a training to start."""
    if config.data is not None:
        return " --data PATH"
    return " --from RUN" if config.recipe.kind == "grpo" else ""


def _existing(path: Path) -> Path:
    """Return the path.

    Raises:
        CheckpointError: there is nothing.
    """
    if path.exists():
        return path
    place = path.parent if path.parent.is_dir() else Path("runs")
    found = sorted(item.name for item in place.glob("*") if (item / "config.json").exists()) if place.is_dir() else []
    there = f"In {place} there is: {', '.join(found)}." if found else "Train one first: sinew list"
    raise CheckpointError(f"{path}: no such run. {there}")


def _no_words(words: list[str], command: str) -> None:
    if set(words) - {"-h", "--help"}:
        raise ConfigError(f"{command} takes no arguments; {shlex.join(words)} was given.")


def _fail(message: str) -> int:
    print(f"sinew: {message}", file=sys.stderr)
    return 2


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train, "train a policy and report how well it does"),
    "evaluate": (evaluate, "measure the policy of a run, alone or against another"),
    "collect": (collect, "record demonstrations, of the scripted expert or by hand"),
    "data": (lazy("data"), "look into recorded data sets, convert and label them"),
    "report": (report, "write the report of a run again"),
    "diagnose": (lazy("diagnose"), "what is wrong with a training, why, and what to try"),
    "play": (lazy("play"), "say something to a policy and watch it, on a page or on film"),
    "adopt": (lazy("adopt"), "take over a policy that LeRobot trained"),
    "export": (lazy("export"), "write a policy that runs without torch, and check it"),
    "infer": (lazy("infer"), "print what a policy would do with one observation"),
    "run": (lazy("run"), "run a policy on a robot, with watchdog and shield"),
    "serve": (lazy("serve"), "answer robots and simulators over the network"),
    "bench": (lazy("bench"), "how fast a preset trains here, and where the time goes"),
    "new": (lazy("new"), "lay out a folder for a task of your own"),
    "list": (list_presets, "the presets, with what to expect of them"),
    "doctor": (doctor, "what this machine can run, and what is missing"),
}
"""What each command calls, and its line in ``sinew --help``."""
