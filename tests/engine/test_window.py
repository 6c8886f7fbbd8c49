"""A row of the log: means, shares of the tasks, shares of the time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import pytest
import torch

from sinew.engine.window import MOST_TASKS, Window, columns, means


@dataclass(frozen=True)
class Rows:
    task: tuple[str, ...]
    wait_s: float = 0.0

    @property
    def num_rows(self) -> int:
        time.sleep(self.wait_s)
        return len(self.task)


def test_means_are_over_finite_values_of_tensors_and_numbers() -> None:
    window = [{"loss": torch.tensor(1.0), "kept": 0.5}, {"loss": float("nan"), "n": torch.tensor(3)}, {"loss": 3.0}]
    told = columns(window)
    assert [told["kept"].tolist(), told["n"].tolist(), told["loss"][[0, 2]].tolist()] == [[0.5], [3.0], [1.0, 3.0]]
    assert means(told) == {"loss": 2.0, "kept": 0.5, "n": 3.0}
    assert math.isnan(means(columns([{"bad": torch.tensor(float("inf"))}]))["bad"])
    assert columns([]) == {}


def test_the_losses_of_a_window_can_be_read_when_it_is_closed() -> None:
    window = Window()
    for loss in (1.0, 2.0):
        window.add({"loss": torch.tensor(loss)})
    window.close({"counter": torch.tensor(4.0)})
    assert window.losses == [1.0, 2.0]


def test_the_device_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device a look at a number raises: so there is one copy, of all that lies there."""
    zero, count = torch.zeros((), device="meta"), torch.zeros((), device="meta", dtype=torch.int64)
    copies: list[int] = []

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        copies.append(len(tensor))
        return torch.ones(len(tensor))

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    told = columns([{"loss": zero, "n": count}, {"loss": zero, "kept": 0.5}])
    assert copies == [3]
    assert {name: values.tolist() for name, values in told.items()} == {"loss": [1, 1], "n": [1], "kept": [0.5]}


def test_tasks_are_counted_by_sample() -> None:
    window = Window()
    batches = iter([Rows(("push", "push", "lift")), Rows(("push",))])
    for _ in range(2):
        window.fetch(batches)
    row = window.close({})
    assert (row["share/push"], row["share/lift"]) == (0.75, 0.25)
    assert "share/push" not in window.close({})


@pytest.mark.parametrize("tasks", [("one",), tuple(map(str, range(MOST_TASKS + 1)))])
def test_one_task_or_very_many_have_no_shares(tasks: tuple[str, ...]) -> None:
    window = Window()
    window.fetch(iter([Rows(tasks)]))
    assert not any(name.startswith("share/") for name in window.close({}))


def test_waiting_for_a_batch_is_told_apart_from_working() -> None:
    def slow() -> Rows:
        time.sleep(0.05)
        return Rows(("push",))

    window = Window()
    window.fetch(iter(slow, None))
    waiting = window.close({})["data_share"]
    window.fetch(iter([Rows(("push",))]))
    time.sleep(0.05)
    working = window.close({})["data_share"]
    assert waiting > 0.5 > working


def test_time_for_something_else_is_left_out() -> None:
    window = Window()
    window.fetch(iter([Rows(("push",) * 10)]))
    time.sleep(0.05)
    window.left_out(0.05)
    assert window.close({})["samples_per_s"] > 10 / 0.05


def test_a_row_tells_the_cpu_time_since_the_last_one() -> None:
    window = Window()
    time.sleep(0.2)
    assert window.close({})["cpu_s"] < 0.15  # sleeping takes none
    began = time.process_time()
    while time.process_time() - began < 0.1:
        pass
    assert window.close({})["cpu_s"] >= 0.05  # the system counts in ticks of 0.01 s
