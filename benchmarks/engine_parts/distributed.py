"""Two processes against one, killed and whole: DDP, FSDP2 and ZeRO-3."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rows import Row
from safetensors.numpy import load_file

from sinew.data.collect import collect
from sinew.data.config import CollectConfig
from sinew.presets import PRESETS

JOB = Path(__file__).parent / "ranks_job.py"
COMMAND = "python benchmarks/engine.py --only distributed"
KILLS = 2
UPDATES = 50


def rows(quick: bool) -> Iterator[Row]:  # noqa: FBT001  (asked of every part)
    """Yield the table."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        world = PRESETS["tabletop"]("tiny").world
        store = place / "store"
        collect(store, world, CollectConfig(episodes=24, group=6, held_out=0.0), seed=0)
        single = run(place / "single", store, "none")
        yield from against_one(place, store, single)
        yield of_four(place, store)
        for parallel in ("ddp", "fsdp2", "zero3"):
            yield killed(place, store, parallel, kills=1 if quick else KILLS)
        for parallel in ("ddp", "fsdp2", "zero3"):
            yield bad_row(place, store, parallel)


def against_one(place: Path, store: Path, single: dict[str, Any]) -> Iterator[Row]:
    """Compare the loss of each update, and count parameters; what rounding alone does is measured beside it."""
    wanted = losses(place / "single")
    run(place / "pieces", store, "none", accumulate=2)
    apart = max(abs(one - two) for one, two in zip(wanted, losses(place / "pieces"), strict=True))
    for parallel, name in (("ddp", "DDP"), ("fsdp2", "FSDP2"), ("zero2", "ZeRO-2"), ("zero3", "ZeRO-3")):
        found = run(place / parallel, store, parallel)
        gap = max(abs(one - two) for one, two in zip(wanted, losses(place / parallel), strict=True))
        yield Row(
            what=f"{name} x 2 against one process, {UPDATES} updates in fp32: largest difference of the loss",
            value=float(f"{gap:.2g}"),
            unit="",
            bar="<= 1e-4",
            ok=gap <= 1e-4,
            n=UPDATES,
            command=COMMAND,
            note="tabletop demonstrations, 32 rows an update, --optim.lr 5e-4, no augmentation, EMA on; one process "
            f"that cuts the batch in two is {apart:.1g} from itself",
        )
        full = single["parameters"][0]
        if parallel in ("fsdp2", "zero3"):
            share = max(found["parameters"]) / full
            yield Row(
                what=f"{name} x 2: most parameters on a rank, of all",
                value=round(share, 3),
                unit="",
                bar="< 1",
                ok=share < 1,
                command=COMMAND,
                note=f"{found['parameters']} of {full}",
            )


def of_four(place: Path, store: Path) -> Row:
    """Compare four processes, more than there are cores, with one."""
    wanted = losses(place / "single")
    found = {parallel: run(place / f"four-{parallel}", store, parallel, ranks=4) for parallel in ("ddp", "fsdp2")}
    gaps = [abs(one - two) for kind in found for one, two in zip(wanted, losses(place / f"four-{kind}"), strict=True)]
    return Row(
        what=f"DDP and FSDP2 x 4 against one process, {UPDATES} updates in fp32: largest difference of the loss",
        value=float(f"{max(gaps):.2g}"),
        unit="",
        bar="<= 1e-4",
        ok=max(gaps) <= 1e-4,
        n=UPDATES,
        command=COMMAND,
        note=f"parameters on each under FSDP2: {found['fsdp2']['parameters']}",
    )


def killed(place: Path, store: Path, parallel: str, *, kills: int) -> Row:
    """Kill a rank at random updates under an elastic launcher, and compare all that is left with the straight run."""
    straight, broken = place / f"{parallel}-straight", place / f"{parallel}-killed"
    run(straight, store, parallel, augment=True)
    done = kill_and_go_on(broken, store, parallel, kills)
    same = digest(straight) == digest(broken) and losses(straight) == losses(broken)
    whole = seen(straight) == seen(broken)
    return Row(
        what=f"{parallel.upper()} x 2, EMA on, kill -9 of a rank, resumed by torchrun: runs that end bit for bit alike",
        value=float(same and whole),
        unit="of 1",
        bar="every tensor identical; no row repeated or dropped",
        ok=same and whole,
        n=done,
        command=COMMAND,
        note=f"{done} kills at random updates of {UPDATES}, a checkpoint every 10; all files of the last checkpoint, "
        f"the loss of every update and the rows of both ranks are compared; rows identical: {whole}",
    )


def bad_row(place: Path, store: Path, parallel: str) -> Row:
    """Give one rank a batch that is not finite."""
    found = run(place / f"{parallel}-bad", store, parallel, bad=UPDATES // 2)
    dump = sorted(item.name for item in (place / f"{parallel}-bad" / "run" / "nan_dump").iterdir())
    ok = found["skipped"] == 1 and found["finite"] and dump == [str(UPDATES // 2 + 1)]
    return Row(
        what=f"{parallel.upper()} x 2, NaN on one rank: updates skipped on all, the run goes on",
        value=float(found["skipped"]),
        unit="skipped",
        bar="1, weights finite, dump written, all updates done",
        ok=ok,
        n=len(losses(place / f"{parallel}-bad")),
        command=COMMAND,
        note=f"dump of update {', '.join(dump)}",
    )


def start(out: Path, store: Path, parallel: str, **changes: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
    """Start a training, in one process or by torchrun in two, or as many as ``ranks`` says."""
    told = {"store": str(store), "out": str(out), "parallel": parallel, "augment": False, "updates": UPDATES}
    ranks = str(changes.pop("ranks", 2))
    words = [str(JOB), json.dumps({**told, "accumulate": 1, "bad": None, **changes})]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks]
    command = [sys.executable] if parallel == "none" else [*launcher, "--max-restarts", "20"]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "log").open("ab") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        return subprocess.Popen([*command, *words], stdout=log, stderr=log, env=environment, start_new_session=True)


def run(out: Path, store: Path, parallel: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Train to the end and return what rank 0 told."""
    process = start(out, store, parallel, **changes)
    if process.wait() != 0:
        raise RuntimeError((out / "log").read_text()[-4000:])
    return json.loads((out / "done.json").read_text())


def kill_and_go_on(out: Path, store: Path, parallel: str, kills: int) -> int:
    """Train to the end while ranks are killed; return how many were."""
    draw = random.Random(f"{parallel}-{kills}")
    moments = sorted(draw.sample(range(3, UPDATES - 2), kills))
    process = start(out, store, parallel, augment=True)
    done = 0
    for moment in moments:
        while process.poll() is None and progress(out) < moment:
            time.sleep(0.005)
        victim = out / f"pid-{draw.randrange(2)}"
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(victim.read_text()), signal.SIGKILL)
                done += 1
    if process.wait() != 0:
        raise RuntimeError((out / "log").read_text()[-4000:])
    return done


def progress(out: Path) -> int:
    """Return the update of the last row that rank 0 saw."""
    file = out / "rows-0.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return len(lines) and json.loads(lines[-1])[0]


def losses(out: Path) -> list[float]:
    """Return the loss of every update."""
    lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def digest(out: Path) -> dict[str, str]:
    """Return a digest of every file of the last checkpoint, the time that training took left out."""
    last = (out / "run" / "checkpoints" / "last").resolve()
    found: dict[str, str] = {}
    for path in sorted(item for item in last.rglob("*") if item.is_file() and item.name != "checksums.json"):
        content = path.read_bytes()
        if path.name == "state.json":
            tree = json.loads(content)
            tree["state"]["train"].pop("elapsed_s")
            content = json.dumps(tree).encode()
        if path.suffix == ".safetensors":  # whose head lists the same things in any order
            tensors = sorted(load_file(path).items())
            content = b"".join(name.encode() + item.tobytes() for name, item in tensors)
        found[str(path.relative_to(last))] = hashlib.sha256(content).hexdigest()
    return found


def seen(out: Path) -> dict[int, list[Any]]:
    """Return the rows of each update on both ranks, as they were seen last."""
    found: dict[int, list[Any]] = {}
    for rank in range(2):
        rows_of_rank = dict(json.loads(line) for line in (out / f"rows-{rank}.jsonl").read_text().splitlines())
        for update, ids in rows_of_rank.items():
            found.setdefault(update, []).append(ids)
    return found
