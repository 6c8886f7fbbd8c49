"""Preset, then config file, then flags; classes by their kind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sinew.cli.configured import resolved_of
from sinew.cli.options import TrainOptions, split_words
from sinew.cli.resolve import build_preset, overlay_file, parse_flags, starting_point, swap_kinds
from sinew.core.config import to_dict
from sinew.core.errors import ConfigError
from sinew.core.types import CameraSpec, RobotSpec
from sinew.data.augment import check_augment
from sinew.data.mirror import Mirror
from sinew.models.config import FlowHeadConfig
from sinew.recipes.config import BcConfig, DaggerConfig
from sinew.run import RunConfig


def resolved(*words: str) -> RunConfig:
    """Return the configuration that ``sinew train WORDS`` would run."""
    options, flags = split_words(TrainOptions, list(words), "sinew train")
    return parse_flags(RunConfig, swap_kinds(starting_point(options), flags), flags, "sinew train")


def test_flags_go_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"loop": {"updates": 7, "keep": 9}, "seed": 4}))
    config = resolved("tabletop", "--config", str(path), "--loop.updates", "5")
    assert (config.loop.updates, config.loop.keep, config.seed) == (5, 9, 4)
    assert config.loop.log_every == build_preset("tabletop", "small").loop.log_every


def test_the_saved_configuration_of_a_run_needs_no_preset(tmp_path: Path) -> None:
    saved = resolved("tabletop", "--recipe.kind", "bc", "--policy.head.kind", "flow", "--size", "tiny")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_dict(saved)))
    assert resolved("--config", str(path)) == saved


@pytest.mark.parametrize("words", ["tabletop --quick", "--quick tabletop", "--preset tabletop --quick"])
def test_the_preset_may_stand_anywhere_it_is_clear(words: str) -> None:
    config = resolved(*words.split(), "--seed", "2")
    assert (config.name, config.seed) == ("tabletop", 2)
    assert config.loop.updates < build_preset("tabletop", "small").loop.updates


def test_a_kind_swaps_the_class_and_keeps_what_both_know() -> None:
    config = resolved("tabletop", "--policy.head.kind", "flow", "--policy.head.steps", "3")
    assert config.policy.head == FlowHeadConfig(steps=3)


@pytest.mark.parametrize(("preset", "flag"), [("vlm", "--optim.muon"), ("vla-three-stage", "--recipe.batch")])
def test_what_a_run_in_stages_would_not_look_at_is_refused(preset: str, flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"{flag}: {preset} learns in stages.*0a read.*change nothing.*--config"):
        resolved_of(TrainOptions, [preset, flag, "0"], "train")
    found = resolved_of(TrainOptions, [preset, "--texts.scenes", "7"], "train")
    assert found is not None
    assert found[1].texts is not None
    assert found[1].texts.scenes == 7


def test_the_inner_recipe_comes_out_and_goes_in_again() -> None:
    inner = resolved("tabletop", "--size", "tiny", "--recipe.kind", "bc")
    assert isinstance(inner.recipe, BcConfig)
    assert inner.recipe.batch == 32
    outer = swap_kinds(inner, ["--recipe.kind=dagger"])
    assert isinstance(outer.recipe, DaggerConfig)
    assert outer.recipe.inner == inner.recipe


def test_a_file_may_name_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"recipe": {"kind": "bc", "batch": 8}}))
    assert overlay_file(RunConfig(), path).recipe == BcConfig(batch=8)


def test_every_unknown_setting_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"sead": 1, "loop": {"update": 5}}))
    with pytest.raises(ConfigError, match="did you mean seed") as found:
        overlay_file(RunConfig(), path)
    assert "loop.update" in str(found.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("preset = 3", "defines no function preset"),
        ("def preset(size): return 3", "returned int"),
        ("def preset(size:", "SyntaxError"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
    ],
)
def test_a_broken_preset_file_says_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        build_preset(str(path), "small")


def test_a_preset_file_of_ones_own_works(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from sinew.run import RunConfig\ndef preset(size):\n    return RunConfig(name='mine-' + size)\n")
    assert resolved(str(path), "--size", "tiny").name == "mine-tiny"


def test_several_data_sets_are_one_mixture_with_their_weights() -> None:
    words = "--weights 1 3 --data.mix.temperature 2 --instruction lift"
    config = resolved("bc", "--data", "a", "--data", "b", *words.split())
    assert config.data is not None
    assert config.data.mix is not None
    assert [(source.path, source.weight) for source in config.data.sources] == [("a", 1.0), ("b", 3.0)]
    assert (config.data.path, config.data.mix.temperature, config.data.ingest.instruction) == ("", 2.0, "lift")
    alone = resolved("bc", "--data", "a")
    assert alone.data is not None
    assert (alone.data.path, alone.data.mix) == ("a", None)


def test_the_configurations_in_the_page_on_mixing_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "mixing.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        (tmp_path / "mine.json").write_text(block)
        config = resolved("bc", "--config", str(tmp_path / "mine.json"))
        assert isinstance(config.recipe, BcConfig)
        check_augment(config.recipe.augment)
    mirror = config.recipe.augment.mirror
    assert mirror is not None
    spec = RobotSpec(
        embodiment="arm",
        cameras={"top": CameraSpec(8, 8)},
        state=("x", "y", "opening"),
        state_units=("m", "m", "1"),
        action=("dx", "dy", "grip"),
        action_units=("m", "m", "1"),
        low=(-1.0, -1.0, 0.0),
        high=(1.0, 1.0, 1.0),
        hz=10.0,
        kind="delta",
    )
    Mirror(mirror, spec, turns=True)


def test_a_named_architecture_takes_the_place_of_the_policy_and_flags_still_count() -> None:
    config = resolved("tabletop", "--architecture", "transformer-vla", "--policy.width", "64")
    assert config.policy.fusion is not None
    assert (config.policy.fusion.kind, config.policy.width) == ("transformer", 64)
    assert config.policy.grounding == build_preset("tabletop", "small").policy.grounding


def test_encoders_projector_and_fusion_are_chosen_by_kind() -> None:
    words = "--policy.vision.kind siglip --policy.vision.frozen all --policy.language.kind bert"
    more = "--policy.projector.kind perceiver --policy.projector.latents 4 --policy.fusion.kind cross"
    policy = resolved("tabletop", *words.split(), *more.split()).policy
    parts = (policy.vision, policy.language, policy.projector, policy.fusion)
    assert [part.kind for part in parts if part is not None] == ["siglip", "bert", "perceiver", "cross"]
    assert (getattr(policy.vision, "frozen", 0), getattr(policy.projector, "latents", 0)) == ("all", 4)
    with pytest.raises(ConfigError, match=r"no 'siglop'\. Did you mean 'siglip'"):
        resolved("tabletop", "--policy.vision.kind", "siglop")
