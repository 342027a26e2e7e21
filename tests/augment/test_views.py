"""Views: independent draws, the ops in their order, both ways of ordering the jitter, and the evaluation view."""

import contextlib
import dataclasses
import functools
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from sslax.augment import (
    SimCLRViews,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    crop_and_resize,
    eval_view,
    gaussian_blur,
    normalize,
    render_view,
    sample_view,
    simclr_view,
    simclr_views,
    solarize,
    to_grayscale,
    view_keys,
)

RECIPE = SimCLRViews(size=16, strength=0.5, blur_sigma=(0.5, 1.5))
N = 2048


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), dtype=np.uint8))


@functools.cache
def draws(jitter=0.8, blur=0.5):
    """Drawn views [2, N] of canvases so large that boxes are as good as continuous."""
    branch = dataclasses.replace(RECIPE, jitter=jitter, blur=blur).branch()
    draw = functools.partial(sample_view, height=4096, width=4096, branch=branch)
    return jax.device_get(jax.jit(jax.vmap(jax.vmap(draw)))(view_keys(jax.random.key(1), N)))


def continuous(view):
    """Every continuous draw, [2, N, 9]."""
    y, x, h, w = np.moveaxis(view.box, -1, 0)
    box = [y / (4096 - h + 1), x / (4096 - w + 1), h, w]
    jitter = [view.jitter.brightness, view.jitter.contrast, view.jitter.saturation, view.jitter.hue]
    return np.stack([*box, *jitter, view.sigma], axis=-1).astype(np.float64)


def test_keys_are_distinct():
    keys = jax.random.key_data(view_keys(jax.random.key(0), N)).reshape(2 * N, -1)
    assert len(np.unique(keys, axis=0)) == 2 * N


def test_draws_are_distinct_between_images_and_views():
    values = continuous(draws(jitter=1.0, blur=1.0)).reshape(2 * N, -1)
    assert len(np.unique(values, axis=0)) == 2 * N
    for column in values[:, 4:].T:
        assert len(np.unique(column)) > 2 * N - 16  # Floats themselves coincide now and then.


def test_draws_are_uncorrelated_between_images_views_and_ops():
    values = continuous(draws(jitter=1.0, blur=1.0))
    ranks = values.argsort(axis=1).argsort(axis=1) / N  # Of any distribution.
    limit = 4.5 / np.sqrt(N)
    first, second = ranks
    names = ["y", "x", "h", "w", "brightness", "contrast", "saturation", "hue", "sigma"]
    between_ops = np.corrcoef(first, rowvar=False) - np.eye(9)
    between_ops[2, 3] = between_ops[3, 2] = 0  # A tall crop is a wide one: they share the area.
    between_views = np.corrcoef(first, second, rowvar=False)[:9, 9:]
    between_images = np.corrcoef(first[:-1], first[1:], rowvar=False)[:9, 9:]
    for correlations in (between_ops, between_views, between_images):
        assert np.abs(correlations).max() < limit, names


def test_probabilities_and_orders_of_a_view():
    view = draws()
    jittered = (view.jitter.hue != 0).mean()
    for share, wanted in (
        (view.flip.mean(), RECIPE.flip),
        (jittered, RECIPE.jitter),
        (view.grayscale.mean(), RECIPE.grayscale),
        ((view.sigma > 0).mean(), RECIPE.blur),
    ):
        assert abs(share - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / (2 * N))
    assert view.solarize is None
    orders, counts = np.unique(view.jitter.order.reshape(-1, 4), axis=0, return_counts=True)
    assert len(orders) == 24
    wanted = 2 * N / 24
    assert ((counts - wanted) ** 2 / wanted).sum() < 49.7  # Chi-square with 23 degrees of freedom: p = 0.001.
    # What is drawn for one op says nothing about another.
    flags = np.stack([view.flip, view.grayscale, view.sigma > 0, view.jitter.hue != 0], axis=-1).reshape(2 * N, 4)
    assert np.abs(np.corrcoef(flags, rowvar=False) - np.eye(4)).max() < 4.5 / np.sqrt(2 * N)


def plain_view(image, view, recipe):
    """The recipe, op by op: crop, flip, jitter, grayscale, blur, each clipped."""
    image = crop_and_resize(jnp.asarray(image, jnp.float32) / 255, view.box, recipe.size)
    image = jnp.clip(image, 0.0, 1.0)
    image = image[:, ::-1] if view.flip else image
    semantics = {"semantics": recipe.semantics}
    for op in view.jitter.order:
        image = [
            lambda image: adjust_brightness(image, view.jitter.brightness, **semantics),
            lambda image: adjust_contrast(image, view.jitter.contrast, **semantics),
            lambda image: adjust_saturation(image, view.jitter.saturation, **semantics),
            lambda image: adjust_hue(image, view.jitter.hue),
        ][int(op)](image)
    image = to_grayscale(image) if view.grayscale else image
    return gaussian_blur(image, view.sigma, radius=1)


@functools.cache
def view_of(recipe, given_order):
    view = functools.partial(simclr_view, recipe=recipe)
    if given_order:
        return jax.jit(jax.vmap(lambda key, image, order: view(key, image, order=order), in_axes=(0, 0, None)))
    return jax.jit(jax.vmap(view))


def test_a_view_is_its_draws_op_by_op(images):
    keys = view_keys(jax.random.key(2), len(images))[0]
    branch = RECIPE.branch()
    assert branch.blur_kernel // 2 == 0  # A tenth of 16 pixels: raised here, so that the blur is seen.
    branch = dataclasses.replace(branch, blur_kernel=3)
    view = jax.jit(jax.vmap(functools.partial(sample_view, height=20, width=20, branch=branch)))(keys)
    floats = jnp.asarray(images, jnp.float32) / 255
    results = jax.jit(jax.vmap(functools.partial(render_view, branch=branch)))(floats, view)
    view = jax.tree.map(jnp.asarray, view)
    for i, (image, result) in enumerate(zip(images[:3], results, strict=False)):
        wanted = plain_view(image, jax.tree.map(lambda leaf, i=i: leaf[i], view), RECIPE)
        np.testing.assert_allclose(result, wanted, atol=5e-6)


def test_an_order_for_the_batch_gives_what_it_gives_each_image(images):
    keys = view_keys(jax.random.key(3), len(images))[0]
    branch = RECIPE.branch()
    order = jnp.array([3, 1, 0, 2], jnp.int32)
    by_batch = view_of(RECIPE, True)(keys, images, order)
    view = jax.jit(jax.vmap(functools.partial(sample_view, height=20, width=20, branch=branch)))(keys)
    view = view._replace(jitter=view.jitter._replace(order=jnp.tile(order, (len(images), 1))))
    by_image = jax.jit(jax.vmap(functools.partial(render_view, branch=branch)))(images.astype(jnp.float32) / 255, view)
    np.testing.assert_allclose(by_batch, by_image, atol=3e-6)
    # An order of the image's own is another view, and so is another key.
    own = view_of(RECIPE, False)(keys, images)
    assert np.abs(own - by_batch).max() > 0.01


def test_both_views_are_those_of_their_keys(images):
    for order in ("image", "batch"):
        recipe = dataclasses.replace(RECIPE, jitter_order=order)
        first, second = jax.jit(functools.partial(simclr_views, recipe=recipe))(jax.random.key(4), images)
        assert first.shape == second.shape == (8, 16, 16, 3)
        assert first.dtype == jnp.float32
        assert first.min() >= 0
        assert first.max() <= 1
        assert (np.abs(first - second).max(axis=(1, 2, 3)) > 0.01).all()
        floats = images.astype(jnp.float32) / 255
        again, _ = jax.jit(functools.partial(simclr_views, recipe=recipe))(jax.random.key(4), floats)
        np.testing.assert_allclose(first, again, atol=1e-6)
        if order == "image":
            keys = view_keys(jax.random.split(jax.random.key(4))[0], len(images))
            for result, key in zip((first, second), keys, strict=True):
                np.testing.assert_allclose(result, view_of(recipe, False)(key, images), atol=1e-6)


def test_sharded_views_equal_one_devices(images):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(images, jax.NamedSharding(mesh, jax.P("data")))
    views = jax.jit(functools.partial(simclr_views, recipe=RECIPE))
    for one, many in zip(views(jax.random.key(5), images), views(jax.random.key(5), sharded), strict=True):
        np.testing.assert_allclose(one, many, atol=1e-6)


def test_squashed_images_and_normalisation(images):
    """Aspects reach the crops: with a wide true image, boxes of the squashed canvas are narrow."""
    branch = RECIPE.branch()
    draw = functools.partial(sample_view, height=500, width=500, branch=branch)
    keys = jax.random.split(jax.random.key(6), 512)
    boxes = jax.jit(jax.vmap(lambda key, aspect: draw(key, image_aspect=aspect).box))(keys, jnp.full(512, 2.0))
    true = np.asarray(boxes[:, 3] * 2 / boxes[:, 2])
    assert 0.99 * 3 / 4 < true.min() < true.max() < 1.01 * 4 / 3
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    recipe = dataclasses.replace(RECIPE, mean=mean, std=std)
    aspects = jnp.linspace(0.5, 2.0, len(images))
    first, _ = jax.jit(functools.partial(simclr_views, recipe=recipe))(jax.random.key(7), images, aspects=aspects)
    plain, _ = jax.jit(functools.partial(simclr_views, recipe=RECIPE))(jax.random.key(7), images, aspects=aspects)
    wanted = jax.vmap(functools.partial(normalize, mean=mean, std=std))(plain)
    np.testing.assert_allclose(first, wanted, atol=1e-5)
    other, _ = jax.jit(functools.partial(simclr_views, recipe=RECIPE))(jax.random.key(7), images)
    assert np.abs(other - plain).max() > 0.01


def test_ops_of_probability_zero_leave_the_program(images):
    def size(**fields):
        views = functools.partial(simclr_views, recipe=dataclasses.replace(RECIPE, **fields))
        return len(jax.jit(views).lower(jax.random.key(0), images).as_text())

    whole = size()
    for field in ("flip", "jitter", "strength", "grayscale", "blur"):
        assert size(**{field: 0.0}) < whole, field


def test_solarize_is_there_for_other_recipes(images):
    branch = dataclasses.replace(RECIPE.branch(), solarize=1.0)
    keys = view_keys(jax.random.key(8), len(images))[0]
    view = jax.jit(jax.vmap(functools.partial(sample_view, height=20, width=20, branch=branch)))(keys)
    floats = images.astype(jnp.float32) / 255
    render = jax.jit(jax.vmap(functools.partial(render_view, branch=branch)))
    plain = jax.vmap(solarize)(render(floats, view._replace(solarize=None)))
    np.testing.assert_allclose(render(floats, view), plain, atol=1e-6)


def test_recipes_are_plain_values_and_flags_with_help():
    for recipe in (SimCLRViews(), SimCLRViews.small()):
        as_json = json.loads(json.dumps(dataclasses.asdict(recipe)))
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in as_json.items()}
        assert SimCLRViews(**values) == recipe
        hash(recipe)
    assert (SimCLRViews.small().strength, SimCLRViews.small().blur) == (0.5, 0.0)
    branch = SimCLRViews().branch()
    assert (branch.brightness, branch.contrast, branch.saturation, branch.hue) == (0.8, 0.8, 0.8, 0.2)
    assert branch.blur_kernel == 22
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        tyro.cli(SimCLRViews, args=["--help"])
    text = " ".join(output.getvalue().replace("│", " ").split())
    for field in dataclasses.fields(SimCLRViews):
        _, _, help_text = text.partition("--" + field.name.replace("_", "-") + " ")
        assert len(help_text.partition("(default")[0].split()) > 5, field.name


def test_eval_view_of_the_same_size_is_the_image(images):
    np.testing.assert_allclose(eval_view(images, 20), images / 255, atol=1e-7)
    floats = images.astype(jnp.float32) / 255
    np.testing.assert_array_equal(eval_view(floats, 20), floats)
    normalised = eval_view(floats, 20, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))
    np.testing.assert_allclose(normalised[..., 1], floats[..., 1] * 4 - 2, atol=1e-5)


def test_eval_view_is_the_central_square_resized():
    images = jnp.asarray(np.random.default_rng(9).random((2, 32, 32, 3), dtype=np.float32))
    # As a resize to 256 and a crop to 224: seven eighths, here without any resize.
    np.testing.assert_allclose(eval_view(images, 28), images[:, 2:30, 2:30], atol=1e-6)
    half = eval_view(images, 8, central=0.5)
    np.testing.assert_allclose(
        half, jax.image.resize(images[:, 8:24, 8:24], (2, 8, 8, 3), "bicubic").clip(0, 1), atol=3e-6
    )
    # Squashed from twice as wide, and twice as high: a square of the true image is not one of the canvas.
    wide, high = eval_view(images, 16, aspects=jnp.array([2.0, 0.5]), central=1.0)
    np.testing.assert_allclose(wide, jax.image.resize(images[0, :, 8:24], (16, 16, 3), "bicubic").clip(0, 1), atol=3e-6)
    np.testing.assert_allclose(high, jax.image.resize(images[1, 8:24], (16, 16, 3), "bicubic").clip(0, 1), atol=3e-6)
    # Not squashed, and not square.
    plain = eval_view(images[:, 4:24], 16, central=1.0)
    np.testing.assert_allclose(
        plain, jax.image.resize(images[:, 4:24, 6:26], (2, 16, 16, 3), "bicubic").clip(0, 1), atol=3e-6
    )
