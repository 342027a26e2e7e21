"""Colours of patch features: against NumPy's float64 SVD, and where each patch is drawn."""

import jaxtyping
import numpy as np
import pytest

from sslax.report import patch_pictures
from sslax.report.patches import patch_colours, sheet, sheet_side


def features(n=2, rows=3, columns=4, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rows, columns, d)) * np.array([9.0, 5.0, 3.0, 1.0, 1.0, 1.0])[:d]


def reference(x):
    """Colours by the SVD in float64, with the component's largest entry positive."""
    centred = x - x.mean(axis=0)
    components = np.linalg.svd(centred, full_matrices=False)[2][:3]
    signs = [np.sign(component[np.abs(component).argmax()]) for component in components]
    coordinates = centred @ (components * np.array(signs)[:, None]).T
    low, high = np.percentile(coordinates, [1, 99], axis=0)
    return np.clip((coordinates - low) / (high - low), 0, 1)


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_colours_equal_the_float64_svd_over_all_images_together(scale):
    x = features()
    wanted = reference(x.reshape(-1, 6)).reshape(2, 3, 4, 3)
    np.testing.assert_allclose(patch_colours((x * scale + scale).astype(np.float32)), wanted, atol=1e-4)


def test_foreground_is_the_part_with_fewer_patches_at_the_edges():
    x = features(n=1, rows=6, columns=6)
    inside = np.zeros((6, 6), bool)
    inside[2:4, 1:4] = True
    for sign in (1, -1):
        x[0, ..., 0] = np.where(inside, sign * 900, 0) + x[0, ..., 1]
        for part, shown in (("inner", inside), ("outer", ~inside)):
            colours = patch_colours(x, foreground=part)[0]
            assert (colours[~shown] == 0).all()
            np.testing.assert_allclose(colours[shown], reference(x[0][shown]), atol=1e-4)


def test_channels_without_spread_or_component_are_gray():
    x = features()
    flat = np.zeros_like(x)
    flat[..., 0] = x[..., 0]
    assert (patch_colours(flat)[..., 1:] == 0.5).all()
    assert (patch_colours(x[..., :2])[..., 2] == 0.5).all()
    constant = np.full_like(x, 7.3)
    assert (patch_colours(constant) == 0.5).all()
    assert (patch_colours(constant, foreground="inner") == 0).all()


def test_each_patch_is_a_square_at_its_place_beside_the_image():
    x = features()
    images = np.random.default_rng(1).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    pictures = patch_pictures(images, x)
    assert pictures.shape == (2, 2, 48, 64, 3)
    np.testing.assert_array_equal(pictures[:, 0], images.repeat(2, axis=1).repeat(2, axis=2))
    squares = (patch_colours(x) * 255 + 0.5).astype(np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    np.testing.assert_array_equal(pictures[:, 1], squares)

    page = np.asarray(sheet(pictures.repeat(2, axis=0)))
    assert page.shape == (2 * 60 + 12, 3 * (2 * 64 + 36) + 12, 3)
    np.testing.assert_array_equal(page[12:60, 12 + 64 + 12 :][:, :64], pictures[0, 1])
    # The fourth pair starts the second row.
    np.testing.assert_array_equal(page[72:120, 12:76], pictures[1, 0])
    assert [sheet_side(grid) for grid in (1, 7, 64, 300)] == [256, 259, 256, 300]


@pytest.mark.parametrize(
    ("patches", "options", "message"),
    [
        (features(n=3), {}, "patches has features of 3 images, but images has 2; the numbers must be the same"),
        (features(rows=1, columns=1)[:, :0], {}, "patches has 0 patches; principal components need at least 2"),
        (features() * np.nan, {}, "patches has values that are not finite"),
        (features(), {"foreground": "object"}, "foreground is 'object'; it must be"),
    ],
)
def test_invalid_patches_raise(patches, options, message, monkeypatch):
    # Only the tests check the annotated shapes; a user sees these messages instead.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        patch_pictures(np.zeros((2, 8, 8, 3), np.uint8), patches, **options)
