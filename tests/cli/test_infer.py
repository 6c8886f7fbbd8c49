"""``sinew infer`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sinew.cli.main import main
from sinew.core.history import History
from toy_policy import Export, look


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Return a file with the image that ``look(1)`` sees."""
    Image.fromarray(look(1).images["front"][0, 0].transpose(1, 2, 0)).save(tmp_path / "front.png")
    return tmp_path / "front.png"


def test_the_chunk_is_printed_in_physical_units(
    exported: Export, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, path = exported("mlp")
    obs = look(1)
    state = ",".join(str(value) for value in obs.state[0, 0])
    words = ["infer", str(path), "--image", f"front={picture}", f"--state={state}", "--instruction", "go left"]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    wanted = policy.predict_action_chunk(History(2).push(obs))[0]
    assert np.allclose(answer["chunk"], wanted, atol=1e-6)
    assert (answer["action"], answer["units"], answer["execute"]) == (["move", "honk"], ["m", "1"], 2)
    assert np.allclose(answer["points"]["goal"], policy.points()["goal"][0], atol=1e-5)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "move [m]" in shown
    assert f"{wanted[0, 0]:.5g}" in shown
    assert shown.count("executed") == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--image": "wrist=x.png"}, "Wanted: --image front=FILE"),
        ({"--image": "front=nowhere.png"}, "nowhere.png: no such image"),
        ({"--image": f"front={__file__}"}, "cannot be read as an image"),
        ({"--state": "1"}, "1 values, 2 are wanted: position [m], last_move [m]"),
        ({"--state": "1,two"}, "could not convert string to float"),
        ({"--state": "1,nan"}, "last_move is NaN"),
        ({"--seed": "1", "size": "9"}, "8 x 8 pixels"),
    ],
)
def test_bad_input_is_one_clear_error(
    exported: Export, picture: Path, changes: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if changes.pop("size", None):
        Image.new("RGB", (9, 8)).save(picture)
    flags = {"--image": f"front={picture}", "--state": "1,2", "--instruction": "go left", **changes}
    assert main(["infer", str(exported("mlp")[1]), *(f"{name}={value}" for name, value in flags.items())]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
