"""Two processes that train together end where one does, whatever is shared and whatever goes wrong."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import sinew.core
from engine.two_ranks import BAD_UPDATE, keep, train, train_rounds
from recipes.line_world import demonstrations
from sinew.core.errors import ConfigError
from sinew.data.store import Store
from sinew.engine import distributed
from sinew.engine.codec import read_tree
from sinew.engine.distributed import Vote, World, by_itself, joined, world
from sinew.engine.parallel import share
from sinew.engine.replicas import Whole
from sinew.engine.track import read_rows

KINDS = ("ddp", "fsdp2")
ORDER = ("alone", "together")


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two processes have trained; it is done once, also where several processes run the tests."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    place = tmp_path_factory.mktemp("together") if alone else tmp_path_factory.getbasetemp().parent / "together"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "begun-alone.json").exists():
            _train_all(place)
    return place


def _train_all(place: Path) -> None:
    demonstrations(place / "demonstrations")
    keep(place / "single", *train(place / "single", place / "demonstrations", None))
    for kind in ("dagger", "grpo"):
        train_rounds(place / f"{kind}-alone", place / "demonstrations", kind, None)
    shutil.copytree(place / "single", place / "begun-alone", symlinks=True)
    shutil.rmtree(place / "begun-alone" / "checkpoints" / "8")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    words |= {"PYTHONPATH": str(Path(sinew.core.__file__).parents[2]), "PYTHONHASHSEED": "0"}
    command = [sys.executable, str(Path(__file__).parent / "two_ranks.py"), str(place)]
    files = [place / f"rank-{rank}.log" for rank in range(2)]
    ranks = [_start(command, {**os.environ, **words, "RANK": str(rank)}, file) for rank, file in enumerate(files)]
    codes = [rank.wait(timeout=600) for rank in ranks]
    assert codes == [0, 0], "\n".join(file.read_text() for file in files)


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def told(place: Path, name: str) -> dict[str, Any]:
    return json.loads((place / f"{name}.json").read_text())


def losses(path: Path) -> dict[int, float]:
    """Return the loss of each row of the log, but of that with the bad update."""
    rows = [row for row in read_rows(path / "metrics.jsonl") if "loss" in row]
    assert [row["update"] for row in rows] == [2, 4, 6, 8]
    return {row["update"]: row["loss"] for row in rows if row["update"] != 4}


def single(place: Path) -> dict[str, Tensor]:
    return load_file(place / "single.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_learn_what_one_process_learns(together: Path, kind: str) -> None:
    assert losses(together / kind) == pytest.approx(losses(together / "single"), rel=0, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_two_ranks_holds_the_whole_policy(together: Path, kind: str) -> None:
    last = together / kind / "checkpoints" / "last"
    saved = load_file(last / "model.safetensors") | load_file(last / "normalizer.safetensors")
    torch.testing.assert_close(saved, load_file(together / f"{kind}.safetensors"), rtol=0, atol=0)


def test_under_fsdp2_every_rank_has_less_and_under_ddp_all(together: Path) -> None:
    full = sum(item.numel() for name, item in single(together).items() if not name.startswith("normalizer"))
    ddp, fsdp2 = ([rank["parameters"] for rank in told(together, kind)["ranks"]] for kind in KINDS)
    assert ddp == [full, full]
    assert sum(fsdp2) == full + 1  # a single number, which cannot be cut
    assert max(fsdp2) < 0.6 * full


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_every_rank_ends_bit_for_bit_as_uninterrupted(together: Path, kind: str) -> None:
    straight, stopped = (told(together, name)["ranks"] for name in (kind, f"{kind}-stopped"))
    assert straight == stopped
    assert "Going on after update 4 of 8." in told(together, f"{kind}-stopped")["notes"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_bad_on_one_rank_is_skipped_on_all_and_dumped_once(together: Path, kind: str) -> None:
    assert [rank["skipped"] for rank in told(together, kind)["ranks"]] == [1, 1]
    dump = together / kind / "nan_dump"
    assert [item.name for item in dump.iterdir()] == [str(BAD_UPDATE + 1)]
    report = json.loads((dump / str(BAD_UPDATE + 1) / "report.json").read_text())
    assert report["metrics"]["loss"] != "nan"
    assert report["metrics of rank 1"]["loss"] == "nan"
    tree = read_tree(dump / str(BAD_UPDATE + 1))
    ids = [*tree["origin"]["ids"].tolist(), *tree["origin of rank 1"]["ids"].tolist()]
    assert len(set(ids)) == len(ids) == 16


def test_two_ranks_go_on_with_what_one_began_and_say_what_changes(together: Path) -> None:
    assert losses(together / "begun-alone") == pytest.approx(losses(together / "single"), rel=0, abs=1e-5)
    notes = told(together, "begun-alone")["notes"]
    assert any(note.startswith("1 processes wrote the checkpoint, 2 go on") for note in notes)


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_goes_on_with_what_two_began(together: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(together / kind, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "8")
    _, notes = train(tmp_path / "run", together / "demonstrations", None)
    assert losses(tmp_path / "run") == pytest.approx(losses(together / "single"), rel=0, abs=1e-5)
    assert any(note.startswith("2 processes wrote the checkpoint, 1 go on") for note in notes)


@pytest.mark.parametrize("kind", ["dagger", "grpo"])
def test_ranks_that_act_in_turns_learn_what_one_process_learns(together: Path, kind: str) -> None:
    alone, shared = (read_rows(together / f"{kind}-{name}" / "metrics.jsonl") for name in ("alone", "together"))
    one, two = ({row["update"]: row["loss"] for row in rows if "loss" in row} for rows in (alone, shared))
    assert list(one) == [1, 2, 3]
    assert two == pytest.approx(one, rel=0, abs=1e-5)
    assert list((together / f"{kind}-together" / "data").iterdir()) == []


def test_what_ranks_gathered_lies_in_the_order_of_one_process(together: Path) -> None:
    ids = [[record.id for record in Store.open(together / f"dagger-{name}" / "own").records] for name in ORDER]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 50


def test_ranks_take_neighbouring_rows_and_all_of_them() -> None:
    rows = [World(rank, 3).rows(list(range(8))) for rank in range(3)]
    assert rows == [[0, 1], [2, 3, 4], [5, 6, 7]]
    with pytest.raises(ConfigError, match="3 processes share a batch of 2 rows"):
        World(0, 3).rows([1, 2])


def test_ranks_draw_other_numbers_and_rank_0_those_of_one_process() -> None:
    seeds = [World(rank, 2).seed(5, 7) for rank in range(2)]
    assert seeds[0] == World().seed(5, 7)
    assert seeds[0] != seeds[1]


def test_alone_everything_is_there_and_nothing_waits() -> None:
    with joined("cpu") as ranks:
        assert ranks == world() == World()
        assert (ranks.tell(3), ranks.gather(3), ranks.collect(3)) == (3, [3], [3])
        assert list(ranks.waves([1, 2], lambda jobs: [2 * job for job in jobs])) == [2, 4]
        assert Vote(ranks)(True, last=False)
        ranks.require_same("answer", 42)


def test_ranks_that_disagree_are_refused_with_both_sides(together: Path) -> None:
    assert "answer: rank 0 has 0, rank 1 has 1. All processes" in (together / "refused.txt").read_text()


def test_a_loss_made_past_the_ranks_is_refused(together: Path) -> None:
    assert "Linear: its loss was not made through Optim.call" in (together / "past.txt").read_text()


def test_a_process_by_itself_has_its_share_of_rows_and_jobs_and_nobody_to_ask() -> None:
    with by_itself() as outside:
        assert outside == 1
        assert world().rows([1, 2, 3]) == [1, 2, 3]
    token = distributed._parts.set(4)
    try:
        ranks = world()
        assert ranks.alone
        assert ranks.rows(list(range(8))) == [0, 1]
        assert [job for job in ranks.waves(list(range(8)), lambda jobs: jobs) if job is not None] == [0, 4]
        assert isinstance(share(nn.Linear(1, 1), "fsdp2"), Whole)
        with pytest.raises(ConfigError, match="4 processes share a batch of 3 rows"):
            ranks.rows([1, 2, 3])
    finally:
        distributed._parts.reset(token)
    assert world() == World()
