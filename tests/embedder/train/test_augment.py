"""Each switch changes a picture in its own way, a switch at 0 changes nothing, and the same draw changes it again."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.train.augment import MASK_TOP, mix, transforms  # noqa: E402
from embedder.train.config import Augment  # noqa: E402
from tests.embedder.train.drawing import stripes  # noqa: E402

pytestmark = pytest.mark.train

SIDE = 64
OFF = Augment(**{item.name: 0.0 for item in dataclasses.fields(Augment)})
ALONE = [item.name for item in dataclasses.fields(Augment) if item.name not in ("mixup", "cutmix")]


def only(**switch: float) -> Augment:
    return dataclasses.replace(OFF, **switch)


def picture(kind: int = 3) -> Any:
    """uint8 (3, SIDE, SIDE)"""
    return torch.from_numpy(stripes(kind, 0, SIDE).transpose(2, 0, 1).copy())


def changed(augment: Augment, seed: int = 0, shown: Any = None) -> Any:
    torch.manual_seed(seed)
    return transforms(augment, SIDE)(picture() if shown is None else shown)


def differs(one: Any, other: Any) -> Any:
    """(SIDE, SIDE): where any channel does."""
    return (one != other).any(0)


def test_all_switches_off_change_nothing() -> None:
    assert torch.equal(changed(OFF), picture())
    batch = torch.rand(4, 3, 8, 8)
    mixed, how = mix(batch, OFF, np.random.default_rng(0))
    assert mixed is batch
    assert how is None


@pytest.mark.parametrize("switch", ALONE)
def test_each_switch_changes_the_picture_and_keeps_its_shape_and_kind(switch: str) -> None:
    before = picture()
    after = changed(
        only(**{switch: 1.0 if switch not in ("crop", "rotation") else {"crop": 0.3, "rotation": 30}[switch]})
    )
    assert after.shape == before.shape
    assert after.dtype == torch.uint8
    assert differs(before, after).any()


@pytest.mark.parametrize("switch", ALONE)
def test_the_same_draw_makes_the_same_change_and_another_draw_another(switch: str) -> None:
    augment = only(**{switch: 15.0 if switch == "rotation" else 0.5})
    assert torch.equal(changed(augment, 7), changed(augment, 7))
    assert len({changed(augment, seed).numpy().tobytes() for seed in range(12)}) > 1


@pytest.mark.parametrize("switch", [name for name in ALONE if name not in ("crop", "rotation", "colour")])
def test_a_chance_is_how_often_a_picture_is_changed(switch: str) -> None:
    augment, before = only(**{switch: 0.25}), picture()
    times = sum(bool(differs(before, changed(augment, seed)).any()) for seed in range(120))
    assert 14 <= times <= 48  # 30 ± 4 of chance


def test_flip_mirrors() -> None:
    assert torch.equal(changed(only(flip=1.0)), picture().flip(2))


def test_crop_keeps_at_least_its_share_of_the_area() -> None:
    # Pixels that say where they were: red is x and green is y.
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8)
    where = torch.stack([ramp.expand(SIDE, SIDE), ramp[:, None].expand(SIDE, SIDE), torch.zeros(SIDE, SIDE)]).byte()
    shares = []
    for seed in range(60):
        seen = changed(only(crop=0.4), seed, where).int()
        wide, tall = (int(seen[c].max() - seen[c].min()) / 252 for c in (0, 1))
        shares.append(wide * tall)
    assert min(shares) > 0.4 * 0.88  # the outermost pixels' centres lie within what was kept
    assert min(shares) < 0.6
    assert max(shares) > 0.8


def test_rotation_turns_about_the_middle_by_no_more_than_its_degrees() -> None:
    line = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    line[:, SIDE // 2 - 1 : SIDE // 2 + 1] = 255
    angles = []
    for seed in range(40):
        y, x = np.nonzero(changed(only(rotation=20.0), seed, line)[0].numpy() > 128)
        angles.append(np.degrees(np.arctan(np.polyfit(x, y, 1)[0])))
        assert abs(y.mean() - (SIDE - 1) / 2) < 1
    assert max(np.abs(angles)) < 21
    assert min(angles) < -8
    assert max(angles) > 8


def test_colour_moves_brightness_and_hue_and_leaves_edges_where_they_are() -> None:
    flat = torch.full((3, SIDE, SIDE), 100, dtype=torch.uint8)
    flat[0, : SIDE // 2] = 180
    means = []
    for seed in range(20):
        after = changed(only(colour=0.4), seed, flat)
        rows = after.float().std(2)
        assert float(rows.max()) == 0  # every row is still of one colour
        assert differs(after[:, :1], after[:, -1:]).all()
        means.append(float(after.float().mean()))
    assert max(means) - min(means) > 20


def test_blur_takes_away_high_frequencies_and_keeps_the_mean() -> None:
    noise = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        after = changed(only(blur=1.0), seed, noise)
        before_power, after_power = (_power(image) for image in (noise, after))
        assert after_power[1] < before_power[1]
        assert abs(float(after.float().mean() - noise.float().mean())) < 2
    strongest = min(_power(changed(only(blur=1.0), seed, noise))[1] for seed in range(10))
    assert strongest < 0.1 * _power(noise)[1]


def test_low_resolution_leaves_only_what_a_small_picture_holds() -> None:
    noise = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        after = changed(only(low_resolution=1.0), seed, noise)
        assert after.shape == noise.shape
        assert _power(after)[1] < 0.35 * _power(noise)[1]


def _power(image: Any) -> tuple[float, float]:
    """Power of the lower and of the upper half of the frequencies."""
    spectrum = np.abs(np.fft.fft2(image.float().numpy().mean(0))) ** 2
    away = np.abs(np.fft.fftfreq(SIDE))
    high = np.maximum(away[:, None], away[None, :]) > 0.25
    spectrum[0, 0] = 0
    return float(spectrum[~high].sum()), float(spectrum[high].sum())


def test_occlusion_hides_a_box_of_at_most_a_quarter() -> None:
    shares = []
    for seed in range(60):
        hidden = differs(picture(), changed(only(occlusion=1.0), seed)).numpy()
        rows, columns = hidden.any(1).nonzero()[0], hidden.any(0).nonzero()[0]
        area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert hidden.sum() > 0.98 * area  # a pixel may have been grey before
        shares.append(area / SIDE**2)
    assert max(shares) < 0.27  # whole pixels
    assert min(shares) > 0.04


def test_a_mask_covers_the_lower_face_with_one_colour() -> None:
    colours = set()
    for seed in range(8):
        after = changed(only(mask=1.0), seed)
        top = round(SIDE * MASK_TOP)
        assert not differs(picture(), after)[:top].any()
        middle = after[:, top:, SIDE // 4 : -SIDE // 4].flatten(1)
        assert (middle == middle[:, :1]).all()
        colours.add(tuple(middle[:, 0].tolist()))
    assert len(colours) == 8


def test_a_mask_is_put_on_before_the_picture_is_turned_and_coloured() -> None:
    # A mask belongs to the face, so whatever else happens to the picture happens to the mask too.
    white = torch.full((3, SIDE, SIDE), 255, dtype=torch.uint8)
    after = changed(only(mask=1.0, blur=1.0), 3, white)
    edge = after[:, round(SIDE * MASK_TOP) - 1 : round(SIDE * MASK_TOP) + 1, SIDE // 2].float()
    inside = after[:, -1, SIDE // 2].float()
    assert ((edge > inside[:, None]) & (edge < 255)).any()


def test_grey_leaves_no_colour() -> None:
    after = changed(only(grey=1.0))
    assert (after == after[:1]).all()


def test_jpeg_leaves_what_a_jpeg_leaves() -> None:
    after = changed(only(jpeg=1.0))
    error = (after.float() - picture().float()).abs().mean()
    assert 0.5 < float(error) < 40


def test_mixup_is_the_weighted_sum_of_two_pictures() -> None:
    batch = torch.rand(6, 3, 8, 8)
    shares = []
    for seed in range(30):
        mixed, how = mix(batch, only(mixup=0.4), np.random.default_rng(seed))
        assert how is not None
        assert sorted(how.other.tolist()) == list(range(6))
        assert torch.equal(mixed, how.share * batch + (1 - how.share) * batch[how.other])
        shares.append(how.share)
    assert 0 <= min(shares) < 0.2
    assert 0.8 < max(shares) <= 1


def test_mixup_draws_its_share_from_the_beta_distribution() -> None:
    batch = torch.rand(2, 1, 2, 2)
    shares = np.array([mix(batch, only(mixup=0.4), np.random.default_rng(s))[1].share for s in range(2000)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.01  # of Beta(a, a)


def test_cutmix_pastes_a_box_whose_area_is_the_other_ones_share() -> None:
    batch = torch.arange(6.0)[:, None, None, None].expand(6, 3, 20, 20)
    for seed in range(40):
        mixed, how = mix(batch, only(cutmix=1.0), np.random.default_rng(seed))
        assert how is not None
        for row in range(6):
            if int(how.other[row]) == row:
                continue
            pasted = mixed[row] == float(how.other[row])
            kept = mixed[row] == float(row)
            assert (pasted | kept).all()
            assert float(kept.float().mean()) == pytest.approx(how.share, abs=1e-6)
            tall, wide = pasted[0].any(1).sum(), pasted[0].any(0).sum()
            assert int(pasted[0].sum()) == int(tall * wide)
