from __future__ import annotations

from pathlib import Path

import pytest

from kill import count_events, run_killed
from sinew.core.errors import DataError, SinewError
from sinew.core.files import (
    new_directory,
    point_link,
    read_json,
    replace_directory,
    require_free,
    restore_aside,
    write_bytes,
    write_json,
    write_text,
)


def test_json_round_trip(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"x": [1, "ü"]})
    assert read_json(tmp_path / "deep" / "a.json") == {"x": [1, "ü"]}


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    write_bytes(file, b"new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_failed_write_keeps_what_was_there_and_is_our_error(tmp_path: Path) -> None:
    place = tmp_path / "a"
    place.mkdir()
    (place / "inside").write_text("kept")
    with pytest.raises(SinewError, match=r"could not be written \(Is a directory\)"):
        write_text(place, "no")
    with pytest.raises(SinewError, match=r"could not be written"):
        write_text(place / "inside" / "deeper", "no")
    assert (place / "inside").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(("content", "message"), [(b"{", "not valid JSON"), (b"\xff", "not valid JSON")])
def test_broken_json_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json: {message}"):
        read_json(tmp_path / "a.json")


def test_missing_and_unreadable_json_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.json: no such file"):
        read_json(tmp_path / "b.json")
    with pytest.raises(DataError, match=r"could not be read \(Is a directory\)"):
        read_json(tmp_path)


def test_new_directory_appears_whole_and_replaces_the_old(tmp_path: Path) -> None:
    place = tmp_path / "out"
    for content in ("one", "two"):
        with new_directory(place) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / "file").write_text(content)
            assert temporary != place
        assert (place / "sub" / "file").read_text() == content
        assert list(tmp_path.iterdir()) == [place]


def test_failure_inside_new_directory_leaves_the_old(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with new_directory(place) as temporary:
        (temporary / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), new_directory(place) as temporary:
        (temporary / "file").write_text(str(1 / len(list(temporary.iterdir()))))
    assert (place / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_new_directory_in_an_impossible_place_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinewError, match="could not be written"), new_directory(tmp_path / "file" / "out"):
        pass


def test_a_copy_standing_aside_outlives_a_second_crash(tmp_path: Path) -> None:
    aside = tmp_path / ".out.old"  # as left by a crash between the two renames
    aside.mkdir()
    with pytest.raises(FileNotFoundError):
        replace_directory(tmp_path / "never written", tmp_path / "out")
    assert aside.exists()


def test_point_link_is_relative_and_can_move(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        point_link(tmp_path / "last", name)
        assert (tmp_path / "last").readlink() == Path(name)
        assert (tmp_path / "last").resolve() == (tmp_path / name).resolve()


def test_require_free_speaks_before_the_disk_is_full(tmp_path: Path) -> None:
    require_free(tmp_path / "not" / "yet" / "there", 1, "a byte")
    with pytest.raises(SinewError, match=r"a universe needs 1000000000000 MB and \d+ MB are free"):
        require_free(tmp_path, 10**18, "a universe")


def test_endless_brackets_are_no_json_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"deep\.json: not valid JSON \(maximum recursion depth"):
        read_json(tmp_path / "deep.json")


def test_killed_at_any_moment_of_a_replacement_the_old_or_the_new_is_there(tmp_path: Path) -> None:
    def replace(place: Path) -> str:
        for content in ("old", "new"):
            with new_directory(place / "out") as temporary:
                (temporary / "file").write_text(content)
        return content

    moments, _ = count_events(replace, tmp_path / "straight")
    seen: set[str] = set()
    for moment in range(moments):
        place = tmp_path / f"moment-{moment}"
        assert run_killed(replace, place, moment) is None
        begun = list(place.glob("out")) or list(place.glob(".out.old"))
        restore_aside(place)
        if begun:
            seen.add((place / "out" / "file").read_text())
    assert seen == {"old", "new"}


def test_what_stands_aside_is_put_back_only_where_nothing_took_its_place(tmp_path: Path) -> None:
    for name in (".one.old", ".two.old", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    restore_aside(tmp_path)
    assert (tmp_path / "one" / "file").read_text() == ".one.old"
    assert (tmp_path / "two" / "file").read_text() == "two"
