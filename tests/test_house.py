"""The rules of the house that no off-the-shelf tool holds: sizes, names, what is listed and what is said."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sinew
from sinew.cli.main import COMMANDS
from sinew.cli.resolve import KINDS
from sinew.presets import PRESETS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "sinew"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

LONG_FILES = {"core/types.py": 620}
"""Files that may be longer than 400 lines: types.py is the page to print."""
WORDS_OF_A_WORLD = re.compile(
    r"(?<![a-z])(table-?top|cube|ball|cylinder|zone|cup|bottle|yellow|purple)s?(?![a-z])", re.IGNORECASE
)
MAY_NAME_A_WORLD = {
    "data/phrases.py",  # colours of any world, as words that are never exchanged
    "envs/config.py",
    "run.py",
    "run/__init__.py",
    "presets/__init__.py",
    "presets/tabletop.py",
    "presets/tabletop_grpo.py",
    "presets/vlm.py",
}
OWN_PICKLES = {"data/collect.py", "evaluate/success.py", "recipes/expert_rounds.py", "recipes/group_rounds.py"}
"""Files that unpickle settings which their own process, or its parent, pickled a moment before."""
TESTS_ACROSS_MODULES = {"house.py", "engine/kill.py"}


def name_of(path: Path) -> str:
    """Return a source file's path inside the package."""
    return path.relative_to(SOURCE).as_posix()


def sources(*suffixes: str) -> list[Path]:
    """Return our files with these suffixes."""
    return [path for path in sorted(SOURCE.rglob("*")) if path.suffix in suffixes]


def leaves(config: Any) -> Iterator[str]:  # noqa: ANN401  (any config dataclass)
    """Yield the settings that one can reach from a configuration."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from (f"{item.name}.{leaf}" for leaf in leaves(value))
        else:
            yield item.name


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def settings() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def contract(name: str) -> dict[str, Any]:
    """Return the import contract of that name."""
    return next(item for item in settings()["tool"]["importlinter"]["contracts"] if item["name"] == name)


@pytest.mark.parametrize("path", sources(".py"), ids=name_of)
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONG_FILES.get(name_of(path), 400)


@pytest.mark.parametrize("path", sources(".py"), ids=name_of)
def test_file_says_what_it_is_for_in_one_sentence(path: Path) -> None:
    first = path.read_text().partition("\n")[0]
    assert re.fullmatch(r'""".+\.("{3})?', first), first


def test_a_world_is_named_only_where_it_lives() -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in sources(".py", ".j2", ".css", ".js")
        if not name_of(path).startswith("envs/tabletop/") and name_of(path) not in MAY_NAME_A_WORLD
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WORDS_OF_A_WORLD.search(line)
    ]
    assert found == []


def test_nothing_from_outside_is_unpickled() -> None:
    unsafe = re.compile(r"torch\.load|pickle\.load|allow_pickle\s*=\s*True|\bmarshal\b|\bshelve\b|\bjoblib\b")
    found = {name_of(path) for path in sources(".py") if unsafe.search(path.read_text())}
    assert found <= OWN_PICKLES
    assert not any("torch.load" in path.read_text() for path in sources(".py"))


def test_every_dependency_is_used() -> None:
    names = [re.split(r"[^\w-]", line, maxsplit=1)[0] for line in settings()["project"]["dependencies"]]
    text = "\n".join(path.read_text() for path in sources(".py"))
    modules = {"PIL" if name == "pillow" else name for name in names}
    assert [name for name in modules if not re.search(rf"^\s*(import|from) {name}\b", text, re.MULTILINE)] == []


def test_top_level_has_at_most_forty_names() -> None:
    assert len([name for name in vars(sinew) if not name.startswith("_")]) <= 40


@pytest.mark.parametrize("name", PRESETS)
def test_preset_reaches_at_most_135_settings(name: str) -> None:
    """125 of a policy's run; one that teaches a vision-language model has its parts and its texts beside them."""
    assert len(list(leaves(PRESETS[name]("small")))) <= 135


@pytest.mark.parametrize("where", KINDS)
def test_every_kind_is_listed_under_its_own_name_and_builds(where: str) -> None:
    for name, kind in KINDS[where].items():
        assert kind().kind == name


def test_every_module_imports() -> None:
    for module in pkgutil.walk_packages(sinew.__path__, "sinew."):
        if module.name != "sinew.__main__":
            importlib.import_module(module.name)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("Recipes do not know each other", "recipes"), ("Heads do not know each other", "models/heads")],
)
def test_independence_contract_lists_every_file(name: str, folder: str) -> None:
    files = {path.stem for path in (SOURCE / folder).glob("*.py")} - {"__init__", "config"}
    assert {module.rpartition(".")[2] for module in contract(name)["modules"]} == files


def test_tests_mirror_the_tree() -> None:
    """Every test file carries the path of a module or of a folder."""
    folders = {f"{name_of(path)}/{path.name}.py" for path in SOURCE.rglob("*") if path.is_dir()}
    modules = {name_of(path) for path in sources(".py")} | folders
    tests = ROOT / "tests"
    files = {path.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    mirrored = {name.replace("test_", "") for name in files if not name.startswith(("proof/", "e2e/"))}
    mirrored -= {name for name in mirrored if name.endswith("/conformance.py")}  # suites over a dict
    assert mirrored - modules - TESTS_ACROSS_MODULES == set()


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_of_a_page_exist(page: Path) -> None:
    """Every ``sinew COMMAND PRESET`` and ``make TARGET`` in a code block or code span can be typed."""
    fences = re.findall(r"```(\w*)\n(.*?)```", page.read_text(), re.DOTALL)
    blocks = [body for language, body in fences if language == "bash"]
    code = "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose(page))])
    commands = set(re.findall(r"(?:^|[/ ])sinew ([a-z]+)", code, re.MULTILINE))
    presets = set(re.findall(r"(?:^|[/ ])sinew (?:train|collect) ([a-z][a-z0-9-]*)\b(?!\.py)", code, re.MULTILINE))
    targets = set(re.findall(r"^make ([a-z]+)", code, re.MULTILINE))
    assert commands <= set(COMMANDS)
    assert presets <= set(PRESETS)
    assert targets <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", prose(page))
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_source_files_that_a_page_names_exist(page: Path) -> None:
    """`data/windows.py` and `models/policy.py` in a code span are files of the package or of the repository."""
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", prose(page))
    missing = [name for name in named if not (SOURCE / name).exists() and not (ROOT / name).exists()]
    assert [name for name in missing if not re.search(r"/(x|my_\w+)\.py$", name)] == []
