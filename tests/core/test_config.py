from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from sinew.core.config import digest, from_dict, load, to_dict
from sinew.core.errors import ConfigError, DataError
from sinew.core.files import write_json


@dataclass(frozen=True)
class Square:
    kind: Literal["square"] = "square"
    side: float = 1.0


@dataclass(frozen=True)
class Disc:
    kind: Literal["disc"] = "disc"
    radius: float = 1.0


@dataclass(frozen=True)
class Drawing:
    name: str
    shape: Square | Disc = field(default_factory=Square)
    more: tuple[Disc, ...] = ()
    named: Mapping[str, Square] = field(default_factory=dict)
    size: tuple[int, int] = (2, 3)
    note: str | None = None


FULL = Drawing("a", Disc(radius=2.5), (Disc(), Disc(radius=3)), {"x": Square(side=4)}, (5, 6), "n")


def test_config_survives_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", to_dict(FULL))
    assert load(Drawing, tmp_path / "config.json") == FULL


def test_missing_settings_take_their_defaults() -> None:
    assert from_dict(Drawing, {"name": "b"}, "here") == Drawing("b")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"name": "a", "nam": 1}, "nam: unknown setting; did you mean name?"),
        ({"name": "a", "zzz": 1}, "zzz: unknown setting."),
        ({"name": "a", "shape": {"kind": "disc", "radios": 1}}, "did you mean shape.radius?"),
        ({"name": "a", "more": [{"kind": "disc"}, {"kind": "disc", "radios": 1}]}, "more.1.radios: unknown setting"),
        ({"name": "a", "named": {"x": {"sid": 1}}}, "named.x.sid: unknown setting; did you mean named.x.side?"),
        ({}, "name: Field required"),
        ({"name": "a", "size": [1, "two"]}, "size.1: Input should be a valid integer"),
        ([], "Drawing: Input should be a dictionary"),
    ],
)
def test_a_mistake_is_named_with_its_place(content: object, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Drawing, content, "some/config.json")
    assert str(caught.value).startswith("some/config.json: not a valid Drawing.")
    assert line in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Drawing, {"nam": "a", "shape": {"kind": "disc", "radios": 1}, "size": 3}, "here")
    for part in ("nam:", "shape.radios:", "name: Field required", "size:"):
        assert part in str(caught.value)


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load(Drawing, tmp_path / "config.json")


def test_digest_changes_with_any_setting_and_only_then() -> None:
    assert digest(FULL) == digest(replace(FULL))
    assert len(digest(FULL)) == 8
    others = [
        replace(FULL, name="b"),
        replace(FULL, shape=Square()),
        replace(FULL, more=(Disc(),)),
        replace(FULL, size=(6, 5)),
        replace(FULL, note=None),
    ]
    assert len({digest(config) for config in [FULL, *others]}) == 6


def test_digest_covers_every_part() -> None:
    assert digest(FULL, 1) == digest(FULL, 1)
    assert len({digest(FULL), digest(FULL, 1), digest(FULL, 2), digest(FULL, FULL)}) == 4
