"""The loop: same numbers after any interruption, and nothing bad goes unseen."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.tiny import LOOP, Fit, Points, evaluate, same, train, weights
from sinew.core.errors import CheckpointError, SinewError, TrainingError
from sinew.core.rundir import RunDir
from sinew.core.types import Cursor, Metrics
from sinew.engine.checkpoint import Checkpoints, verify
from sinew.engine.codec import read_tree
from sinew.engine.trainer import Trainer


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


class StopError(Exception):
    """Ends a run from within."""


class Failing(Fit):
    """Raises at one update, as a crash would."""

    fail_at = 7

    def update(self, batch: object) -> dict[str, torch.Tensor]:
        if self.optim.num_steps == self.fail_at:
            raise StopError
        return dict(super().update(batch))  # type: ignore[arg-type]


def test_a_crashed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    straight = train(tmp_path / "a", on_eval=evaluate)
    with pytest.raises(StopError):
        train(tmp_path / "b", Failing(), on_eval=evaluate)
    torch.manual_seed(99)  # another process draws other numbers before
    notes: list[str] = []
    resumed = train(tmp_path / "b", on_eval=evaluate, on_note=notes.append)
    assert same(weights(straight), weights(resumed))
    assert notes == ["Going on after update 6 of 12."]
    assert [row["update"] for row in rows(tmp_path / "b")] == [2, 4, 6, 6, 8, 10, 12, 12]
    losses = [[row.get("loss") for row in rows(tmp_path / name)] for name in "ab"]
    assert losses[0] == losses[1]


def test_evaluation_changes_neither_randomness_nor_modes(tmp_path: Path) -> None:
    def meddle(update: int) -> float:
        torch.manual_seed(update)
        recipe.line.eval()
        return evaluate(update)

    recipe = Fit()
    plain = train(tmp_path / "a")
    assert same(weights(train(tmp_path / "b", recipe, on_eval=meddle)), weights(plain))
    assert recipe.line.training


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    before = weights(train(tmp_path))
    files = (tmp_path / "metrics.jsonl").read_text()
    assert same(weights(train(tmp_path)), before)
    assert (tmp_path / "metrics.jsonl").read_text() == files


def test_best_and_last_point_where_they_should(tmp_path: Path) -> None:
    scores = {3: 0.2, 6: 0.9, 9: 0.4, 12: 0.5}
    config = replace(LOOP, eval_at=(0.25, 0.5, 0.75), keep=1)
    train(tmp_path, config=config, on_eval=lambda update: scores[update])
    place = tmp_path / "checkpoints"
    assert sorted(item.name for item in place.iterdir()) == ["12", "6", "best", "last"]
    assert (place / "best").readlink() == Path("6")
    assert (place / "last").readlink() == Path("12")
    assert [row["score"] for row in rows(tmp_path) if "score" in row] == [0.2, 0.9, 0.4, 0.5]


def test_the_last_can_be_the_best_and_wins_a_tie(tmp_path: Path) -> None:
    train(tmp_path, on_eval=lambda update: {"score": 0.5, "held_out": update / 100, "unknown": None})
    assert (tmp_path / "checkpoints" / "best").readlink() == Path("12")
    tried = [row for row in rows(tmp_path) if "score" in row]
    assert tried == [{"update": 6, "score": 0.5, "held_out": 0.06}, {"update": 12, "score": 0.5, "held_out": 0.12}]


def test_training_ends_early_after_tries_without_a_better_score(tmp_path: Path) -> None:
    config = replace(LOOP, eval_at=(), eval_every=3, patience=2)
    scores = {3: 0.5, 6: 0.5, 9: 0.1}
    notes: list[str] = []
    train(tmp_path, config=config, on_eval=lambda update: scores[update], on_note=notes.append)
    assert Checkpoints(tmp_path / "checkpoints").updates == (6, 8, 9)
    assert notes == ["Stopped early after update 9: 2 tries without a better score; the best was after update 6."]
    again = train(tmp_path, config=config, on_eval=lambda update: scores[update])
    assert again.optim.num_steps == 9


def test_a_checkpoint_of_another_seed_or_schedule_is_refused_with_both_sides(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(CheckpointError, match=r"seed: 3, 4"):
        Trainer(Fit(), LOOP, RunDir(tmp_path), seed=4).run()
    with pytest.raises(CheckpointError, match=r"optims\.policy\.updates: 12, 20"):
        train(tmp_path, config=replace(LOOP, updates=20))


class Jumpy(Fit):
    """Its points lie elsewhere in two updates, counted from 0."""

    wild = (150, 151)

    def batches(self, start: Cursor) -> Iterator[Points]:
        for update, points in enumerate(super().batches(start), start.update):
            yield replace(points, y=1000 * points.y) if update in self.wild else points


LONG = replace(LOOP, updates=200, log_every=20, save_every=60, eval_at=())


def test_a_spike_of_the_loss_is_told_and_changes_nothing(tmp_path: Path) -> None:
    notes: list[str] = []
    recipe = train(tmp_path, Jumpy(updates=200), LONG, on_note=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("Update 151: the loss jumped to ")
    assert {row["update"]: row["spikes"] for row in rows(tmp_path) if "spikes" in row} == {160: 2}
    assert recipe.optim.num_steps == 200


@pytest.mark.parametrize(("ends", "told"), [((100, 150, 200), 0), ((100, 200), 1), ((151, 200), 1)])
def test_the_loss_of_another_stage_is_no_spike(ends: tuple[int, ...], told: int, tmp_path: Path) -> None:
    class Changing(Jumpy):
        """All that follows the 150th update is wild."""

        wild = tuple(range(150, 200))

    recipe, notes = Changing(updates=200), list[str]()
    vars(recipe)["ends"] = ends
    train(tmp_path, recipe, replace(LONG, rollback=0), on_note=notes.append)
    assert len([note for note in notes if "jumped" in note]) == told


def test_a_run_goes_back_before_a_spike_and_leaves_out_what_led_there(tmp_path: Path) -> None:
    config = replace(LONG, rollback=1)
    notes: list[str] = []
    straight = train(tmp_path / "a", Jumpy(updates=200), config, on_note=notes.append)
    assert notes[1:] == ["Going back to update 120; the batches of updates 143 to 160 are left out."]
    assert straight.optim.num_steps == 200 - 18
    assert [row["update"] for row in rows(tmp_path / "a")] == list(range(20, 201, 20))
    assert not any("spikes" in row for row in rows(tmp_path / "a"))

    class Crashing(Jumpy):
        def update(self, batch: Points) -> Metrics:
            if self.optim.num_steps == 150 and (tmp_path / "b" / "checkpoints" / "skipped.json").exists():
                raise StopError
            return super().update(batch)

    with pytest.raises(StopError):
        train(tmp_path / "b", Crashing(updates=200), config)
    assert same(weights(train(tmp_path / "b", Jumpy(updates=200), config)), weights(straight))


def test_a_kill_while_going_back_leaves_no_spoiled_checkpoint(tmp_path: Path) -> None:
    config = replace(LONG, rollback=1, save_every=20, keep=9)
    straight = train(tmp_path / "a", Jumpy(updates=200), config)

    class Stopping(Jumpy):
        def load_state_dict(self, state: Mapping[str, Any], /) -> None:
            raise StopError

    with pytest.raises(StopError):
        train(tmp_path / "b", Stopping(updates=200), config)
    assert same(weights(train(tmp_path / "b", Jumpy(updates=200), config)), weights(straight))


def test_no_rollback_is_made_without_a_checkpoint_before_the_spike(tmp_path: Path) -> None:
    config = replace(LONG, rollback=1, save_every=1000)
    recipe = train(tmp_path, Jumpy(updates=200), config)
    assert recipe.optim.num_steps == 200


def test_the_moment_of_the_first_bad_update_is_kept_whole(tmp_path: Path) -> None:
    notes: list[str] = []
    train(tmp_path, Fit(poison=(4, 6)), on_note=notes.append)
    place = tmp_path / "checkpoints" / "nan_debug"
    verify(place)
    tree = read_tree(place / "training_state")
    assert tree["train"]["update"] == 5
    assert tree["recipe"]["optim"]["num_steps"] == 5
    assert sum("nan_debug" in note for note in notes) == 1


def test_a_full_disk_costs_the_evidence_but_not_the_run(tmp_path: Path) -> None:
    def full(*args: object) -> None:
        raise SinewError("no room")

    notes: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "write", full)
        trainer = Trainer(
            Fit(poison=(4,)), replace(LOOP, save_every=100), RunDir(tmp_path), seed=3, on_note=notes.append
        )
        with pytest.raises(SinewError, match="no room"):  # of the checkpoint at the end
            trainer.run()
    assert "nan_debug was not written: no room" in notes


def test_an_interrupt_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    class Interrupted(Fit):
        def update(self, batch: object) -> dict[str, torch.Tensor]:
            if self.optim.num_steps == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return dict(super().update(batch))  # type: ignore[arg-type]

    straight = train(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt, match=r"after update 5 of 12.*same command"):
        train(tmp_path / "b", Interrupted())
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (tmp_path / "b" / "checkpoints" / "5").is_dir()
    assert same(weights(train(tmp_path / "b")), weights(straight))


def test_one_nan_is_skipped_and_dumped(tmp_path: Path) -> None:
    notes: list[str] = []
    recipe = train(tmp_path, Fit(poison=(4,)), on_note=notes.append)
    assert all(value.isfinite().all() for value in weights(recipe))
    assert int(recipe.optim.bad_total) == 1
    report = json.loads((tmp_path / "nan_dump" / "5" / "report.json").read_text())
    assert (report["update"], report["seed"], report["metrics"]["loss"]) == (5, 3, "nan")
    assert read_tree(tmp_path / "nan_dump" / "5")["origin"]["ids"].tolist() == [16, 17, 18, 19]
    assert len(notes) == 2
    assert notes[0].startswith("Update 5 was not finite (loss nan")
    assert [row["skipped"] for row in rows(tmp_path)] == [0, 0, 1, 1, 1, 1]


def test_only_the_bad_updates_are_dumped_when_looking_is_rare(tmp_path: Path) -> None:
    recipe = Fit(poison=(3, 4))
    recipe.optim.waits = False
    train(tmp_path, recipe)
    assert sorted(item.name for item in (tmp_path / "nan_dump").iterdir()) == ["4", "5"]


def test_too_many_in_a_row_stop_the_run_with_advice(tmp_path: Path) -> None:
    recipe = Fit(poison=(4, 6, 7, 8))
    with pytest.raises(TrainingError, match=r"Update 9: 3 updates of 'policy' in a row.*--optim\.lr"):
        train(tmp_path, recipe)
    assert all(value.isfinite().all() for value in weights(recipe))
    assert Checkpoints(tmp_path / "checkpoints").updates == (4, 8)


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "manifest"])
def test_a_broken_checkpoint_falls_back_to_the_older_one(tmp_path: Path, damage: str) -> None:
    straight = train(tmp_path, config=replace(LOOP, updates=12))
    newest = tmp_path / "checkpoints" / "12"
    file = newest / ("checksums.json" if damage == "manifest" else "training_state/tensors.safetensors")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        half = len(content) // 2
        file.write_bytes(
            content[:half] + (bytes([content[half] ^ 1]) + content[half + 1 :] if damage == "flip" else b"")
        )
    notes: list[str] = []
    assert same(weights(train(tmp_path, on_note=notes.append)), weights(straight))
    assert "checkpoints/12" in notes[0]
    assert "older" in notes[0]
    assert notes[1] == "Going on after update 8 of 12."


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    class Other(Fit):
        def load_state_dict(self, state: object, /) -> None:
            raise KeyError("critic")

    train(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit this recipe"):
        train(tmp_path, Other())


def test_a_full_disk_is_told_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from sinew.core.errors import SinewError

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(SinewError, match="checkpoint 4 needs"):
        train(tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").updates == ()


def test_dead_weight_of_a_killed_save_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".4.abc").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".last.17").symlink_to("4")
    train(tmp_path)
    assert sorted(item.name for item in (tmp_path / "checkpoints").iterdir()) == ["12", "8", "last"]
