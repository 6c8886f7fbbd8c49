from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.types import Batch, CameraSpec, NumpyObservation, Observation, RobotSpec
from sinew.deploy.infer import VLAInferenceEngine
from sinew.deploy.load import load_policy
from sinew.deploy.onnx import export_onnx
from sinew.models.bodies import BODY, joint_spec
from sinew.models.config import HEADS, FilmVisionConfig, GroundingConfig, LanguageConfig, LstmConfig, PolicyConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.models.policy_files import write_body
from toy_policy import spread

FRONT, WRIST = CameraSpec(8, 8), CameraSpec(8, 8)
ARM = RobotSpec(
    "arm", {"front": FRONT, "wrist": WRIST}, ("x", "y", "turn"), ("m", "m", "rad"), ("x", "y", "grip"),
    ("m", "m", "1"), (-1.0, -2.0, 0.0), (1.0, 2.0, 1.0), 20.0, "absolute", binary=("grip",),
)  # fmt: skip
CRANE = RobotSpec(
    "crane", {"front": FRONT}, ("y", "x"), ("m", "mm"), ("y", "hook", "grip"),
    ("m", "N", "1"), (-0.5, 0.0, -1.0), (0.5, 9.0, 1.0), 5.0, "absolute", binary=("grip",),
)  # fmt: skip
CONFIG = PolicyConfig(
    vision=FilmVisionConfig(channels=(4, 6, 6)),
    language=LanguageConfig(width=8, layers=0, heads=2),
    grounding=GroundingConfig(points=(), weight=0.0),
    width=16,
    horizon=3,
    execute=2,
)


def policy_of_two(head: str = "mlp", **changes: object) -> VLAPolicy:
    torch.manual_seed(3)
    config = dataclasses.replace(CONFIG, head=HEADS[head](), **changes)  # type: ignore[arg-type]
    policy = VLAPolicy(config, (ARM, CRANE), train_tokenizer(["go left"]))
    scales = [
        {name: spread(size, middle) for name, size in (("state", spec.state_size), ("action", spec.action_size))}
        for spec, middle in ((ARM, 0.1), (CRANE, 3.0))
    ]
    neutral = {f"targets.{name}": spread(size, 0.0) for name, size in config.grounding.points}
    policy.fit_normalizer(neutral, scales)
    if policy.head_learns_chunks:
        random = np.random.default_rng(0)
        policy.fit_head(*(random.normal(size=(40, 3, 3)).astype(np.float32) for _ in policy.bodies.specs))  # type: ignore[union-attr]
    return policy.eval()


def seen_by(spec: RobotSpec, rows: int, seed: int = 0) -> NumpyObservation:
    random = np.random.default_rng(seed)
    return NumpyObservation(
        images={name: random.integers(0, 256, (rows, 1, 3, 8, 8), dtype=np.uint8) for name in spec.cameras},
        state=random.normal(size=(rows, 1, spec.state_size)).astype(np.float32),
        instruction=("go left",) * rows,
    )


def mixed(rows: int = 4) -> Batch[Tensor]:
    """A batch as a mixture makes it: padded behind the end, rows of arm and crane in turn."""
    body = torch.arange(rows) % 2
    random = torch.Generator().manual_seed(0)
    wrist = torch.randint(0, 256, (rows, 1, 3, 8, 8), generator=random, dtype=torch.uint8)
    state = torch.randn(rows, 1, 3, generator=random)
    obs = Observation[Tensor](
        images={
            "front": torch.randint(0, 256, (rows, 1, 3, 8, 8), generator=random, dtype=torch.uint8),
            "wrist": wrist * (body == 0)[:, None, None, None, None],
        },
        state=torch.where((body == 1)[:, None, None] & (torch.arange(3) == 2), torch.zeros(()), state),
        instruction=("go left",) * rows,
        present={"wrist": body == 0},
        context={BODY: body},
    )
    actions = torch.rand(rows, 3, 3, generator=random)
    return Batch(obs, actions, torch.zeros(rows, 3, dtype=torch.bool), torch.ones(rows))


def rows_of(batch: Batch[Tensor], number: int, spec: RobotSpec) -> tuple[Tensor, Observation[Tensor]]:
    """Return the rows of one body, and what it would see there by itself."""
    rows = torch.arange(number, batch.num_rows, 2)
    images = {name: batch.obs.images[name][rows] for name in spec.cameras}
    state = batch.obs.state[rows][..., : spec.state_size]
    return rows, Observation[Tensor](images, state, ("go left",) * len(rows))


def test_values_of_one_name_and_unit_share_a_place_and_others_have_their_own() -> None:
    joint = joint_spec((ARM, CRANE))
    assert joint.state == ("x [m]", "y", "turn", "x [mm]")
    assert joint.action == ("x", "y", "grip [1] 1", "hook", "grip [1] 2")
    assert set(joint.cameras) == {"front", "wrist"}
    assert joint.low[1] == -2.0
    assert sum(joint.binary_mask) == 2  # closed is 0 for one and -1 for the other


@pytest.mark.parametrize("head", HEADS)
def test_a_body_acts_as_it_learned_in_the_mixture(head: str) -> None:
    """The tokens of a padded row equal those of the same body alone, and no other body changes them."""
    policy, batch = policy_of_two(head), mixed()
    whole = policy.encode(batch.obs).features.tokens
    for number, spec in enumerate((ARM, CRANE)):
        rows, alone = rows_of(batch, number, spec)
        one = policy.act_as(spec.embodiment)
        torch.testing.assert_close(one.encode(alone).features.tokens, whole[rows])
        chunk = one.select_action(seen_by(spec, 2))
        assert chunk.shape == (2, spec.action_size)
        assert (chunk >= np.asarray(spec.low) - 1e-6).all()
        assert (chunk <= np.asarray(spec.high) + 1e-6).all()
    losses = policy.losses(batch)["action"]
    assert losses.shape == (4,)
    assert losses.isfinite().all()


@pytest.mark.parametrize("head", ["mlp", "flow", "bins"])
def test_it_learns_what_each_body_does(head: str) -> None:
    """Each body does one thing of its own; afterwards it does that, in its own units, and the other's hook is gone."""
    policy, batch = policy_of_two(head), mixed(8)
    wanted = torch.tensor([[0.2, -0.1, 1.0], [0.3, 2.9, -1.0]])
    batch = dataclasses.replace(batch, actions=wanted[batch.obs.context[BODY]][:, None].expand(8, 3, 3))
    optim = torch.optim.Adam(policy.parameters(), lr=1e-2)
    policy.train()
    for _ in range(120):
        optim.zero_grad()
        policy.losses(batch)["action"].mean().backward()
        optim.step()
    policy.eval()
    torch.manual_seed(0)
    for number, spec in enumerate((ARM, CRANE)):
        obs = rows_of(batch, number, spec)[1].map(lambda array: array.numpy())
        missed = np.abs(policy.act_as(number).predict_action_chunk(obs) - wanted[number].numpy()).mean()
        assert missed < 0.6  # the two differ by 1.7


def test_a_mask_hides_what_a_body_lacks_from_the_loss() -> None:
    policy, batch = policy_of_two(), mixed()
    bodies = policy.bodies
    assert bodies is not None
    unit, factor = bodies.lesson(batch, batch.obs.context[BODY], rereads=False)
    assert unit.action_mask is not None
    assert unit.action_mask.sum(dim=1).tolist() == [3, 3, 3, 3]
    assert factor.tolist() == [1.0] * 4
    unit, factor = bodies.lesson(batch, batch.obs.context[BODY], rereads=True)
    assert unit.action_mask is None
    torch.testing.assert_close(factor, torch.full((4,), len(bodies.known[0]) / 3))
    assert (unit.actions[~bodies.known[batch.obs.context[BODY]][:, None].expand_as(unit.actions)] == 0).all()


def test_a_directory_of_a_body_acts_as_it_and_links_the_weights(tmp_path: Path) -> None:
    policy = policy_of_two("flow")
    (tmp_path / "all").mkdir()
    policy.save_pretrained(tmp_path / "all")
    write_body(tmp_path / "all", 1, tmp_path / "bodies" / "crane")
    crane = load_policy(tmp_path / "bodies" / "crane", device="cpu")
    assert crane.spec == CRANE
    obs, noise = seen_by(CRANE, 3), np.random.default_rng(1).normal(size=(3, 3, 5)).astype(np.float32)
    assert isinstance(crane, VLAPolicy)
    np.testing.assert_array_equal(
        crane.predict_action_chunk(obs, noise), policy.act_as("crane").predict_action_chunk(obs, noise)
    )
    one, two = (tmp_path / place / "model.safetensors" for place in ("all", "bodies/crane"))
    assert one.stat().st_ino == two.stat().st_ino
    with pytest.raises(ConfigError, match=r"arm, crane.*RUN/bodies/NAME"):
        load_policy(tmp_path / "all", device="cpu")


def test_an_artefact_of_a_body_acts_as_it_does(tmp_path: Path) -> None:
    policy = policy_of_two("flow", actions="relative").act_as("crane")
    export_onnx(policy, tmp_path / "artefact", source={})
    engine = VLAInferenceEngine(tmp_path / "artefact")
    assert engine.spec == CRANE
    obs, noise = seen_by(CRANE, 3), np.random.default_rng(1).normal(size=(3, 3, 5)).astype(np.float32)
    ours, theirs = policy.predict_action_chunk(obs, noise), engine.predict_action_chunk(obs, noise)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)


def test_relative_actions_are_measured_from_the_state_of_their_own_body() -> None:
    policy = policy_of_two(actions="relative")
    state, actions = torch.full((1, 1, 3), 0.25), torch.full((1, 3, 3), 0.5)
    bodies = policy.bodies
    assert bodies is not None
    for number in (0, 1):
        joint = bodies[number].actions(actions, state)
        back = bodies[number].taken(joint, state)
        torch.testing.assert_close(back, actions)


def test_states_as_labels_are_at_the_scale_of_their_own_body() -> None:
    policy = policy_of_two(grounding=GroundingConfig(points=(("next", 4),), states=("next",)))
    batch = mixed()
    batch = dataclasses.replace(batch, targets={"next": torch.tensor([[0.1, 0.1, 0.1], [3.0, 3.4, 0.0]]).repeat(2, 1)})
    bodies = policy.bodies
    assert bodies is not None
    labels = bodies.lesson(batch, batch.obs.context[BODY], rereads=False)[0].targets["next"]
    torch.testing.assert_close(labels[0], torch.tensor([0.0, 0.0, 0.0, torch.nan]), equal_nan=True)
    lacks = torch.tensor([torch.nan, 0.0, torch.nan, 1.0])  # its y is the arm's, its x is not
    torch.testing.assert_close(labels[1], lacks, equal_nan=True)
    missed = policy.losses(batch)["grounding"]
    assert missed.isfinite().all()
    # What a body lacks is not asked of its rows: no gradient reaches it from them.
    policy.zero_grad()
    missed[1].backward()
    asked = policy.get_parameter("network.locate.straight.weight").grad
    assert asked is not None
    assert asked.abs().sum(dim=1).gt(0).tolist() == [False, True, False, True]
    assert policy.act_as("crane").select_action(seen_by(CRANE, 1)).shape == (1, 3)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(SpecError, match="named arm, arm"):
        joint_spec((ARM, ARM))
    larger = dataclasses.replace(CRANE, cameras={"front": CameraSpec(16, 16)})
    with pytest.raises(SpecError, match=r"front of crane has 16 x 16.*8 x 8"):
        joint_spec((ARM, larger))
    policy = policy_of_two()
    with pytest.raises(ConfigError, match="'dog': this policy knows arm, crane"):
        policy.act_as("dog")
    with pytest.raises(DataError, match="of 1 bodies for a policy of 2"):
        policy.fit_normalizer({}, [{}])
    with pytest.raises(ConfigError, match="acts as one of them"):
        policy.select_action(seen_by(ARM, 1))


def test_a_body_remembers_what_it_executed_as_it_learned_in_the_mixture() -> None:
    policy, batch = policy_of_two(previous=LstmConfig(ticks=2, width=8)), mixed()
    assert policy.before is not None
    torch.nn.init.normal_(policy.before.leave.weight, std=0.3)
    before = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(1))
    before[0, 0] = float("nan")
    obs = dataclasses.replace(batch.obs, prev_actions=before)
    whole = policy.encode(obs).features.tokens
    assert not torch.allclose(whole, policy.encode(dataclasses.replace(obs, prev_actions=before + 1)).features.tokens)
    for number, spec in enumerate((ARM, CRANE)):
        rows, alone = rows_of(batch, number, spec)
        alone = dataclasses.replace(alone, prev_actions=before[rows])
        one = policy.act_as(spec.embodiment)
        torch.testing.assert_close(one.encode(alone).features.tokens, whole[rows])
        assert one.select_action(seen_by(spec, 2)).shape == (2, 3)
        assert one.history.previous == 2
