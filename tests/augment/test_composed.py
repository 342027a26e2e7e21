"""Ops on one branch only: the crop that both views share, the order of the ops, and the checks of the recipe."""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
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
from sslax.augment.composed import render_ops, sample_ops
from sslax.augment.records import Op
from sslax.errors import InputError

SIZE = 12
RECIPE = SimCLRViews(size=SIZE, strength=0.5)
KEY = jax.random.key(5)
OPS = Op.__args__


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)


def branch(*ops, **fields):
    return dataclasses.replace(RECIPE, one_branch=ops, **fields).branches()["view 1"]


PAIRS = [("crop", "cutout"), ("blur", "sobel"), ("sobel", "blur"), ("blur", "blur")]
BRANCHES = {
    "none": dataclasses.replace(RECIPE, one_branch=("crop",)).branches()["view 2"],
    **{ops: branch(*ops) for ops in [*((op,) for op in OPS), *PAIRS]},
    ("crop",): branch("crop", flip=1.0),
    "gray": branch("color", jitter=0.0, grayscale=1.0),
}


# Made by `branch_views`; of the others the ops alone, on the same crop, as every branch is a program of its own.
WHOLE = ("none", ("sobel",), ("blur", "sobel"))


class Made(NamedTuple):
    """The views of all branches, what is wanted of some, the shared crop's boxes, and what the crop of the crop drew."""

    views: dict
    wanted: dict
    boxes: np.ndarray
    again: tuple


@pytest.fixture(scope="module")
def made(images):
    """One program for all branches, which share each image's crop, as the two views of a recipe do."""
    branches = {name: BRANCHES[name] for name in WHOLE}
    others = [name for name in BRANCHES if name not in WHOLE]

    @jax.jit
    def run(images):
        *keys, crop_keys = view_keys(jax.random.split(KEY)[0], len(images), views=len(branches) + 1)

        def resized(images, boxes):
            return jax.vmap(functools.partial(crop_and_resize, size=SIZE))(images, boxes).clip(0, 1)

        def drawn(name):
            draw = functools.partial(sample_view, height=20, width=20, branch=branches[name])
            return jax.vmap(lambda key, crop_key: draw(key, crop_key=crop_key))(keys[WHOLE.index(name)], crop_keys)

        boxes, (sigma, nothing) = drawn("none").box, drawn(("blur", "sobel")).composed
        assert nothing == ()
        crop = resized(images / 255, boxes)
        views, draws = dict(zip(WHOLE, branch_views(KEY, images, list(branches.values())), strict=True)), {}
        for number, name in enumerate(others):
            own = jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys[0])
            draws[name] = jax.vmap(functools.partial(sample_ops, branch=BRANCHES[name]))(own)
            render = functools.partial(render_ops, branch=BRANCHES[name])
            views[name] = jax.vmap(render)(crop, draws[name])
        blur, edges = jax.vmap(functools.partial(gaussian_blur, radius=1)), jax.vmap(sobel)
        again = draws["crop",][0]
        wanted = (
            crop,
            edges(crop),
            edges(blur(crop, sigma).clip(0, 1)),
            blur(edges(crop), draws["sobel", "blur"][1]),
            resized(crop, again[0])[:, :, ::-1],
            jax.vmap(to_grayscale)(crop),
        )
        return tuple(views[name] for name in BRANCHES), wanted, boxes, again

    views, wanted, *draws = jax.device_get(run(images))
    checked = (*WHOLE, ("sobel", "blur"), ("crop",), "gray")
    return Made(dict(zip(BRANCHES, views, strict=True)), dict(zip(checked, wanted, strict=True)), *draws)


def test_ops_are_applied_to_the_shared_crop_one_after_the_other(made):
    """None at all, one, and two in either order, from their draws; the crop crops the crop and flips it."""
    assert len(np.unique(made.boxes, axis=0)) > 1
    boxes, flips = made.again
    assert flips.all()
    assert boxes[:, 2:].min() < SIZE
    for name, wanted in made.wanted.items():
        np.testing.assert_allclose(made.views[name], wanted, atol=1e-5, err_msg=str(name))


@pytest.mark.parametrize("op", OPS)
def test_an_op_is_always_applied(op, made):
    changed = np.abs(made.views[op,] - made.views["none"]).max(axis=(1, 2, 3)) > 1e-3
    # The number of quarter turns may be 0, and the colour ops have their own probability.
    assert changed.any() if op in ("rotate", "color") else changed.all()


def test_views_stay_in_the_range_and_depend_on_the_order(made):
    for name, view in made.views.items():
        assert view.shape == (6, SIZE, SIZE, 3), name
        assert view.dtype == np.float32
        assert np.isfinite(view).all()
        assert -1e-6 < view.min() < view.max() < 1 + 1e-6, name
    assert np.abs(made.views["blur", "sobel"] - made.views["sobel", "blur"]).max() > 0.01


def test_color_draws_jitter_and_grayscale_with_their_probabilities():
    draw = functools.partial(sample_view, height=20, width=20, branch=branch("color"))
    ((jitter, gray),) = jax.device_get(jax.jit(lambda key: jax.vmap(draw)(jax.random.split(key, 2048)))(KEY).composed)
    assert abs((jitter.hue != 0).mean() - RECIPE.jitter) < 0.04
    assert abs(gray.mean() - RECIPE.grayscale) < 0.04
    assert jitter.brightness.max() <= 1.4


def test_each_image_has_its_own_blur_and_noise():
    draw = functools.partial(sample_view, height=20, width=20, branch=branch("blur", "noise", blur=0.0))
    draws = jax.jit(lambda key: jax.vmap(draw)(jax.random.split(key, 1024)))(KEY)
    sigma, (noise, level) = jax.device_get(draws.composed)
    for values, low, high in ((sigma, 0.1, 2.0), (level, 0.0, 0.2)):
        shares = np.sort((values - low) / (high - low))
        assert np.abs(shares - (np.arange(1024) + 0.5) / 1024).max() < 1.95 / 32
    assert abs(noise.std() - 1) < 0.01
    assert np.abs(np.corrcoef(sigma, level)[0, 1]) < 4.5 / 32
    assert len(np.unique(noise[:, 0, 0, 0])) > 1000


def test_a_recipes_views_share_the_crop_normalisation_comes_last_and_aspects_reach_it(images):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    recipe = dataclasses.replace(RECIPE, one_branch=("sobel",))

    @jax.jit
    def run(images, aspects):
        raw, normalised = (
            make_views(KEY, images, r, aspects=aspects)
            for r in (recipe, dataclasses.replace(recipe, mean=mean, std=std))
        )
        wanted = [jax.vmap(functools.partial(normalize, mean=mean, std=std))(view) for view in raw]
        return raw, normalised, wanted, jax.vmap(sobel)(raw[1])

    raw, normalised, wanted, edges = jax.device_get(run(images, np.linspace(0.5, 2.0, len(images), dtype=np.float32)))
    np.testing.assert_allclose(raw[0], edges, atol=1e-5)
    for a, b in zip(normalised, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    (_, square), *_ = run(images, np.ones(len(images), np.float32))
    assert np.abs(raw[1] - square).max() > 0.01


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
    plain = BRANCHES["none"]

    @jax.jit
    def run(images):
        keys = view_keys(jax.random.split(KEY)[0], len(images), views=2)
        draw = functools.partial(sample_view, height=20, width=20, branch=plain)
        own = jax.vmap(lambda key, crop_key: draw(key, crop_key=crop_key))(keys[0], keys[1])
        wanted = jax.vmap(functools.partial(render_view, branch=plain))(images / 255, own)
        return branch_views(KEY, images, [plain])[0], wanted

    np.testing.assert_allclose(*run(images), atol=1e-6)
