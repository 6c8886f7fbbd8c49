"""What every export must be: the same policy, for any number of rows and words."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import matrix
from sinew.core.errors import CheckpointError, ConfigError, SpecError
from sinew.core.history import History
from sinew.core.rollout import run_episodes
from sinew.deploy import onnx
from sinew.deploy.artefact import read_manifest
from sinew.deploy.infer import VLAInferenceEngine
from sinew.deploy.onnx import export_onnx
from sinew.deploy.parity import compare_policies
from sinew.models.config import HEADS, PolicyConfig
from sinew.models.encoder_config import BertConfig, PrefixFusionConfig
from sinew.models.heads.config import DiffusionHeadConfig, FlowHeadConfig
from sinew.models.interleaved_config import InterleavedConfig
from toy import ToyConfig
from toy_policy import Export, look, tiny_policy


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_the_same_actions_as_torch(exported: Export, head: str) -> None:
    policy, path = exported(head)
    engine = VLAInferenceEngine(path)
    found = compare_policies(policy, engine, engine.manifest, ("go", "left", "unheard"), batches=(1, 3, 8))
    assert [item.rows for item in found] == [1, 3, 8]
    assert max(item.worst for item in found) <= 1e-5
    assert set(found[0].errors) == {"actions", "points.goal"}


def test_the_sentence_may_have_any_number_of_words(exported: Export) -> None:
    policy, path = exported("mlp")
    engine, obs = VLAInferenceEngine(path), look(1)
    chunks: list[np.ndarray] = []
    for words in (0, 1, 2, 24, 30):
        full = History(2).push(dataclasses.replace(obs, instruction=(" ".join(["left", "go"] * 15)[: 5 * words],)))
        chunks.append(engine.predict_action_chunk(full))
        assert np.allclose(chunks[-1], policy.predict_action_chunk(full), atol=1e-6)
    assert not np.array_equal(chunks[0], chunks[1])


def test_the_manifest_says_what_goes_in(exported: Export) -> None:
    policy, path = exported("mlp")
    manifest = read_manifest(path)
    ports = {port.name: (port.dtype, port.shape) for port in manifest.graphs["policy"].inputs}
    assert ports == {
        "images.front": ("uint8", ("batch", 2, 3, 8, 8)),
        "state": ("float32", ("batch", 2, 2)),
        "ids": ("int64", ("batch", "words")),
    }
    assert manifest.robot == policy.spec
    assert (manifest.history, manifest.horizon, manifest.execute, manifest.points) == (2, 3, 2, {"goal": 1})
    assert manifest.normalizer["state"].std == pytest.approx((0.4, 0.4))


def test_a_flow_head_steps_from_noise_that_the_caller_gives(exported: Export) -> None:
    manifest = read_manifest(exported("flow")[1])
    assert (manifest.runner, set(manifest.graphs)) == ("denoise", {"prefix", "step"})
    assert manifest.times == tuple(step / 8 for step in range(8))


def test_export_leaves_the_policy_as_it_was(exported: Export) -> None:
    policy, path = exported("mlp")
    again = VLAInferenceEngine(path)
    assert not policy.training
    policy.train()
    chunk = policy.predict_action_chunk(History(2).push(look(2)))  # caches of the model hold real tensors
    assert np.allclose(chunk, again.predict_action_chunk(History(2).push(look(2))), atol=1e-6)
    policy.eval()


def test_an_artefact_names_no_file_of_this_machine(exported: Export) -> None:
    content = b"".join(file.read_bytes() for head in ("mlp", "flow") for file in sorted(exported(head)[1].iterdir()))
    assert re.findall(rb"[\w/]+\.py\b", content) == []
    assert str(Path.home()).encode() not in content


class Coin(nn.Module):
    """Draws inside its graph, which an artefact must not."""

    def forward(self, state: Tensor) -> Tensor:
        """Return noise."""
        return state + torch.randn_like(state)


def test_a_graph_that_draws_by_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="SteppingHead"), onnx._quiet():
        onnx._export(
            Coin(), {"state": torch.ones(2, 3)}, {"state": {0: Dim("batch")}}, ("actions",), tmp_path / "coin.onnx"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_policy_without_statistics_is_refused(tmp_path: Path) -> None:
    policy = tiny_policy()
    policy.normalizer.get_buffer("state_mean").fill_(float("nan"))
    with pytest.raises(CheckpointError, match="no statistics"):
        export_onnx(policy, tmp_path / "a", source={})


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (PolicyConfig(head=DiffusionHeadConfig(before=1)), "draws steps before now"),
        (PolicyConfig(head=DiffusionHeadConfig(eta=1.0)), "draws at every step"),
    ],
    ids=["before", "eta"],
)
def test_what_would_act_otherwise_in_a_graph_is_refused_with_what_works(config: PolicyConfig, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"{reason}.*sinew serve, sinew run"):
        onnx.check_exportable(config)


def test_sentences_of_several_lengths_mean_to_a_foreign_encoder_what_they_do_in_torch(tmp_path: Path) -> None:
    sizes = dataclasses.replace(BertConfig().random, width=16, layers=1, heads=2)
    policy = tiny_policy(language=BertConfig(random=sizes, max_tokens=12))
    export_onnx(policy, tmp_path / "a", source={})
    seen = look(4)
    obs = dataclasses.replace(seen.map(lambda array: np.repeat(array, 2, axis=1)), instruction=seen.instruction)
    theirs = VLAInferenceEngine(tmp_path / "a").predict_action_chunk(obs)
    np.testing.assert_allclose(theirs, policy.predict_action_chunk(obs), atol=1e-6)


def test_an_artefact_remembers_what_was_executed_as_the_policy_does(exported: Export) -> None:
    policy, path = exported("gaussian")
    engine, world = VLAInferenceEngine(path), ToyConfig(size=8).build(2)
    assert engine.manifest.previous == engine.history.previous == policy.history.previous == 3
    ids = world.states("seen", "left", 3)
    assert run_episodes(world, engine, ids) == run_episodes(world, policy, ids)
    with pytest.raises(SpecError, match=r"no executed actions came, \(2, 3, 2\) .* wanted as prev_actions"):
        engine.predict_action_chunk(look(2))


@pytest.mark.parametrize(
    ("like", "language", "template"), [("smolvla", "llama", None), ("pi0", "gemma", "right {} go")]
)
def test_an_expert_that_reads_words_and_has_values_of_its_own_hears_sentences_of_any_length(
    like: Literal["smolvla", "pi0"], language: str, template: str | None, tmp_path: Path
) -> None:
    parts = dict.fromkeys(("projector", "previous"), "none") | {"vision": "siglip", "head": "flow"}
    config = matrix.config_of({**parts, "fusion": "prefix", "language": language})
    sizes = InterleavedConfig(hidden=16, heads=2, padded=5, like=like, every=2 if like == "smolvla" else 1)
    policy = matrix.built(
        dataclasses.replace(
            config,
            fusion=PrefixFusionConfig(like=like),
            head=FlowHeadConfig(width=16, steps=3, expert="interleaved", interleaved=sizes),
            language=dataclasses.replace(config.language, ending=" left", template=template),  # type: ignore[call-arg]
        )
    )
    export_onnx(policy, tmp_path / "a", source={})
    engine, noise = VLAInferenceEngine(tmp_path / "a"), np.random.default_rng(0).normal(size=(4, 4, 5))
    for sentences in (("go", "go left", "go", "left left"), ("go right go right go",) * 4):
        obs = dataclasses.replace(matrix.seen(), instruction=sentences)
        theirs = engine.predict_action_chunk(obs, noise.astype(np.float32))
        np.testing.assert_allclose(theirs, policy.predict_action_chunk(obs, noise.astype(np.float32)), atol=1e-5)
