"""Starting from another policy's weights: by name and shape, words by what they say, bodies refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from sinew.core.errors import CheckpointError, ConfigError, SpecError
from sinew.core.types import RobotSpec
from sinew.models.config import FilmVisionConfig, GroundingConfig, LanguageConfig, MlpHeadConfig
from sinew.models.language import train_tokenizer
from sinew.models.policy import VLAPolicy
from sinew.models.transfer import WORDS, check_actions, check_body, known_words, transfer

Build = Callable[..., VLAPolicy]


def fresh(source: VLAPolicy, *sentences: str, **changes: object) -> VLAPolicy:
    """Return another policy with other random weights, words and, where given, parts."""
    torch.manual_seed(1)
    config = dataclasses.replace(source.config, **changes)
    policy = VLAPolicy(config, source.spec, train_tokenizer(sentences))
    norms = {name: value for name, value in source.state_dict().items() if name.startswith("normalizer.")}
    policy.load_state_dict({**policy.state_dict(), **{name: 2 * value for name, value in norms.items()}})
    return policy


def test_everything_that_fits_is_taken_and_words_go_by_what_they_say(build: Build) -> None:
    source = build()
    target = fresh(source, "touch the heavy thing", "carefully")
    found = transfer(source, target)
    theirs, ours = source.state_dict(), target.state_dict()
    assert found.fresh == ()
    assert all(torch.equal(ours[name], theirs[name]) for name in found.taken)
    one, other = source.tokenizer.get_vocab(), target.tokenizer.get_vocab()
    assert one["thing"] != other["thing"]
    for word in ("touch", "the", "thing", "[PAD]"):
        assert torch.equal(ours[WORDS][other[word]], theirs[WORDS][one[word]])
    assert found.new_words == ("carefully", "heavy")
    assert "new words, which begin at random: carefully, heavy" in "\n".join(found.lines())


def test_statistics_stay_those_of_the_data(build: Build) -> None:
    source = build()
    target = fresh(source, "go")
    before = target.normalizer.get_buffer("state_mean").clone()
    transfer(source, target)
    assert torch.equal(target.normalizer.get_buffer("state_mean"), before)
    assert not torch.equal(before, source.normalizer.get_buffer("state_mean"))


def test_other_shapes_keep_their_random_weights_and_are_told(build: Build) -> None:
    source = build()
    target = fresh(source, "go", horizon=5, grounding=GroundingConfig(points=(("thing", 2),)))
    found = transfer(source, target)
    assert [name for name, _ in found.fresh] == ["head.net.4.weight", "head.net.4.bias"]
    assert "not taken: head ((9, 256) there, (15, 256) here; (9,) there, (15,) here)" in list(found.lines())
    assert found.numbers[0] < found.numbers[1]


def test_eyes_and_words_alone_leave_the_body_as_it_was(build: Build) -> None:
    source = build()
    target = fresh(source, "go")
    head = target.state_dict()["head.net.0.weight"].clone()
    found = transfer(source, target, perception_only=True)
    assert torch.equal(target.state_dict()["head.net.0.weight"], head)
    assert any(name.startswith("network.vision.") for name in found.taken)
    assert {reason for name, reason in found.fresh if name.startswith("head.")} == {"belongs to the other body"}


def test_a_policy_built_otherwise_gives_nothing(build: Build) -> None:
    source = build()
    language = LanguageConfig(width=24, layers=1, heads=2)
    vision, head = FilmVisionConfig(channels=(8, 24, 24, 24)), MlpHeadConfig(hidden=(48, 48))
    target = fresh(source, "go", width=48, language=language, vision=vision, head=head)
    with pytest.raises(CheckpointError, match=r"only \d+ of [\d,]+ weights fit"):
        transfer(source, target)


def test_another_body_is_refused_with_both_sides(build: Build) -> None:
    spec: RobotSpec = build().spec
    other = dataclasses.replace(spec, embodiment="crane", action_units=("rad", "rad", "1"))
    with pytest.raises(SpecError) as refused:
        check_body(other, spec, "runs/crane")
    said = str(refused.value)
    assert "runs/crane: was trained for another robot (crane; the data are of arm)" in said
    assert "action_units: ('rad', 'rad', '1') there, ('m', 'm', '1') here" in said
    check_body(dataclasses.replace(spec, embodiment="twin", hz=20.0), spec, "runs/twin")


def test_a_head_that_predicts_other_actions_is_refused(build: Build) -> None:
    config = build().config
    other = dataclasses.replace(config, actions="relative")
    check_actions(other, other, "runs/one")
    with pytest.raises(ConfigError, match=r"runs/one: predicts relative, here the actions that the robot takes"):
        check_actions(other, config, "runs/one")


def test_known_words_leave_the_markers_out(build: Build) -> None:
    assert known_words(build().tokenizer) == ("go", "left", "right", "the", "thing", "to", "touch")
