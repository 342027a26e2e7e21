"""Ops on one branch only: the crop that both views share, the order of the ops, and the checks of the recipe."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.augment import (
    SimCLRViews,
    branch_views,
    check_views,
    crop_and_resize,
    gaussian_blur,
    make_views,
    normalize,
    render_view,
    sample_view,
    sobel,
    to_grayscale,
    view_keys,
    view_sizes,
)
from sslax.augment.records import Op
from sslax.errors import InputError

SIZE = 12
RECIPE = SimCLRViews(size=SIZE, strength=0.5)
KEY = jax.random.key(5)
OPS = Op.__args__


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8))


@functools.cache
def views(*ops, **fields):
    return jax.jit(functools.partial(make_views, recipe=dataclasses.replace(RECIPE, one_branch=ops, **fields)))


def drawn(images, *ops, **fields):
    """The draws for view 1 from the keys of KEY, and the shared crop."""
    branch = dataclasses.replace(RECIPE, one_branch=ops, **fields).branches()["view 1"]
    keys = view_keys(jax.random.split(KEY)[0], len(images), views=3)
    draw = functools.partial(sample_view, height=20, width=20, branch=branch)
    view = jax.jit(jax.vmap(lambda key, crop_key: draw(key, crop_key=crop_key)))(keys[0], keys[2])
    crop = jax.jit(jax.vmap(functools.partial(crop_and_resize, size=SIZE)))(images / 255, view.box).clip(0, 1)
    return view, crop


def test_both_views_share_one_crop(images):
    """View 2 is the crop for any ops of view 1, which apply to the same crop."""
    first, second = views("sobel")(KEY, images)
    view, crop = drawn(images, "sobel")
    assert len(np.unique(view.box, axis=0)) > 1
    np.testing.assert_allclose(second, crop, atol=1e-6)
    np.testing.assert_allclose(first, jax.vmap(sobel)(crop), atol=1e-5)
    np.testing.assert_array_equal(views("rotate")(KEY, images)[1], second)


@pytest.mark.parametrize("op", OPS)
def test_an_op_is_always_applied_and_stays_in_the_range(op, images):
    first, second = views(op)(KEY, images)
    for view in (first, second):
        assert view.shape == (6, SIZE, SIZE, 3)
        assert view.dtype == jnp.float32
        assert np.isfinite(view).all()
        assert -1e-6 < view.min() < view.max() < 1 + 1e-6
    changed = np.abs(first - second).max(axis=(1, 2, 3)) > 1e-3
    # The number of quarter turns may be 0, and the colour ops have their own probability.
    assert changed.any() if op in ("rotate", "color") else changed.all()


@pytest.mark.parametrize("ops", [("crop", "color"), ("noise", "sobel"), ("rotate", "cutout"), ("blur", "blur")])
def test_pairs_in_either_order(ops, images):
    first, _ = views(*ops)(KEY, images)
    assert np.isfinite(first).all()
    assert -1e-6 < first.min() < first.max() < 1 + 1e-6
    if ops[0] != ops[1]:
        other, _ = views(*reversed(ops))(KEY, images)
        assert np.abs(first - other).max() > 0.01


def test_ops_are_applied_one_after_the_other(images):
    view, crop = drawn(images, "blur", "sobel")
    sigma, nothing = view.composed
    assert nothing == ()
    blur = jax.vmap(functools.partial(gaussian_blur, radius=1))
    np.testing.assert_allclose(
        views("blur", "sobel")(KEY, images)[0], jax.vmap(sobel)(blur(crop, sigma).clip(0, 1)), atol=1e-5
    )
    view, crop = drawn(images, "sobel", "blur")
    wanted = blur(jax.vmap(sobel)(crop), view.composed[1])
    np.testing.assert_allclose(views("sobel", "blur")(KEY, images)[0], wanted, atol=1e-5)


def test_the_crop_crops_the_crop_and_flips_it(images):
    view, crop = drawn(images, "crop", flip=1.0)
    ((boxes, flips),) = view.composed
    assert flips.all()
    assert boxes[:, 2:].min() < SIZE
    wanted = jax.jit(jax.vmap(functools.partial(crop_and_resize, size=SIZE)))(crop, boxes).clip(0, 1)[:, :, ::-1]
    np.testing.assert_allclose(views("crop", flip=1.0)(KEY, images)[0], wanted, atol=1e-5)


def test_color_is_jitter_then_grayscale_with_their_probabilities(images):
    branch = dataclasses.replace(RECIPE, one_branch=("color",)).branches()["view 1"]
    draw = functools.partial(sample_view, height=20, width=20, branch=branch)
    ((jitter, gray),) = jax.jit(jax.vmap(draw))(jax.random.split(KEY, 2048)).composed
    assert abs((jitter.hue != 0).mean() - RECIPE.jitter) < 0.04
    assert abs(gray.mean() - RECIPE.grayscale) < 0.04
    assert jitter.brightness.max() <= 1.4
    # Without the jitter, only grayscale remains.
    first, crop = views("color", jitter=0.0, grayscale=1.0)(KEY, images)
    np.testing.assert_allclose(first, jax.vmap(to_grayscale)(crop), atol=1e-6)


def test_each_image_has_its_own_blur_and_noise():
    branch = dataclasses.replace(RECIPE, blur=0.0, one_branch=("blur", "noise")).branches()["view 1"]
    draw = functools.partial(sample_view, height=20, width=20, branch=branch)
    sigma, (noise, level) = jax.device_get(jax.jit(jax.vmap(draw))(jax.random.split(KEY, 1024)).composed)
    for values, low, high in ((sigma, 0.1, 2.0), (level, 0.0, 0.2)):
        shares = np.sort((values - low) / (high - low))
        assert np.abs(shares - (np.arange(1024) + 0.5) / 1024).max() < 1.95 / 32
    assert abs(noise.std() - 1) < 0.01
    assert np.abs(np.corrcoef(sigma, level)[0, 1]) < 4.5 / 32
    assert len(np.unique(noise[:, 0, 0, 0])) > 1000


def test_normalisation_comes_last_and_aspects_reach_the_shared_crop(images):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    aspects = jnp.linspace(0.5, 2.0, len(images))
    raw = views("sobel")(KEY, images, aspects=aspects)
    normalised = views("sobel", mean=mean, std=std)(KEY, images, aspects=aspects)
    for a, b in zip(normalised, raw, strict=True):
        np.testing.assert_allclose(a, jax.vmap(functools.partial(normalize, mean=mean, std=std))(b), atol=1e-5)
    assert np.abs(raw[1] - views("sobel")(KEY, images)[1]).max() > 0.01


def test_the_recipe_lists_its_views():
    recipe = dataclasses.replace(RECIPE, one_branch=("crop", "blur"))
    assert view_sizes(recipe) == (SIZE,)
    branches = recipe.branches()
    assert [b.composed for b in branches.values()] == [("crop", "blur"), ()]
    assert list(branches) == list(RECIPE.branches())
    assert all(branch.composed is None for branch in RECIPE.branches().values())
    # A kernel of one pixel would not blur.
    assert branches["view 1"].blur_kernel == 3
    for ops in (*itertools.product(OPS, OPS), *((op,) for op in OPS), ()):
        check_views(dataclasses.replace(RECIPE, one_branch=ops), 20)


@pytest.mark.parametrize(
    "ops", [("crop", "color", "blur"), ("solarize",), "crop", ["crop"], None, (1,), ("",), ("crop", None)]
)
def test_invalid_one_branch(ops):
    recipe = dataclasses.replace(RECIPE)
    object.__setattr__(recipe, "one_branch", ops)
    with pytest.raises(InputError, match=r"method\.views\.one_branch is .*; it must be empty, or one or two of crop, "):
        check_views(recipe, 20)


def test_color_without_effect_is_refused():
    recipe = dataclasses.replace(RECIPE, one_branch=("color",), jitter=0.0)
    check_views(recipe, 20)
    with pytest.raises(InputError, match=r"method\.views\.one_branch is .*without color"):
        check_views(dataclasses.replace(recipe, grayscale=0.0), 20)


def test_a_single_branch_draws_its_own_crop(images):
    """`branch_views` with a single composed branch works like any other."""
    branch = dataclasses.replace(RECIPE, one_branch=("crop",)).branches()["view 2"]
    (view,) = jax.jit(lambda images: branch_views(KEY, images, [branch]))(images)
    keys = view_keys(jax.random.split(KEY)[0], len(images), views=2)
    draw = functools.partial(sample_view, height=20, width=20, branch=branch)
    own = jax.jit(jax.vmap(lambda key, crop_key: draw(key, crop_key=crop_key)))(keys[0], keys[1])
    wanted = jax.jit(jax.vmap(functools.partial(render_view, branch=branch)))(images / 255, own)
    np.testing.assert_allclose(view, wanted, atol=1e-6)
