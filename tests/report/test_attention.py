"""Attention overlays: brighter means more attention, for every image, size and scale of the map."""

import jaxtyping
import numpy as np
import pytest

from sslax.report import attention_overlay


def _maps(n=1, heads=1, height=4, width=4, value=0.0):
    return np.full((n, heads, height, width), value, np.float32)


def _images(n=1, height=64, width=64, level=None):
    if level is not None:
        return np.full((n, height, width, 3), level, np.uint8)
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((8, 8), (64, 64)),
        ((28, 28), (84, 84)),
        ((63, 10), (126, 20)),
        ((64, 64), (64, 64)),
        ((3, 100), (3, 100)),
        ((1, 1), (64, 64)),
    ],
)
def test_first_column_is_the_image_enlarged_without_smoothing(size, shown):
    images = _images(2, *size)
    overlay = attention_overlay(images, _maps(2, 3, 2, 5, value=1.0))
    assert overlay.shape == (2, 4, *shown, 3)
    assert overlay.dtype == np.uint8
    factor = shown[0] // size[0]
    np.testing.assert_array_equal(overlay[:, 0], images.repeat(factor, axis=1).repeat(factor, axis=2))


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_more_attention_is_brighter_on_black_and_on_white(level):
    attention = _maps(width=8)
    attention[..., :] = np.arange(8)
    row = attention_overlay(_images(level=level), attention)[0, 1, 32].astype(int)
    # Every channel increases from left to right, and the highest attention differs clearly from the lowest.
    assert (np.diff(row, axis=0) >= 0).all()
    assert row[-1].sum() - row[0].sum() > 200
    assert (row[0] <= 0.3 * level + 1).all()


def test_each_head_brightens_its_own_patch_of_its_own_image():
    attention = _maps(2, 2, 4, 8)
    places = {(0, 0): (0, 0), (0, 1): (3, 7), (1, 0): (2, 1), (1, 1): (1, 5)}
    for (image, head), (row, column) in places.items():
        attention[image, head, row, column] = 0.25
    overlay = attention_overlay(_images(2, 64, 128, level=90), attention).sum(axis=-1, dtype=int)
    for (image, head), (row, column) in places.items():
        light = overlay[image, head + 1]
        lit = np.argwhere(light == light.max())
        assert (lit // 16 == (row, column)).all()
        # No pixel centre coincides with the patch centre, but the brightest pixel still has the maximum.
        assert light.max() == sum(int(0.55 * 90 + 0.45 * lamp + 0.5) for lamp in (255, 190, 60))
        # The brightness falls to zero within the neighbouring patches.
        far = np.ones_like(light, bool)
        far[max(0, 16 * row - 8) : 16 * row + 24, max(0, 16 * column - 8) : 16 * column + 24] = False
        assert (light[far] == 3 * 27).all()


def test_each_map_is_scaled_by_its_own_maximum():
    attention = np.random.default_rng(1).uniform(size=(2, 2, 5, 5))
    images = _images(2)
    expected = attention_overlay(images, attention)
    # Exact powers of two, one of them below what float32 can hold.
    scales = np.array([[1.0, 2.0**-10], [2.0**40, 2.0**-200]])[..., None, None]
    np.testing.assert_array_equal(attention_overlay(images, attention * scales), expected)
    half = attention.astype(np.float16)
    np.testing.assert_array_equal(attention_overlay(images, half), attention_overlay(images, half.astype(np.float64)))


def test_a_constant_map_brightens_everything_and_a_zero_map_nothing():
    images = _images(1, 8, 8)
    lit, unlit = (attention_overlay(images, _maps(value=value))[0, 1] for value in (1e-3, 0.0))
    large = images[0].repeat(8, axis=0).repeat(8, axis=1)
    np.testing.assert_array_equal(unlit, (0.3 * large + 0.5).astype(np.uint8))
    np.testing.assert_allclose(lit, 0.55 * large + 0.45 * np.array([255, 190, 60]), atol=0.51)


def test_brightness_is_linear_between_patches():
    attention = _maps(height=1, width=2)
    attention[..., 1] = 1
    row = attention_overlay(_images(level=0), attention)[0, 1, 0, :, 0]
    # Patch centres are at 16 and 48 pixels; outside of them the brightness is constant.
    light = np.clip((np.arange(64) + 0.5 - 16) / 32, 0, 1)
    np.testing.assert_allclose(row, 0.45 * 255 * light, atol=0.51)


def test_zero_images_or_zero_heads():
    assert attention_overlay(_images(0), _maps(0, 2)).shape == (0, 3, 64, 64, 3)
    assert attention_overlay(_images(2), _maps(2, 0)).shape == (2, 1, 64, 64, 3)


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (_maps(2), "attention has maps of 2 images, but images has 1; the numbers"),
        (_maps(value=np.nan), "negative or not finite"),
        (_maps(value=np.inf), "negative or not finite"),
        (_maps(value=-1e-3), "negative or not finite"),
    ],
)
def test_invalid_attention_raises(attention, message, monkeypatch):
    # Only the tests check the annotated shapes; a user sees these messages instead.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        attention_overlay(_images(), attention)
