"""The command line as a user meets it: help, lists, exit codes, and a message instead of a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sinew.cli.data import COMMANDS as DATA
from sinew.cli.main import COMMANDS, main

HEAVY = ("torch", "mujoco", "transformers", "matplotlib", "av")


def imports_of(*words: str) -> set[str]:
    """Return the heavy packages that a command imports, in a fresh process."""
    code = (
        f"import sys\nsys.argv = ['sinew', *{words!r}]\nfrom sinew.cli.main import main\n"
        f"assert main() == 0\nprint('\\nIMPORTED', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.rpartition("IMPORTED")[2].split())


@pytest.mark.parametrize("words", [("--help",), ("list",), ("train", "tabletop", "--help"), ("doctor",)], ids=" ".join)
def test_looking_around_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    assert imports_of(*words) == set()


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"sinew {name}" in shown for name in COMMANDS)


def test_list_prints_what_to_expect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "sinew train tabletop" in shown
    assert "Expected: " in shown
    assert "not measured" not in shown


def test_short_help_shows_about_fifteen_settings_with_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tabletop", "--help"]) == 0
    settings = capsys.readouterr().out.partition("settings of")[2]
    assert 12 <= settings.count("\n  --") <= 18
    assert "one of bc, dagger, grpo [dagger]" in settings


def test_help_of_another_kind_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tabletop", "--recipe.kind", "bc", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--recipe.batch" in shown
    assert "--recipe.rounds" not in shown


@pytest.mark.parametrize("command", [*COMMANDS, *(f"data {name}" for name in DATA)])
def test_every_command_tells_its_options_in_the_same_way(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command in ("data", "list", "doctor"):
        return
    with suppress(SystemExit):
        main([*command.split(), "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: sinew {command} ")
    assert (lines[1], lines[3], lines[4]) == ("", "", "options")
    assert lines[2].endswith(".")
    assert not any("╭" in line for line in lines)
    named = [line for line in lines[5:] if re.match(r"  (--|[A-Z])", line)]
    assert len(named) >= len(lines[5:]) - 2
    assert all(re.match(r"  \S+(, --\S+)? {2,}\S", line) for line in named)  # each says what it means


def test_help_of_collecting_shows_no_settings_of_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--collect.noise" in shown
    assert "settings of every preset" in shown
    assert not re.search(r"--(policy|recipe|optim|loop|evaluate)\.", shown)


def test_full_help_shows_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "tabletop", "--help-all"])
    assert ended.value.code == 0
    assert "--optim.weight-decay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tran"], "Did you mean 'train'?"),
        (["train"], "Name a preset. There is: tabletop"),
        (["train", "tabletp"], "Did you mean 'tabletop'?"),
        (["train", "nowhere.py"], "nowhere.py: no such file"),
        (["train", "tabletop", "--recipe.kind", "dager"], "Did you mean 'dagger'?"),
        (["train", "tabletop", "--policy.head.kind=flo"], "Did you mean 'flow'?"),
        (["train", "tabletop", "--config", "nowhere.json"], "nowhere.json: no such file"),
        (["train", "bc", "--data", "a", "b"], "a flag of its own: --data a --data b"),
        (["train", "tabletop", "--seeds", "0"], "at least 1"),
        (["train", "tabletop", "--env.objects", "9"], "objects is 9"),
        (["evaluate", "runs/nothing"], "runs/nothing: no such run"),
        (["report", "runs/nothing"], "runs/nothing: no such run"),
        (["list", "more"], "list takes no arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    heard = capsys.readouterr()
    assert said in heard.err
    assert heard.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "said"),
    [("--loop.update", "--loop.updates"), ("--sizes", "--size"), ("--loop.updates=many", "invalid literal")],
)
def test_a_wrong_flag_is_answered_with_the_nearest(flag: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "tabletop", *([flag] if "=" in flag else [flag, "5"])])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_interrupt_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stopped.py"
    path.write_text("def preset(size):\n    raise KeyboardInterrupt\n")
    assert main(["train", str(path), "--seed", "3"]) == 130
    assert f"sinew train {path} --seed 3" in capsys.readouterr().err


def test_a_full_disk_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "full.py"
    path.write_text("import errno\ndef preset(size):\n    raise OSError(errno.ENOSPC, 'No space left on device')\n")
    assert main(["train", str(path)]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_met_with_silence() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "sinew", "list"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.stderr == ""
    assert result.returncode == 141
