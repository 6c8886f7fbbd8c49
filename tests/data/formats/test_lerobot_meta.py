from __future__ import annotations

import pytest

from sinew.core.errors import DataError
from sinew.data.formats.lerobot_meta import camera_name, file_name, is_depth, names_of


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a", "b"], ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"arm": ["a"], "hand": ["b"]}, ("a", "b")),
        ({"b": 1, "a": 0}, ("a", "b")),
        (["a"], None),
        (None, None),
        ({"motors": "a"}, None),
    ],
)
def test_names_are_found_in_the_forms_in_use(names: object, wanted: tuple[str, ...] | None) -> None:
    assert names_of({"shape": [2], "names": names}) == wanted


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("observation.images.front", "front"),
        ("observation.image", "image"),
        ("observation.images.cam.left", "cam.left"),
    ],
)
def test_a_camera_is_called_by_the_end_of_its_feature(key: str, name: str) -> None:
    assert camera_name(key) == name


def test_depth_is_told_in_either_form() -> None:
    assert is_depth({"info": {"video.is_depth_map": True}})
    assert is_depth({"video_info": {"is_depth_map": True}})
    assert not is_depth({"info": None})


def test_a_pattern_that_asks_for_other_parts_is_refused() -> None:
    assert file_name("chunk-{chunk_index:03d}", chunk_index=2) == "chunk-002"
    with pytest.raises(DataError, match="cannot be filled in"):
        file_name("episode_{episode_index:06d}.parquet", chunk_index=2)
