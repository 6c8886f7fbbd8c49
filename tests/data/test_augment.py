from __future__ import annotations

import torch
from torch import Tensor

from sinew.data.augment import augment, turn_hues
from sinew.data.config import AugmentConfig

NOTHING = AugmentConfig(brightness=0, contrast=0, shift=0)


def images(rows: int = 6, ticks: int = 2) -> Tensor:
    return torch.randint(0, 256, (rows, ticks, 3, 8, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
