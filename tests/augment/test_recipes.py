"""BYOL's and DINO's recipes: the views of each branch, and independence of branches that share a program."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from sslax.augment import (
    BYOLViews,
    DINOViews,
    LeJEPAViews,
    MAEViews,
    SimCLRViews,
    branch_view,
    check_views,
    make_views,
    sample_view,
    view_keys,
    view_sizes,
)
from sslax.errors import InputError

N = 1024


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)


def draws(branch):
    draw = functools.partial(sample_view, height=64, width=64, branch=branch)
    return jax.device_get(jax.jit(lambda key: jax.vmap(draw)(view_keys(key, N, views=1)[0]))(jax.random.key(1)))


def test_byols_views_differ_in_blur_and_solarisation():
    first, second = (draws(branch) for branch in BYOLViews(size=16).branches().values())
    assert (first.sigma > 0).all()
    assert 0.05 < (second.sigma > 0).mean() < 0.15
    assert first.solarize is None
    assert 0.15 < second.solarize.mean() < 0.25
    for view in (first, second):
        assert 0.15 < view.grayscale.mean() < 0.25
        changed = view.jitter.hue != 0
        assert 0.75 < changed.mean() < 0.85
        # TensorFlow's additive brightness, at most .4.
        assert np.abs(view.jitter.brightness).max() <= 0.4
        assert view.jitter.saturation.min() >= 0.8
        assert view.jitter.saturation.max() <= 1.2


def test_dinos_crops_are_two_global_and_many_local():
    branches = DINOViews().branches()
    assert list(branches) == ["global 1", "global 2", *(f"local {i}" for i in range(1, 9))]
    assert [b.size for b in branches.values()] == [224, 224, *[96] * 8]
    assert [b.blur for b in branches.values()] == [1.0, 0.1, *[0.5] * 8]
    assert [b.solarize for b in branches.values()] == [0.0, 0.2, *[0.0] * 8]
    areas = {}
    for name in ("global 1", "local 1"):
        _, _, height, width = draws(dataclasses.replace(branches[name], size=16)).box.T
        areas[name] = height * width / 64**2
    # On a canvas of 64 pixels, rounding to integer pixels changes a box by a few per cent of its area.
    assert 0.38 < areas["global 1"].min() < 0.45
    assert areas["global 1"].max() > 0.9
    assert 0.04 < areas["local 1"].min() < 0.07
    assert 0.35 < areas["local 1"].max() < 0.43


def test_dino_without_multi_crop():
    assert list(DINOViews(local_crops=0, global_area=(0.14, 1.0)).branches()) == ["global 1", "global 2"]


def test_maes_view_is_a_crop_and_a_flip():
    (branch,) = MAEViews().branches().values()
    assert (branch.size, branch.crop_area, branch.flip, branch.interpolation) == (224, (0.2, 1.0), 0.5, "bicubic")
    assert branch.jitter == branch.grayscale == branch.blur == branch.solarize == 0


def test_lejepas_crops_differ_in_size_and_area_alone():
    crops = LeJEPAViews(global_crops=3, local_crops=2).branches()
    assert list(crops) == ["global 1", "global 2", "global 3", "local 1", "local 2"]
    large, small = crops["global 1"], crops["local 1"]
    assert (large.size, large.crop_area) == (224, (0.3, 1.0))
    assert dataclasses.replace(large, size=96, crop_area=(0.05, 0.3)) == small == crops["local 2"]
    assert (large.blur, large.solarize, large.blur_kernel) == (0.5, 0.2, 13)


def test_every_view_depends_only_on_its_branch(images):
    """Each view equals the view of its branch alone with the same keys, however branches share programs."""
    # Two global views that share a program although their blur and solarisation differ, and two local ones of another.
    recipe = DINOViews(size=12, local_size=8, local_crops=2, contrast=0.0, saturation=0.0, hue=0.0)
    branches = list(recipe.branches().values())

    @jax.jit
    def run(key, images):
        keys = view_keys(jax.random.split(key)[0], len(images), views=len(branches))
        wanted = []
        for branch, own in ((branches[0], keys[:1]), (branches[1], keys[1:2]), (branches[2], keys[2:])):
            one = jax.vmap(functools.partial(branch_view, branch=branch))
            wanted += list(jax.vmap(one, (0, None))(own, images))
        return make_views(key, images, recipe), wanted

    assert branches[2] == branches[3]
    views, wanted = run(jax.random.key(3), images)
    for branch, view, alone in zip(branches, views, wanted, strict=True):
        assert view.shape == (6, branch.size, branch.size, 3)
        np.testing.assert_allclose(view, alone, atol=2e-5)


def test_normalisation_comes_last(images):
    recipe = BYOLViews(size=12, jitter=0.0, blur=(0.0, 0.0), solarize=(0.0, 1.0))
    recipes = (recipe, dataclasses.replace(recipe, mean=None, std=None))
    run = jax.jit(lambda images: [make_views(jax.random.key(3), images, r) for r in recipes])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for a, b in zip(*jax.device_get(run(images)), strict=True):
        np.testing.assert_allclose(a, (b - mean) / std, atol=1e-5)
        assert -1e-6 < b.min() < b.max() < 1 + 1e-6


def test_sizes_of_a_recipes_views():
    assert view_sizes(DINOViews()) == (224, 96)
    assert view_sizes(DINOViews(local_crops=0)) == (224,)
    assert view_sizes(BYOLViews.small(32)) == (32,)
    assert view_sizes(DINOViews.small(32)) == (32, 16)


@pytest.mark.parametrize(
    "recipe",
    [BYOLViews(), BYOLViews.small(), DINOViews(), DINOViews.small(), SimCLRViews.small(), LeJEPAViews(), MAEViews()],
)
def test_default_recipes_are_valid(recipe):
    check_views(recipe, 256)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (BYOLViews(blur=(1.0, 1.2)), r"method.views.blur is \(1.0, 1.2\); it must be 2 probabilities"),
        (BYOLViews(brightness=-1.0), "method.views.brightness is -1.0"),
        (BYOLViews(hue=0.6), r"method.views.hue is 0.6; it must be in \[0, 0.5\]"),
        (DINOViews(local_size=300), "method.views.local_size is 300; it must be from 1 to 256 pixels"),
        (DINOViews(global_area=(0.0, 1.0)), "method.views.global_area"),
        (LeJEPAViews(global_crops=0), "method.views.global_crops is 0; it must be an integer of at least 1"),
        (LeJEPAViews(blur_kernel=4), "method.views.blur_kernel is 4; it must be an odd number of pixels"),
        (MAEViews(crop_area=(0.2, 1.5)), "method.views.crop_area"),
        (DINOViews(local_crops=-1), "method.views.local_crops is -1; it must be an integer of at least 0"),
    ],
)
def test_invalid_recipes(recipe, said):
    with pytest.raises(InputError, match=said):
        check_views(recipe, 256)
