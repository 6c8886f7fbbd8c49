"""OpenVLA answers with us what it does with the code that its checkpoints are published with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from from_lerobot import edit
from sinew.cli.main import main
from sinew.core.errors import CheckpointError, ConfigError, DataError
from sinew.core.types import Batch, NumpyObservation, Observation
from sinew.models.heads.autoregressive import AutoregressiveHead
from sinew.models.openvla import read_openvla
from sinew.models.policy import VLAPolicy
from sinew.models.towers import HEADS
from sinew.run.adopting import adopt
from small_openvla import GOLDEN, TASKS, WIDTHS, given


@pytest.fixture(autouse=True)
def _small_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in WIDTHS:
        monkeypatch.setitem(HEADS, width, 2)


def seen(expected: Any) -> NumpyObservation:  # noqa: ANN401  (an npz)
    """Return the observations that OpenVLA answered."""
    images = expected["images"].transpose(0, 3, 1, 2)[:, None]
    return Observation({"image": images}, np.zeros((len(images), 1, 0), np.float32), TASKS)


@pytest.fixture
def expected() -> Any:  # noqa: ANN401  (an npz)
    """Return what OpenVLA was given and answered."""
    return np.load(GOLDEN / "expected.npz")


@pytest.fixture
def policy(tmp_path: Path) -> VLAPolicy:
    """Return it as ours, written and read again."""
    adopt(given(tmp_path / "theirs"), tmp_path / "ours", None, dataset="bridge_orig")
    return VLAPolicy.from_pretrained(tmp_path / "ours").eval()


def test_answers_what_it_does_with_its_own_code(policy: VLAPolicy, expected: Any) -> None:  # noqa: ANN401
    np.testing.assert_allclose(policy.predict_action_chunk(seen(expected))[:, 0], expected["actions"], atol=1e-6)


def test_what_it_might_have_said_is_as_likely(policy: VLAPolicy, expected: Any) -> None:  # noqa: ANN401
    """Of each word the odds among all 256, given those that it said before."""
    head, scores = policy.head, torch.from_numpy(expected["scores"])
    assert isinstance(head, AutoregressiveHead)
    ids = scores.argmax(dim=-1)
    with torch.no_grad():
        features = policy.encode(seen(expected).map(torch.as_tensor)).features
        trace = {"tokens": ids, "bits": torch.zeros(len(ids), 1, 7)}
        said = head.log_prob(features, trace)[:, 0]
    wanted = scores.gather(2, ids[..., None]).sum(dim=(1, 2))
    torch.testing.assert_close(said, wanted, rtol=1e-5, atol=1e-5)


def test_a_greatest_action_has_a_word_of_its_own(policy: VLAPolicy) -> None:
    head = policy.head
    assert isinstance(head, AutoregressiveHead)
    ends = torch.tensor([-1.0, 0.999, 1.0])
    ids = head.tokens.encode(ends[:, None, None].expand(3, 1, 7))
    assert ids[:, 0].tolist() == [0, 254, 255]  # as numpy.digitize puts them between 256 edges, from 0
    edges = np.linspace(-1, 1, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    found = head.tokens.decode(ids)[:, 0, 0]
    np.testing.assert_allclose(found, middles[[0, 254, 254]], atol=1e-6)


def test_it_learns_on(policy: VLAPolicy, expected: Any) -> None:  # noqa: ANN401
    obs = seen(expected).map(torch.as_tensor)
    actions = torch.from_numpy(expected["actions"]).float()[:, None]
    batch = Batch(obs, actions, torch.zeros(3, 1, dtype=torch.bool), torch.ones(3))
    policy.train()
    before = policy.losses(batch)["action"].mean()
    optimiser = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    for _ in range(5):
        optimiser.zero_grad()
        policy.losses(batch)["action"].mean().backward()
        optimiser.step()
    assert policy.losses(batch)["action"].mean() < 0.8 * before


def test_the_command_asks_whose_actions_and_says_what_can_be_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["adopt", str(given(tmp_path / "theirs")), "--out", str(tmp_path / "ours")]
    assert main(words) == 2
    assert "statistics of several data sets. Name with --dataset" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--dataset", "other"]) == 0
    assert "autoregressive head" in capsys.readouterr().out
    std = VLAPolicy.from_pretrained(tmp_path / "ours").normalizer.get_buffer("action_std")
    assert std[-1] == 1.0  # where the mask is off nothing is scaled
    assert std[0] > 1.0


def test_without_a_spec_the_file_to_write_is_shown(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    (place / "spec.json").unlink()
    with pytest.raises(DataError, match=r"spec\.json"):
        adopt(place, tmp_path / "ours", None, dataset="other")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image_resize_strategy": "letterbox"}, "image_resize_strategy is 'letterbox', 'resize-naive' is known"),
        ({"use_fused_vision_backbone": False}, "use_fused_vision_backbone is False"),
        ({"text_config": {"model_type": "mistral"}}, "its language model is no Llama"),
    ],
)
def test_what_is_built_otherwise_is_refused(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=said):
        read_openvla(edit(given(tmp_path / "theirs"), **changed), "other")


def test_weights_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    with pytest.raises(ConfigError, match=r"no statistics of 'nobody'\. .*bridge_orig, other"):
        read_openvla(place, "nobody")
    shard = place / "model-00002-of-00002.safetensors"
    weights = load_file(shard)
    save_file({**weights, "action_head.weight": torch.zeros(2)}, shard)
    with pytest.raises(CheckpointError, match=r"1 weights are not known, such as action_head\.weight"):
        read_openvla(place, "other")
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"no .*\. Copy all files of an OpenVLA"):
        read_openvla(place, "other")
