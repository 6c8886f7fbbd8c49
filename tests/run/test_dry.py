"""A dry run says what a training would take, by the command a user types, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinew.cli.main import main
from sinew.data.collect import collect
from sinew.data.config import CollectConfig
from sinew.envs.tabletop.config import TabletopConfig
from sinew.run import dry
from sinew.run import preflight as foreseen

FLAGS = "--size tiny --recipe.batch 16 --loop.updates 40 --workers 1 --device cpu"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return six recorded lifts."""
    world = TabletopConfig(image_size=32, objects=2, colours=2, shapes=1, zones=1, mid_starts=0.0)
    settings = CollectConfig(episodes=6, mix={"lift": 1}, group=6, noise=(0.1,), flip=0.0, held_out=0.2)
    return collect(tmp_path_factory.mktemp("dry") / "lifts", world, settings, seed=0).path


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the other cores to other tests."""
    monkeypatch.setattr(dry, "num_cores", lambda: 1)


def words(recorded: Path, root: Path, *more: str) -> list[str]:
    """Return the words of a dry run."""
    return ["train", "bc", "--data", str(recorded), *FLAGS.split(), "--out", str(root), "--dry-run", *more]


def test_it_says_what_a_run_would_take_and_writes_nothing(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(words(recorded, tmp_path, "--cost.per-hour", "3600000")) == 0
    said = capsys.readouterr().out
    for wanted in ("Expected time: about", "peak memory (cpu)", "time of 40 updates", "disk, checkpoints", "USD"):
        assert wanted in said
    for wanted in ("6 of 6 episodes of lifts looked through", "Little data: 6 episodes", "Mitigation", "Recovery"):
        assert wanted in said
    assert "unknown" not in said
    assert list(tmp_path.rglob("*.json")) == []
    assert list(tmp_path.glob("bc-*")) == []


def test_rates_do_not_change_which_run_it_is(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rates in ((), ("--cost.watts", "300")):
        assert main(words(recorded, tmp_path, *rates)) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Dry run: ")]
    assert len(heads) == 2
    assert len(set(heads)) == 1


def test_a_run_that_cannot_fit_is_refused_with_the_batch_that_would(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinew.engine.preflight.free_memory", lambda: 250_000_000)
    assert main([*words(recorded, tmp_path), "--recipe.batch", "4096"]) == 2
    said = capsys.readouterr().err
    assert "--recipe.batch" in said
    assert "fits; so does --optim.accumulate" in said


def test_a_world_is_sampled_where_its_demonstrations_are_not_there_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry, "SAMPLE", 4)
    monkeypatch.setattr("sinew.run.waits.EPISODES", 4)
    flags = "--size tiny --collect.episodes 400 --collect.stills 0 --env.image-size 32 --env.max-ticks 30 --workers 1"
    assert main(["train", "tabletop", *flags.split(), "--out", str(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    for wanted in ("time before training", "time of 3 rounds of DAgger", "time of 3 tryouts", "disk, demonstrations"):
        assert wanted in said
    assert "4 demonstrations were recorded as a sample; 400 are to come" in " ".join(said.split())
    assert list(tmp_path.iterdir()) == []


def test_a_spec_whose_bounds_are_far_too_wide_is_doubted(recorded: Path) -> None:
    import dataclasses

    from sinew.data.store import Store

    store = Store.open(recorded)
    assert not [risk for risk in foreseen.look_through([store])[1] if risk.what.startswith("Spec")]
    spec = store.spec
    store.spec = dataclasses.replace(spec, low=tuple(1000 * one for one in spec.low), high=spec.high)
    doubts = [risk.what for risk in foreseen.look_through([store])[1]]
    assert any("use less than 2 % of their range" in what for what in doubts)
