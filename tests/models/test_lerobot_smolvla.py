"""SmolVLA answers and loses with us what it does in LeRobot 0.4.4, which wrote what is expected."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from from_lerobot import edit, lesson, seen
from sinew.cli.main import main
from sinew.core.errors import CheckpointError, DataError, SpecError
from sinew.deploy.load import load_policy
from sinew.models.heads.flow import FlowHead
from sinew.models.lerobot import read_lerobot
from sinew.models.lerobot_smolvla import DEFAULTS, as_in_single_precision
from sinew.models.policy import VLAPolicy
from sinew.run.adopting import adopt, at
from small_smolvla import POLICIES, VLM, answers, given

CLOSE = {"bfloat16": 0.02}
"""How near, of the largest value; LeRobot computes one of them in bfloat16. The others are as near as can be."""


@pytest.mark.parametrize("name", POLICIES)
def test_answers_and_loses_what_it_does_in_lerobot(name: str, tmp_path: Path) -> None:
    adopt(given(tmp_path / "theirs", name), tmp_path / "ours", None, str(VLM))
    policy, expected = VLAPolicy.from_pretrained(tmp_path / "ours").eval(), answers(name)
    assert set(policy.spec.cameras) == {"front", "wrist"}  # and none that is always empty
    assert policy.config.execute == 3
    chunk = policy.predict_action_chunk(seen(expected), expected["noise"])
    near = CLOSE.get(name, 1e-5)
    np.testing.assert_allclose(chunk, expected["chunk"], rtol=near, atol=near * np.abs(expected["chunk"]).max())
    batch, head = lesson(expected), policy.head
    assert isinstance(head, FlowHead)
    unit = dataclasses.replace(batch, actions=policy.normalizer.to_unit("action", batch.actions))
    noise, time = torch.from_numpy(expected["noise"]), 1 - torch.from_numpy(expected["time"]).double()
    with torch.no_grad():
        loss = head.loss_at(policy.encode(batch.obs).features, unit, noise, time)
    np.testing.assert_allclose(loss, expected["loss"], rtol=near)


def test_where_patches_lie_depends_on_the_precision_there(tmp_path: Path) -> None:
    """What LeRobot answers in bfloat16 is far from what these weights answer with the positions of float32."""
    place = edit(given(tmp_path / "theirs", "bfloat16"), load_vlm_weights=False)
    policy, expected = adopt(place, tmp_path / "ours", None, str(VLM)), answers("bfloat16")
    chunk = policy.predict_action_chunk(seen(expected), expected["noise"])
    assert np.abs(chunk - expected["chunk"]).max() > 3 * 0.02 * np.abs(expected["chunk"]).max()
    table = as_in_single_precision(torch.arange(9.0)[:, None])
    assert table[:, 0].tolist() == [0, 0, 1, 0, 0, 1, 3, 3, 4]


def test_what_was_adopted_learns_on_where_it_did(tmp_path: Path) -> None:
    policy = adopt(given(tmp_path / "theirs"), tmp_path / "ours", None, str(VLM)).train()
    policy.losses(lesson(answers()))["action"].sum().backward()
    taught = {name for name, value in policy.named_parameters() if value.grad is not None and value.grad.any()}
    fixed = {name for name, value in policy.named_parameters() if not value.requires_grad}
    # The classifier of two-valued actions, of which there are none, is fixed as well.
    assert {name.split(".")[1] for name in fixed} == {"language", "vision", "project", "summary", "logits"}
    assert taught | fixed == {name for name, _ in policy.named_parameters()}


def test_the_whole_model_learns_where_it_did(tmp_path: Path) -> None:
    place = edit(given(tmp_path / "theirs"), train_expert_only=False, rtc_config={"enabled": True})
    foreign = read_lerobot(place, str(VLM))
    assert (foreign.policy.vision.frozen, foreign.policy.language.frozen) == ("all", 0)  # type: ignore[union-attr]
    assert [note for note in foreign.notes if note.startswith("rtc_config is left out")]


def test_words_that_were_one_with_the_output_layer_are_found(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    weights = load_file(place / "model.safetensors")
    table = "model.vlm_with_expert.vlm.model.text_model.embed_tokens.weight"
    weights["model.vlm_with_expert.vlm.lm_head.weight"] = kept = weights.pop(table)
    save_file(weights, place / "model.safetensors")
    found = read_lerobot(place, str(VLM)).weights
    assert torch.equal(found["network.language.model.embed_tokens.weight"], kept)


def test_settings_that_older_files_lack_are_lerobots_defaults(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    content = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({name: content[name] for name in content if name not in DEFAULTS}))
    assert read_lerobot(place, str(VLM)).policy == read_lerobot(given(tmp_path / "whole"), str(VLM)).policy


def test_one_without_statistics_learns_before_it_acts(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    (place / "policy_preprocessor.json").unlink()
    assert [note for note in read_lerobot(place, str(VLM)).notes if "no statistics of state and action" in note]
    adopt(place, tmp_path / "ours", None, str(VLM))
    with pytest.raises(CheckpointError, match=r"cannot act\. Teach it first: sinew train bc --init"):
        load_policy(tmp_path / "ours", device="cpu")
    spec = json.loads((place / "spec.json").read_text()) | {"low": "data"}
    (place / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(DataError, match=r"no statistics.*Say low and high, 4 numbers each"):
        adopt(place, tmp_path / "again", None, str(VLM))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"add_image_special_tokens": True}, "puts words around images.*--part vision"),
        ({"adapt_to_pi_aloha": True}, "ALOHA"),
        ({"normalization_mapping": {"VISUAL": "MEAN_STD"}}, "images are normalised"),
        ({"input_features": {"observation.images.front": {"shape": [3, 8, 8]}}}, "feels no state"),
        ({"resize_imgs_with_padding": [64, 64]}, r"images come as \[\(64, 64\)\], its tower sees 32 x 32"),
        ({"resize_imgs_with_padding": None}, "images come as"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_ours_is_refused(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=said):
        adopt(edit(given(tmp_path / "theirs"), **changed), tmp_path / "ours", None, str(VLM))
    assert not (tmp_path / "ours").exists()


def test_an_expert_with_fewer_layers_is_refused(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    weights = load_file(place / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "lm_expert.layers.3" not in name},
        place / "model.safetensors",
    )
    with pytest.raises(CheckpointError, match="its expert has 3 layers, its language model 4"):
        read_lerobot(place, str(VLM))


@pytest.mark.parametrize("where", ["./nowhere", "empty"])
def test_a_tokenizer_that_is_not_there_is_asked_for(where: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    name = str(tmp_path / "empty") if where == "empty" else where
    with pytest.raises(CheckpointError, match=r"brings no tokenizer.*--tokenizer.*SmolVLM2-500M-Video-Instruct"):
        read_lerobot(given(tmp_path / "theirs"), name)


def test_heads_that_nobody_says_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    shutil.copyfile(VLM / "tokenizer.json", tmp_path / "words" / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"vision part has a width of 16.*config.json.*--tokenizer"):
        read_lerobot(given(tmp_path / "theirs"), str(tmp_path / "words"))


def test_norms_of_another_kind_are_refused(tmp_path: Path) -> None:
    shutil.copytree(VLM, tmp_path / "vlm")
    content = json.loads((VLM / "config.json").read_text())
    content["text_config"]["rms_norm_eps"] = 1e-6
    (tmp_path / "vlm" / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="norms with 1e-06, 1e-05 can"):
        read_lerobot(given(tmp_path / "theirs"), str(tmp_path / "vlm"))


def test_a_two_valued_action_is_refused(tmp_path: Path) -> None:
    place = given(tmp_path / "theirs")
    spec = json.loads((place / "spec.json").read_text()) | {"binary": ["grip"]}
    (place / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(SpecError, match=r"grip takes two values only.*leave it out"):
        adopt(place, tmp_path / "ours", None, str(VLM))


def test_the_command_names_what_can_be_done_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(given(tmp_path / "theirs")), "--out", str(tmp_path / "ours"), "--tokenizer", str(VLM)]
    assert main(["adopt", *words]) == 0
    said = capsys.readouterr().out
    assert "float32" in said
    assert f"sinew train bc --init {tmp_path / 'ours'} --data PATH" in said
    assert f"sinew export {tmp_path / 'ours'} --to onnx" in said


def test_a_directory_is_no_id_on_the_hub(tmp_path: Path) -> None:
    assert at(tmp_path) == tmp_path
    assert at(Path("runs/somewhere/else")) == Path("runs/somewhere/else")
    assert at(Path("./nowhere")) == Path("nowhere")
