from __future__ import annotations

import dataclasses
import math
import zlib
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sinew.core.errors import ConfigError
from sinew.core.types import Batch, Observation
from sinew.data import pixels
from sinew.data.augment import Augment, turn_hues
from sinew.data.augment import augment as changed_with_maps
from sinew.data.config import AugmentConfig, MirrorConfig, PhraseConfig

NOTHING = AugmentConfig(brightness=0, contrast=0, shift=0)


def images(rows: int = 6, ticks: int = 2) -> Tensor:
    return torch.randint(0, 256, (rows, ticks, 3, 8, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augment(given: Tensor, config: AugmentConfig, draws: torch.Generator) -> Tensor:
    return changed_with_maps(given, config, draws, generator(99))[0]


def batch(given: dict[str, Tensor], places: Tensor | None = None, **changes: object) -> Batch[Tensor]:
    rows = len(next(iter(given.values())))
    words = ("go to the red one", "go left", "lift it", "push the blue box", "stop", "turn") * rows
    obs = Observation(images=given, state=torch.zeros(rows, 2, 2), instruction=words[:rows])
    targets = {} if places is None else {"image.cup": places}
    whole = Batch(obs, torch.zeros(rows, 3, 2), torch.zeros(rows, 3, dtype=torch.bool), torch.ones(rows), targets)
    return dataclasses.replace(whole, **changes)


def dots(places: Tensor, side: int = 40) -> Tensor:
    """Return black images (B, 1, 3, side, side) with one bright dot at each place (B, 2), right and down in 0 .. 1."""
    right, down = (places.T * side - 0.5)[:, :, None]
    axis = torch.arange(side)
    near = torch.exp(-((axis - right)[:, None, :] ** 2 + (axis - down)[:, :, None] ** 2) / 8)
    return (255 * near).to(torch.uint8)[:, None, None].expand(-1, 1, 3, -1, -1).contiguous()


def seen_at(given: Tensor) -> Tensor:
    """Return where the dots are, (B, 2): the centre of their light."""
    light = given[:, 0].float().mean(dim=1)
    light = light / light.sum(dim=(1, 2), keepdim=True)
    axis = (torch.arange(light.shape[1]) + 0.5) / light.shape[1]
    return torch.stack([(light.sum(dim=1) * axis).sum(dim=1), (light.sum(dim=2) * axis).sum(dim=1)], dim=1)


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(0, 0, shift=5),
        AugmentConfig(0, 0, crop=0.4),
        AugmentConfig(0, 0, crop=0.3, shift=3),
    ],
)
def test_labels_in_images_move_with_them(config: AugmentConfig) -> None:
    places = torch.rand(60, 2, generator=generator(1)) * 0.4 + 0.3
    given = {"front": dots(places), "wrist": dots(1 - places)}
    found = Augment(config)(batch(given, torch.cat([places, 1 - places], dim=1)), generator(), seed=4)
    for number, name in enumerate(given):
        label = found.targets["image.cup"][:, 2 * number : 2 * number + 2]
        inside = ((label > 0.25) & (label < 0.75)).all(dim=1)
        assert int(inside.sum()) > 20
        assert float((seen_at(found.obs.images[name]) - label)[inside].abs().max()) < 0.01
        assert float((label - (places if number == 0 else 1 - places)).abs().nan_to_num().max()) > 0.05


def test_labels_that_leave_the_image_are_not_known() -> None:
    places = torch.tensor([[0.02, 0.5], [0.5, 0.98], [math.nan, math.nan], [0.5, 0.5]]).repeat(20, 1)
    found = Augment(AugmentConfig(0, 0, shift=3))(batch({"front": dots(places, 10)}, places), generator(), seed=0)
    label = found.targets["image.cup"].reshape(20, 4, 2)
    assert 0 < int(label[:, 0].isnan().any(dim=1).sum()) < 20
    assert label[:, 2].isnan().all()
    assert not label[:, 3].isnan().any()
    assert (label.isnan().any(dim=-1) == label.isnan().all(dim=-1)).all()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (AugmentConfig(), [4290870152, 4020383166]),
        (AugmentConfig(0.25, 0.25), [495184327, 2272935274]),
        (AugmentConfig(0.3, 0, 2), [2794244428, 1763887433]),
        (AugmentConfig(0, 0, 3), [2946809302, 2293970003]),
    ],
)
def test_older_settings_change_images_as_they_always_did(config: AugmentConfig, wanted: list[int]) -> None:
    random = generator(3)
    given = {
        name: torch.randint(0, 256, (6, 2, 3, 8, 10), dtype=torch.uint8, generator=random)
        for name in ("front", "wrist")
    }
    found = Augment(config)(batch(given), generator(5), seed=1).obs.images
    assert [zlib.crc32(image.numpy().tobytes()) for image in found.values()] == wanted


def test_further_changes_leave_the_draws_of_older_ones_alone() -> None:
    given = batch({"front": images(), "wrist": images()})
    old = AugmentConfig(0.15, 0.15, shift=1, hue=0.7, hue_words=("red", "blue"))
    plain = Augment(old)(given, generator(5), seed=1).obs.images
    draws = generator(5)
    named = torch.tensor([bool({"red", "blue"} & set(words.split())) for words in given.obs.instruction])
    rows = (torch.rand(6, generator=draws) < 0.7) & ~named
    wanted = {name: turn_hues(image, rows, draws) for name, image in given.obs.images.items()}
    for name, image in wanted.items():
        assert torch.equal(augment(image, old, draws), plain[name])
    never = dict.fromkeys(("saturation", "crop", "blur", "noise", "cutout"), 0.0)
    more = replace(old, saturation=0.5, tint=0.1, crop=0.2, blur=2.0, noise=0.1, cutout=0.5, chances=never)
    found = Augment(more)(given, generator(5), seed=1).obs.images
    for name, image in plain.items():
        assert int((found[name].int() - image.int()).abs().max()) <= 1  # the colours take another way through float


def test_nothing_switched_on_changes_nothing() -> None:
    assert torch.equal(augment(images(), NOTHING, generator()), images())


def test_shape_and_type_stay_and_the_input_is_left_alone() -> None:
    given = images()
    changed = augment(given, AugmentConfig(0.3, 0.3, 2), generator())
    assert changed.shape == given.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(given, images())
    assert not torch.equal(changed, given)


def test_the_same_generator_state_gives_the_same_change() -> None:
    config = AugmentConfig(0.3, 0.3, 2)
    assert torch.equal(augment(images(), config, generator(5)), augment(images(), config, generator(5)))
    assert not torch.equal(augment(images(), config, generator(5)), augment(images(), config, generator(6)))


def test_rows_differ_and_ticks_of_a_row_do_not() -> None:
    still = images(ticks=1).expand(6, 4, 3, 8, 10)[:1].expand(6, 4, 3, 8, 10)
    changed = augment(still, AugmentConfig(0.3, 0.3, 2), generator())
    assert torch.equal(changed, changed[:, :1].expand_as(changed))
    assert len({row.numpy().tobytes() for row in changed}) == 6


def test_brightness_is_one_factor_a_row_and_stays_in_range() -> None:
    grey = torch.full((200, 1, 3, 2, 2), 100, dtype=torch.uint8)
    changed = augment(grey, AugmentConfig(brightness=0.2, contrast=0), generator())[:, 0, 0, 0, 0]
    assert changed.min() in range(80, 84)
    assert changed.max() in range(117, 121)
    white = torch.full((50, 1, 3, 2, 2), 255, dtype=torch.uint8)
    assert augment(white, AugmentConfig(brightness=0.2, contrast=0), generator()).max() == 255


def test_contrast_turns_about_mid_grey() -> None:
    ramp = torch.tensor([27, 127, 128, 228], dtype=torch.uint8).expand(300, 1, 3, 1, 4)
    changed = augment(ramp, AugmentConfig(brightness=0, contrast=0.5), generator())[:, 0, 0, 0].long()
    assert set(changed[:, 1].tolist()) == {127}
    assert set(changed[:, 2].tolist()) == {128}
    assert torch.all((changed[:, 0] + changed[:, 3] - 255).abs() <= 1)
    assert changed[:, 0].min() <= 1
    assert changed[:, 0].max() >= 75


def test_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    given = images(rows=64, ticks=1)
    changed = augment(given, AugmentConfig(0, 0, shift=2), generator())
    padded = torch.nn.functional.pad(given[:, 0].float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    seen: set[tuple[int, int]] = set()
    for row in range(64):
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(changed[row, 0], padded[row, :, down : down + 8, right : right + 10])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert {down for down, _ in seen} == {right for _, right in seen} == set(range(5))


def test_turned_hues_keep_the_luminance_and_leave_other_rows_alone() -> None:
    given = (images() // 3 + 80).contiguous()  # away from black and white, where turning would clip
    rows = torch.tensor([True, False, True, False, False, True])
    turned = turn_hues(given, rows, generator())
    assert torch.equal(turned[~rows], given[~rows])
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    before, after = ((image[rows].float() * weights).sum(dim=2) for image in (given, turned))
    assert float((before - after).abs().max()) < 2
    assert float((turned[rows].float() - given[rows].float()).abs().mean()) > 5


def test_grey_has_no_hue_to_turn() -> None:
    grey = images()[:, :, :1].expand(6, 2, 3, 8, 10).contiguous()
    turned = turn_hues(grey, torch.ones(6, dtype=torch.bool), generator())
    assert int((turned.int() - grey.int()).abs().max()) <= 1


FULL = AugmentConfig(0.2, 0.2, 1, saturation=0.5, tint=0.2, crop=0.3, blur=1.5, noise=0.05, cutout=0.5)


def test_everything_at_once_is_the_same_over_a_window_but_for_the_noise() -> None:
    still = images(ticks=1).expand(6, 3, 3, 8, 10).contiguous()
    config = replace(FULL, noise=None)
    found = augment(still, config, generator())
    assert found.shape == still.shape
    assert torch.equal(found, found[:, :1].expand_as(found))
    again, _ = changed_with_maps(still, config, generator(), generator(99))
    assert torch.equal(found, again)
    noisy = augment(still, replace(NOTHING, noise=0.1, chances={"noise": 1.0}), generator())
    assert not torch.equal(noisy, noisy[:, :1].expand_as(noisy))


def test_chances_are_those_of_a_row() -> None:
    given = torch.full((2000, 1, 3, 4, 4), 128, dtype=torch.uint8)
    given[..., 0] = 20
    for name, setting in {"cutout": 0.9, "blur": 1.0, "noise": 0.5, "saturation": 0.9, "crop": 0.6}.items():
        coloured = given.clone()
        coloured[:, :, 0] += 60
        config = replace(NOTHING, **{name: setting, "chances": {name: 0.3}})
        share = (augment(coloured, config, generator(2)) != coloured).flatten(1).any(dim=1).float().mean()
        assert 0.2 < float(share) < 0.34, name


def test_saturation_stretches_colours_away_from_grey_and_keeps_luminance() -> None:
    colour = torch.tensor([140, 110, 90], dtype=torch.uint8)[None, None, :, None, None].expand(300, 1, 3, 2, 2)
    found = augment(colour, replace(NOTHING, saturation=0.8), generator())[:, 0, :, 0, 0].float()
    light = found @ pixels.YIQ[0]
    assert float((light - float(torch.tensor([140.0, 110, 90]) @ pixels.YIQ[0])).abs().max()) < 1.5
    spread = found.max(dim=1).values - found.min(dim=1).values
    assert spread.min() < 20
    assert spread.max() > 80


def test_blur_keeps_the_mean_and_has_the_variance_asked_for() -> None:
    point = torch.zeros(3, 1, 41, 41)
    point[:, :, 20, 20] = 1.0
    variance = torch.tensor([0.25, 1.0, 4.0])
    found = pixels.blurred(point.clone(), variance)
    axis = torch.arange(41.0) - 20
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), torch.ones(3))
    torch.testing.assert_close((found[:, 0].sum(dim=1) * axis**2).sum(dim=1), variance, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((found[:, 0].sum(dim=2) * axis**2).sum(dim=1), variance, rtol=1e-4, atol=1e-4)
    assert found.min() >= 0


def test_a_crop_is_a_window_scaled_up() -> None:
    ramp = (torch.arange(64)[None, :] * 2 + torch.arange(64)[:, None]).to(torch.uint8).expand(20, 1, 3, 64, 64)
    found, where = pixels.cropped(ramp.contiguous(), 0.5, torch.ones(20, dtype=torch.bool), generator())
    slope = (found[:, 0, 0, 32, 48].float() - found[:, 0, 0, 32, 16].float()) / 64
    torch.testing.assert_close(slope, 1 / where[:, 0, 0], rtol=0.08, atol=0.02)
    assert where[:, 0, 0].max() <= 64 / 31


def test_turned_dots_lie_where_their_labels_say() -> None:
    places = torch.rand(40, 2, generator=generator(1)) * 0.3 + 0.35
    angles = torch.linspace(-1.0, 1.0, 40)
    found, where = pixels.turned(dots(places), angles)
    assert float((seen_at(found) - pixels.moved(places, where)).abs().max()) < 0.01
    right = pixels.moved(torch.tensor([[0.75, 0.5]]), pixels.turned(dots(places[:1]), torch.tensor([math.pi / 2]))[1])
    torch.testing.assert_close(right, torch.tensor([[0.5, 0.75]]))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (AugmentConfig(flip=0.5), "without a mirror map"),
        (AugmentConfig(turn=0.1), "without a mirror map"),
        (AugmentConfig(crop=1.0), "a crop below"),
        (AugmentConfig(cutout=1.5), "cutout"),
        (AugmentConfig(blur=-1.0), "blur"),
        (AugmentConfig(chances={"blurr": 0.5}), "there is no blurr"),
        (AugmentConfig(chances={"blur": 2.0}), "chances.blur"),
        (AugmentConfig(phrases=PhraseConfig(keep=0.4)), "keep 0.4 must be 0.5"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: AugmentConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Augment(config)


def test_a_mirror_map_alone_changes_nothing() -> None:
    given = batch({"front": images()})
    assert torch.equal(
        Augment(replace(NOTHING, mirror=MirrorConfig()))(given, generator(), seed=0).obs.images["front"], images()
    )
