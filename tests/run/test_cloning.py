"""From a file of recordings to a measured policy, by the commands that a user types; the smallest size."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew.cli.main import main
from sinew.data.collect import collect
from sinew.data.config import CollectConfig
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.ingest import open_source
from sinew.data.store import Store
from sinew.envs.tabletop.config import TabletopConfig
from sinew.models.policy import VLAPolicy

WORLD = TabletopConfig(image_size=32, objects=2, colours=2, shapes=1, zones=1, mid_starts=0.0)
FLAGS = (
    "--size tiny --loop.updates 12 --loop.save-every 4 --loop.log-every 4 --loop.eval-at 0.5 1.0 --recipe.batch 16 "
    "--workers 1 --device cpu"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a log of eight lifts, without labels or calibration, and a finished run on it."""
    root = tmp_path_factory.mktemp("own")
    settings = CollectConfig(episodes=8, mix={"lift": 1}, group=8, noise=(0.1,), flip=0.0, held_out=0.0)
    store = collect(root / "recorded", WORLD, settings, seed=0)
    cameras = {
        name: dataclasses.replace(camera, intrinsics=None, pose=None) for name, camera in store.spec.cameras.items()
    }
    spec = dataclasses.replace(store.spec, cameras=cameras)
    episodes = [store.episode(number) for number in range(store.num_episodes)]
    sent = [dataclasses.replace(one, spec=spec, action=np.array(one.executed), targets={}) for one in episodes]
    Hdf5.write(root / "log.hdf5", sent)
    assert main(["train", "bc", "--data", str(root / "log.hdf5"), *FLAGS.split(), "--out", str(root / "runs")]) == 0
    return root


def run_of(place: Path) -> Path:
    """Return the directory of the run."""
    return next(path.parent for path in (place / "runs").glob("bc-*/state.json"))


def test_everything_promised_is_there(place: Path) -> None:
    run = run_of(place)
    wanted = ["README.md", "config.json", "metrics.jsonl", "curves.png", "report.html", "offline.json", "tryouts.json"]
    assert [name for name in wanted if not (run / name).is_file()] == []
    assert json.loads((run / "state.json").read_text())["phase"] == "done"
    assert (run / "checkpoints" / "chosen" / "model.safetensors").is_file()


def test_the_run_lists_which_episodes_are_held_out(place: Path) -> None:
    splits = json.loads((run_of(place) / "splits.json").read_text())
    assert list(splits) == ["log"]
    training, held_out = splits["log"]["training"], splits["log"]["held out"]
    assert len(held_out) == 1
    assert sorted(training + held_out) == sorted(f"episode_{number}" for number in range(8))


def test_the_chosen_checkpoint_has_the_least_held_out_error(place: Path) -> None:
    run = run_of(place)
    tried = json.loads((run / "tryouts.json").read_text())
    scores = {int(update): np.mean(np.array(found["error"]) / found["ranges"]) for update, found in tried.items()}
    assert set(scores) == {6, 12}
    assert int((run / "checkpoints" / "chosen").resolve().name) == min(scores, key=lambda update: scores[update])
    assert json.loads((run / "offline.json").read_text())["update"] == min(scores, key=lambda update: scores[update])


def test_the_card_and_the_report_say_how_far_off_it_is(place: Path) -> None:
    run = run_of(place)
    error = json.loads((run / "offline.json").read_text())["held_out"]["error"]
    assert f"| dx, held out | off by {error[0]:.4g} m |" in (run / "README.md").read_text()
    page = (run / "report.html").read_text()
    assert page.count('class="curve trace"') == 4  # one held-out episode, four actions
    assert f"sinew train bc --data {place / 'log.hdf5'}" in page


def test_the_same_command_finds_it_finished_and_says_what_now(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "bc", "--data", str(place / "log.hdf5"), *FLAGS.split(), "--out", str(place / "runs")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "is finished" in said
    assert "Held-out recordings: action error" in said
    assert f"sinew export {run_of(place)} --to onnx" in said


def test_it_is_measured_again_on_its_recordings(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = json.loads((run_of(place) / "offline.json").read_text())["held_out"]["error"][0]
    assert main(["evaluate", str(run_of(place))]) == 0
    said = capsys.readouterr().out
    assert "held-out episodes: action error" in said
    assert f"off by {wanted:.4g} m" in said


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--episodes 5", "knows no world; this needs one: --episodes. Name it: --env NAME"),
        ("--tasks lift --shield", "this needs one: --tasks, --shield or --limits."),
    ],
)
def test_what_needs_a_world_is_not_ignored_without_one(
    place: Path, flags: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run_of(place)), *flags.split()]) == 2
    assert named in capsys.readouterr().err


def test_its_report_is_written_again_and_pointed_to(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run_of(place))]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {run_of(place) / 'report.html'}"


def test_a_data_set_that_is_read_in_by_parts_is_learned_from_through_them(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "streamed"
    source = open_source(place / "log.hdf5")
    longest, images = max(source.lengths), 3 * sum(height * width for height, width in source.facts.cameras.values())
    room = 4 * longest * (images + 200) / 1e9  # four parts of little more than the longest episode
    log = ["--data", str(place / "log.hdf5"), "--data.ingest.stream", f"{room:.9f}"]
    words = ["train", "bc", *log, *FLAGS.replace("updates 12", "updates 8").split(), "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"  ([2-9]|\d\d) parts an epoch, read in one after another", said)
    run = next(path.parent for path in out.glob("bc-*/state.json"))
    assert json.loads((run / "state.json").read_text())["phase"] == "done"
    assert (run / "splits.json").read_text() == (run_of(place) / "splits.json").read_text()
    assert list((run / "data" / "parts").iterdir()) == []
    kept = {path.name.split("-")[1]: Store.open(path) for path in (out / "data").iterdir()}
    assert (kept["numbers"].num_episodes, list(kept["numbers"].spec.cameras)) == (8, [])
    assert [record.held_out for record in kept["sample"].records].count(True) == 1
    assert kept["sample"].num_episodes == 2
    before = VLAPolicy.from_pretrained(run_of(place) / "checkpoints" / "last").normalizer.state_dict()
    after = VLAPolicy.from_pretrained(run / "checkpoints" / "last").normalizer.state_dict()
    torch.testing.assert_close(after["action_mean"], before["action_mean"])
    assert main(words) == 0
    assert "is finished" in capsys.readouterr().out


def test_it_acts_in_a_world_with_the_same_robot(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = "--env.image-size 32 --env.objects 2 --env.colours 2 --env.shapes 1 --env.zones 1"
    words = ["evaluate", str(run_of(place)), "--env", "tabletop", *world.split(), "--tasks", "lift", "--episodes", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "lift" in said
    assert "push" not in said


def test_a_world_with_another_camera_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run_of(place)), "--env", "tabletop", "--tasks", "lift", "--episodes", "1"]
    assert main(words) == 2
    assert "cameras.front.height" in capsys.readouterr().err


def test_another_training_begins_with_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "bc", "--data", str(place / "log.hdf5"), *FLAGS.split(), "--seed", "1"]
    assert main([*words, "--init", str(run_of(place)), "--out", str(place / "begun")]) == 0
    said = capsys.readouterr().out
    assert "weights taken" in said
    assert "not taken" not in said
    config = json.loads(next((place / "begun").glob("bc-*/config.json")).read_text())
    assert config["init"]["path"] == str(run_of(place))
    assert config["policy"]["grounding"]["states"] == ["next"]


def test_two_data_sets_are_learned_from_together(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(next((place / "runs" / "data").glob("log-*")))
    words = ["train", "bc", "--data", str(place / "log.hdf5"), "--data", store, "--weights", "3", "1", *FLAGS.split()]
    words += ["--data.mix.success-power", "1", "--out", str(place / "mixed")]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "source episodes frames weight drawn epochs log" in said
    assert "from here on drawn: log x 1.00" in said
    run = next((place / "mixed").glob("bc-*/state.json")).parent
    card = (run / "README.md").read_text()
    assert "weight 3, 75.0 % of what is drawn" in card
    config = json.loads((run / "config.json").read_text())
    assert [source["weight"] for source in config["data"]["mix"]["sources"]] == [3.0, 1.0]
    assert set(json.loads((run / "sources.json").read_text())) == {"6", "12"}
    assert main(["evaluate", str(run)]) == 0


def test_two_robots_are_learned_from_together(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other takes its last action first, in other units, at another rate, and does not feel its first value."""
    store = Store.open(next((place / "runs" / "data").glob("log-*")))
    old, order = store.spec, [store.spec.action_size - 1, *range(store.spec.action_size - 1)]
    turned = {name: tuple(getattr(old, name)[n] for n in order) for name in ("action", "low", "high")}
    felt = {"state": old.state[1:], "state_units": old.state_units[1:], "action_units": ("cm",) * old.action_size}
    spec = dataclasses.replace(old, embodiment="other", hz=5.0, **felt, **turned)
    episodes = [store.episode(number) for number in range(4)]
    sent = [
        dataclasses.replace(
            one,
            spec=spec,
            state=one.state[:, 1:],
            action=one.action[:, order],
            executed=one.action[:, order],
            targets={},
        )
        for one in episodes
    ]
    Hdf5.write(place / "other.hdf5", sent)
    words = ["train", "bc", "--data", str(place / "log.hdf5"), "--data", str(place / "other.hdf5"), *FLAGS.split()]
    assert main([*words, "--out", str(place / "robots")]) == 2
    assert "--data.mix.bodies several" in capsys.readouterr().err
    assert main([*words, "--data.mix.bodies", "several", "--out", str(place / "robots")]) == 0
    run = next((place / "robots").glob("bc-*/state.json")).parent
    measured = json.loads((run / "offline.json").read_text())["held_out"]
    assert len(measured["action"]) == 2 * old.action_size
    assert measured["action"][-1] == f"other: {spec.action[-1]}"
    policy = VLAPolicy.from_pretrained(run / "bodies" / "other")
    assert policy.spec.action == spec.action
    assert main(["evaluate", str(run)]) == 0
    assert main(["serve", str(run), "--port", "0"]) == 2
    assert "RUN/bodies/NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train bc", "Name your recordings"),
        ("train bc --data nowhere.hdf5", "nowhere.hdf5: no such data set"),
        ("train tabletop --data log.hdf5", "For recordings there is: sinew train bc --data log.hdf5"),
        ("train bc --data log.hdf5 --recipe.kind dagger", "recordings are learned with bc"),
        ("train bc --data log.hdf5 --data.tolerance 0", "--data.tolerance 0"),
        ("train bc --data log.hdf5 --weights 2", "name as many data sets"),
        ("train bc --data log.hdf5 --data more.hdf5 --weights 2", "name as many data sets"),
        ("train bc --data log.hdf5 --data more.hdf5 --data.mix.temperature 0", "temperature is 0"),
        ("train bc --data log.hdf5 --init nowhere", "nowhere: no such directory"),
        ("collect bc", "knows no world"),
        ("evaluate {run} --env tabletp", "Did you mean 'tabletop'?"),
        ("evaluate {run} --env tabletop --env.image-size 32 --tasks fly", "there is no such task"),
    ],
)
def test_a_mistake_is_one_message(
    words: str, said: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert main(words.format(run=run_of(place)).split()) == 2
    assert said in capsys.readouterr().err
