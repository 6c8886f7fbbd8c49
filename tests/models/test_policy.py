"""The policy as a whole: units, truth it must not see, memory per row, keeping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sinew.core.errors import CheckpointError, DataError, SpecError
from sinew.core.rollout import take_rows
from sinew.core.types import Batch, NumpyObservation, RobotSpec
from sinew.models.config import GroundingConfig, LanguageConfig, PolicyConfig
from sinew.models.policy import VLAPolicy

Build = Callable[..., VLAPolicy]
Draw = Callable[..., Batch[Tensor]]


def seen(batch: Batch[Tensor]) -> NumpyObservation:
    """Return the batch's observations as NumPy arrays."""
    return batch.obs.map(lambda array: array.numpy())


def config(**changes: int) -> PolicyConfig:
    """Return a small policy with changed sizes."""
    return PolicyConfig(
        language=LanguageConfig(width=16, layers=1, heads=2),
        grounding=GroundingConfig(points=(("thing", 2),)),
        **{"width": 32, "horizon": 3, **changes},
    )


def test_privileged_truth_does_not_change_the_action(build: Build, batch: Draw) -> None:
    policy, obs = build(), seen(batch())
    told = dataclasses.replace(obs, privileged={"thing": np.full((6, 2), 1e6, dtype=np.float32)})
    assert np.array_equal(policy.predict_action_chunk(obs), policy.predict_action_chunk(told))


def test_the_instruction_and_the_image_change_the_action(build: Build, batch: Draw) -> None:
    policy, obs = build(), seen(batch())
    other = dataclasses.replace(obs, instruction=tuple(reversed(obs.instruction)))
    dark = dataclasses.replace(obs, images={"front": np.zeros_like(obs.images["front"])})
    chunk = policy.predict_action_chunk(obs)
    assert not np.allclose(chunk, policy.predict_action_chunk(other))
    assert not np.allclose(chunk, policy.predict_action_chunk(dark))


def test_reloaded_policy_acts_the_same(build: Build, batch: Draw, tmp_path: Path) -> None:
    policy, obs = build(), seen(batch())
    policy.save_pretrained(tmp_path)
    loaded = VLAPolicy.from_pretrained(tmp_path)
    assert loaded.config == policy.config
    assert loaded.spec == policy.spec
    assert np.array_equal(loaded.predict_action_chunk(obs), policy.predict_action_chunk(obs))


def test_directory_without_weights_is_refused_by_name(build: Build, tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    (tmp_path / "normalizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"normalizer\.safetensors"):
        VLAPolicy.from_pretrained(tmp_path)


def test_rows_keep_their_own_chunks(build: Build, batch: Draw) -> None:
    policy, obs = build(config(execute=2)), seen(batch())
    chunk = policy.predict_action_chunk(obs)
    policy.reset()
    assert np.array_equal(policy.select_action(obs), chunk[:, 0])
    policy.reset([4])
    odd = np.array([1, 4])
    again = policy.select_action(take_rows(obs, odd), odd)
    assert np.array_equal(again[0], chunk[1, 1])
    assert np.allclose(again[1], chunk[4, 0], atol=1e-5)


def test_history_fills_from_the_first_tick(build: Build, batch: Draw) -> None:
    policy, obs = build(config(history=3)), seen(batch(ticks=1))
    first = policy.select_action(obs)
    still = dataclasses.replace(
        obs,
        images={"front": np.repeat(obs.images["front"], 3, axis=1)},
        state=np.repeat(obs.state, 3, axis=1),
    )
    assert np.allclose(first, policy.predict_action_chunk(still)[:, 0], atol=1e-6)


def test_points_are_in_physical_units(build: Build, batch: Draw) -> None:
    policy, drawn = build(), batch()
    policy.predict_action_chunk(seen(drawn))
    with torch.no_grad():
        unit = policy.eval().encode(drawn.obs).points["thing"].numpy()
    assert np.allclose(policy.points()["thing"], unit * 0.5 + 0.1, atol=1e-6)


def test_unlabelled_rows_do_not_pull_on_the_points(build: Build, batch: Draw) -> None:
    policy, drawn = build(), batch()
    targets = {"thing": torch.full((6, 2), float("nan"))}
    losses = policy.losses(dataclasses.replace(drawn, targets=targets))
    assert losses["grounding"].tolist() == [0.0] * 6
    assert losses["action"].isfinite().all()


def test_missing_labels_are_named(build: Build, batch: Draw) -> None:
    with pytest.raises(SpecError, match="thing"):
        build().losses(dataclasses.replace(batch(), targets={}))


def test_missing_statistics_are_an_error(build: Build) -> None:
    with pytest.raises(DataError, match="state"):
        build().fit_normalizer({})


def clicked(names: tuple[str, ...] = ("thing",)) -> PolicyConfig:
    """Return a small policy whose points are taught by clicks."""
    points = tuple((name, 2) for name in names)
    return dataclasses.replace(config(), grounding=GroundingConfig(points=points, coordinates=()))


def test_clicks_teach_where_to_look_and_a_row_without_one_adds_nothing(build: Build, batch: Draw) -> None:
    policy, drawn = build(clicked()), batch()
    places = torch.full((6, 2), float("nan"))
    places[2] = torch.tensor([0.8, 0.3])
    labelled = dataclasses.replace(drawn, targets={"image.thing": places})
    losses = policy.losses(labelled)["grounding"]
    assert losses.nonzero().flatten().tolist() == [2]
    parameters = [*policy.parameters()]
    optimiser = torch.optim.Adam(parameters, 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        policy.losses(labelled)["grounding"].sum().backward()
        optimiser.step()
    logits = policy.encode(drawn.obs).logits[2, 0, 0]
    row, column = divmod(int(logits.argmax()), logits.shape[-1])
    assert (row, column) == (int(0.3 * logits.shape[-2]), int(0.8 * logits.shape[-1]))


def test_few_clicks_weigh_as_much_as_many(build: Build, batch: Draw) -> None:
    policy, drawn = build(clicked()), batch()
    every = torch.full((6, 2), 0.4)
    one = every.clone()
    one[1:] = float("nan")
    means = [
        policy.losses(dataclasses.replace(drawn, targets={"image.thing": places}))["grounding"]
        for places in (every, one)
    ]
    assert means[1].mean().item() == pytest.approx(means[0][0].item(), rel=1e-5)


def test_each_camera_has_its_own_click(build: Build, batch: Draw, two_cameras: RobotSpec) -> None:
    policy, drawn = build(clicked(), two_cameras), batch(cameras=("left", "right"))
    both = torch.full((6, 4), 0.4)
    left = both.clone()
    left[:, 2:] = float("nan")
    sums = [
        policy.losses(dataclasses.replace(drawn, targets={"image.thing": places}))["grounding"].sum()
        for places in (both, left)
    ]
    assert sums[0] > 1.5 * sums[1] > 0


def test_clicks_promise_no_coordinates(build: Build, batch: Draw) -> None:
    policy = build(clicked())
    policy.predict_action_chunk(seen(batch()))
    assert policy.points() == {}


def test_a_point_that_nobody_clicked_is_left_alone(build: Build, batch: Draw) -> None:
    losses = build(clicked(("thing", "place"))).losses(
        dataclasses.replace(batch(), targets={"image.thing": torch.full((6, 2), 0.4)})
    )
    assert losses["grounding"].isfinite().all()


def test_a_state_is_taught_as_numbers_and_shown_to_nobody(build: Build, batch: Draw) -> None:
    changed = dataclasses.replace(
        config(), grounding=GroundingConfig(points=(("thing", 2),), coordinates=(), states=("thing",))
    )
    policy, drawn = build(changed), batch()
    losses = policy.losses(drawn)["grounding"]
    exact = build().losses(drawn)["grounding"]  # no calibrated camera, so the coordinates alone count there, too
    assert torch.equal(losses, exact)
    policy.predict_action_chunk(seen(drawn))
    assert policy.points() == {}
