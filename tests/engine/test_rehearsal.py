"""A rehearsal measures what can be worked out by hand, on real updates of all sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from engine.tiny import Fit, Points
from sinew.core.types import Batch, Observation, TextBatch
from sinew.data.pairs import Pair
from sinew.data.text_lessons import Lesson
from sinew.engine.rehearsal import counted_tokens, first_rows, rehearse


def test_what_a_recipe_holds_is_counted_to_the_byte() -> None:
    found = rehearse(Fit(), seconds=0.0, affordable=lambda _: True)
    parameters = 8 + 8 + 8 + 1
    assert found.weights == 4 * (parameters + 1)  # and a buffer
    moments, counters, averages = 2 * parameters + 4, 2, parameters + 1  # a step a tensor; bad_run, bad_total
    assert found.kept == 4 * (moments + counters + averages)
    assert (found.rows, found.tried) == (4, 4)
    assert found.batch == 4 * (4 + 4) + 8 * 4  # x, y, ids
    assert found.timed == 2
    assert found.update_s > 0
    assert found.flops > 0


def test_an_update_that_cannot_be_afforded_is_not_tried_and_foreseen() -> None:
    class Wide(Fit):
        def batches(self, start):  # noqa: ANN001, ANN202
            while True:
                x = torch.randn(256, 1)
                yield Points(x, 2 * x, torch.arange(256))

        def update(self, batch):  # noqa: ANN001, ANN202
            loss = (self.line(batch.x) - batch.y).square().mean()
            return {"loss": loss.detach(), "grad_norm": self.optim.step(loss)}

    small = rehearse(Wide(), seconds=0.0, affordable=lambda _: False)
    whole = rehearse(Wide(), seconds=0.0, affordable=lambda _: True)
    assert (small.tried, whole.tried) == (64, 256)
    assert small.update_s == 0
    assert abs(small.step - whole.step) <= 0.05 * whole.step
    assert small.flops == whole.flops


def test_rows_are_cut_from_arrays_and_sentences_alike() -> None:
    batch = Batch(
        obs=Observation({"front": torch.zeros(6, 1, 3, 2, 2)}, torch.zeros(6, 1, 2), tuple("abcdef")),
        actions=torch.arange(6)[:, None, None],
        is_pad=torch.zeros(6, 1),
        weight=torch.ones(6),
        task=("t",) * 6,
        ids=torch.arange(6),
    )
    cut = first_rows(batch, 2)
    assert cut.num_rows == 2
    assert (cut.obs.instruction, cut.task) == (("a", "b"), ("t", "t"))
    assert cut.obs.images["front"].shape[0] == len(cut.ids) == len(cut.actions) == 2
    assert first_rows(batch, 6) is batch


def test_the_longest_sequence_is_counted_and_the_hook_is_gone_afterwards() -> None:
    layer = torch.nn.LayerNorm(4)
    with counted_tokens() as tokens:
        layer(torch.zeros(2, 7, 4))
        layer(torch.zeros(2, 3, 4))
    layer(torch.zeros(2, 9, 4))
    assert tokens[0] == 14


def test_of_windows_and_conversations_the_same_share_is_cut() -> None:
    batch = Batch(
        obs=Observation({"front": torch.zeros(6, 1, 3, 2, 2)}, torch.zeros(6, 1, 2), tuple("abcdef")),
        actions=torch.zeros(6, 1, 1),
        is_pad=torch.zeros(6, 1),
        weight=torch.ones(6),
    )
    labels = torch.tensor([[-100, 1, 2, -100], [-100, -100, 3, -100], [-100, 4, 5, 6]])
    text = TextBatch(torch.zeros(3, 1, 3, 2, 2), labels, labels, labels > 0)
    places = (labels.flatten() >= 0).nonzero()[:, 0]
    pair = Pair(batch, Lesson(text, places, torch.full((6,), 1 / 6)))
    cut = first_rows(pair, 6)
    assert (cut.num_rows, cut.robot.num_rows) == (6, 4)
    assert cut.robot.obs.instruction == ("a", "b", "c", "d")
    assert cut.web is not None
    assert cut.web.places.tolist() == [1, 2, 6]
    assert cut.web.weights.tolist() == pytest.approx([1 / 3] * 3)
    assert first_rows(dataclasses.replace(pair, web=None), 2).num_rows == 2
