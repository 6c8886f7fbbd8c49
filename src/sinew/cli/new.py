"""``sinew new``: lays out the folder of a task: what it is, its preset, its settings."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from sinew.cli.resolve import build_preset, find_preset
from sinew.cli.words import read
from sinew.core.config import to_dict
from sinew.core.errors import ConfigError
from sinew.core.files import new_directory, write_json, write_text
from sinew.presets import PRESETS
from sinew.run import RunConfig

FIRST = next(iter(PRESETS))
DIALS = ("seed", "loop.updates", "optim.lr", "recipe.batch", "recipe.inner.batch", "collect.episodes")
"""Settings that config.json begins with, as far as the preset has them."""


@dataclass(frozen=True)
class NewOptions:
    """Lay out a folder for a task of your own: README, preset and settings, ready to train.

    Attributes:
        name: of the folder, such as my-task or tasks/my-task.
        preset: that it begins as.
    """

    name: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    preset: str = FIRST


def new(words: list[str]) -> int:
    """Write the folder and say what to type next."""
    options = read(NewOptions, words, "sinew new")
    find_preset(options.preset)
    if options.preset not in PRESETS:
        raise ConfigError(f"--preset {options.preset}: name one that comes with sinew: {', '.join(PRESETS)}.")
    for text in lay_out(options.name, options.preset):
        print(text)
    return 0


def lay_out(path: Path, preset: str) -> tuple[str, ...]:
    """Write the folder of a task, whole or not at all; return what there is and what to type next.

    Raises:
        ConfigError: the name cannot be one, or there is something already.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", path.name):
        raise ConfigError(f"{path}: name it with letters, digits, - and _, beginning with a letter, such as my-task.")
    if path.exists():
        raise ConfigError(f"{path}: exists already, and nothing in it is changed. Choose another name.")
    config = dataclasses.replace(build_preset(preset, "small"), name=path.name)
    told = {"NAME": path.name, "PATH": str(path), "PRESET": preset, "NEEDS": _needs(config)}
    with new_directory(path) as folder:
        write_text(folder / "README.md", _fill(README, told))
        write_text(folder / "preset.py", _fill(PRESET, told))
        write_json(folder / "config.json", dials(config))
    command = f"sinew train ./{path}/preset.py" if not path.is_absolute() else f"sinew train {path}/preset.py"
    return (
        f"{path}/README.md     what the task is, how to train it, what may go wrong",
        f"{path}/preset.py     the policy, its data and how it learns",
        f"{path}/config.json   the settings one changes most",
        "",
        f"Next: {command}{told['NEEDS']} --dry-run   # what it would take",
        f"      {command}{told['NEEDS']}",
    )


def dials(config: RunConfig) -> dict[str, Any]:
    """Return the settings that one changes most, as the content of a file for --config."""
    content: dict[str, Any] = {}
    every = to_dict(config)
    for dial in DIALS:
        *owners, name = dial.split(".")
        there: Any = every
        for owner in owners:
            there = there.get(owner) or {}
        if name in there and not (dial.startswith("collect") and config.env is None):
            place = content
            for owner in owners:
                place = place.setdefault(owner, {})
            place[name] = there[name]
    return content


def _needs(config: RunConfig) -> str:
    if config.data is not None:
        return " --data PATH"
    return " --from RUN" if config.recipe.kind == "grpo" else ""


def _fill(text: str, told: dict[str, str]) -> str:
    for name, value in told.items():
        text = text.replace(f"<{name}>", value)
    return text


PRESET = '''"""The preset of <NAME>: begins as sinew's <PRESET>; change what your task needs."""

from __future__ import annotations

import dataclasses

from sinew.presets import PRESETS
from sinew.presets.size import Size
from sinew.run import RunConfig


def preset(size: Size = "small") -> RunConfig:
    """Say here in one line what the policy shall learn.

    Expected: not measured.
    Time: not measured; `sinew train ./<PATH>/preset.py<NEEDS> --dry-run` foresees it.
    """
    base = PRESETS["<PRESET>"](size)
    policy = dataclasses.replace(base.policy, horizon=base.policy.horizon)  # actions predicted at once
    loop = dataclasses.replace(base.loop, updates=base.loop.updates)  # length of the training
    return dataclasses.replace(base, name="<NAME>", policy=policy, loop=loop)
'''

README = """# <NAME>

What the robot shall do, in one sentence. Who asked for it, and how well it must work: a success rate, and on what.

## Train

```bash
sinew train ./<PATH>/preset.py<NEEDS> --dry-run                        # time, memory, disk, risks; trains nothing
sinew train ./<PATH>/preset.py<NEEDS> --quick                          # the whole way in about two minutes
sinew train ./<PATH>/preset.py<NEEDS>                                  # the run
sinew train ./<PATH>/preset.py<NEEDS> --config ./<PATH>/config.json    # with those settings over the preset
```

Each run has a directory of its own, `runs/<NAME>-...`, and in it a README.md: the run card, with the command, the
configuration, versions, forecast, risks, and at the end the results. The same command goes on where a run stopped.

| file | what it is |
|---|---|
| `preset.py` | the policy, its data, how it learns; a function of the size |
| `config.json` | settings to put over the preset, for variants; any setting of `--help-all` may stand there |

## Risks

### Critical

- **Overwriting**: a finished run is never overwritten; an unfinished one of the same settings goes on.
  - Mitigation: copy `runs/` before you remove anything in it.
- **Cost**: hours times the price of the machine. `--cost.per-hour 2.5` puts it into the dry run and the run card.
  - Mitigation: `--dry-run` first.

### High

- **Out of memory**: a run that cannot fit is refused before it begins, with the batch that would fit.
  - Recovery: a smaller batch, or `--optim.accumulate 2`; the same command goes on from the last checkpoint.
- **Too little data**: fewer than 50 episodes, or none held out.
  - Recovery: record where the policy fails, add it, train again.

## Resources

Fill in from `--dry-run`: hardware, disk, time.

## Checklist

Before: the run ticks these in its own README.md.

- [ ] Dataset validated
- [ ] Architecture configured
- [ ] Hyperparameters logged
- [ ] Checkpoint directory has space
- [ ] README with risk warnings

During:

- [ ] Loss decreasing
- [ ] No NaN values
- [ ] GPU more than 80 % utilised
- [ ] Checkpoints saving

After:

- [ ] Best checkpoint identified
- [ ] Metrics documented
- [ ] Risks encountered logged
"""
