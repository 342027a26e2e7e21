"""Views: independent draws, the order of the ops, both kinds of jitter order, and the evaluation view."""

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
    branch_view,
    crop_and_resize,
    eval_view,
    gaussian_blur,
    make_views,
    normalize,
    render_view,
    sample_order,
    sample_view,
    solarize,
    to_grayscale,
    view_keys,
)

RECIPE = SimCLRViews(size=16, strength=0.5, blur_sigma=(0.5, 1.5))
N = 2048


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), dtype=np.uint8)


@jax.jit
def to_float(images):
    return images.astype(jnp.float32) / 255


@functools.cache
def draws(jitter=0.8, blur=0.5):
    """Sampled views [2, N] of canvases so large that boxes are nearly continuous."""
    branch = dataclasses.replace(RECIPE, jitter=jitter, blur=blur).branch()
    draw = functools.partial(sample_view, height=4096, width=4096, branch=branch)
    return jax.device_get(jax.jit(lambda key: jax.vmap(jax.vmap(draw))(view_keys(key, N)))(jax.random.key(1)))


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
    # The draws of different ops are independent.
    flags = np.stack([view.flip, view.grayscale, view.sigma > 0, view.jitter.hue != 0], axis=-1).reshape(2 * N, 4)
    assert np.abs(np.corrcoef(flags, rowvar=False) - np.eye(4)).max() < 4.5 / np.sqrt(2 * N)


CROP = jax.jit(functools.partial(crop_and_resize, size=RECIPE.size))
GRAY = jax.jit(to_grayscale)
BLUR = jax.jit(functools.partial(gaussian_blur, radius=1))
ADJUST = [
    jax.jit(functools.partial(op, semantics=RECIPE.semantics))
    for op in (adjust_brightness, adjust_contrast, adjust_saturation)
] + [jax.jit(adjust_hue)]


def plain_view(image, view):
    """The recipe op by op: crop, flip, jitter, grayscale, blur, each clipped."""
    image = np.clip(CROP(image, view.box), 0.0, 1.0)
    image = image[:, ::-1] if view.flip else image
    for op in view.jitter.order:
        image = ADJUST[int(op)](image, view.jitter[int(op)])
    image = GRAY(image) if view.grayscale else image
    return BLUR(image, view.sigma)


@functools.cache
def sample(branch):
    return jax.jit(jax.vmap(functools.partial(sample_view, height=20, width=20, branch=branch)))


@functools.cache
def render(branch):
    return jax.jit(jax.vmap(functools.partial(render_view, branch=branch)))


@functools.cache
def views(recipe):
    return jax.jit(functools.partial(make_views, recipe=recipe))


@functools.partial(jax.jit, static_argnums=1)
def keys_of(seed, count):
    return view_keys(jax.random.key(seed), count)


@functools.partial(jax.jit, static_argnums=1)
def make_views_keys(seed, count):
    """The keys that `make_views` gives its two views."""
    return view_keys(jax.random.split(jax.random.key(seed))[0], count)


def test_a_view_equals_its_draws_applied_op_by_op(images):
    branch = RECIPE.branch()
    view = sample(branch)(keys_of(2, len(images))[0])
    floats = np.asarray(to_float(images))
    # A tenth of 16 pixels would be a kernel of one pixel; a kernel of three makes the blur visible.
    results = render(dataclasses.replace(branch, blur_kernel=3))(floats, view)
    view = jax.device_get(view)
    for i, (image, result) in enumerate(zip(floats, np.asarray(results), strict=True)):
        wanted = plain_view(image, jax.tree.map(lambda leaf, i=i: leaf[i], view))
        np.testing.assert_allclose(result, wanted, atol=5e-6)


def test_both_views_depend_only_on_their_keys(images):
    first, second = jax.device_get(views(RECIPE)(jax.random.key(4), images))
    assert first.dtype == jnp.float32
    assert (np.abs(first - second).max(axis=(1, 2, 3)) > 0.01).all()
    keys = make_views_keys(4, len(images))
    for result, key in zip((first, second), keys, strict=True):
        assert result.shape == (8, 16, 16, 3)
        assert result.min() >= 0
        assert result.max() <= 1
        wanted = render(RECIPE.branch())(to_float(images), sample(RECIPE.branch())(key))
        np.testing.assert_allclose(result, wanted, atol=1e-6)


def test_a_batch_has_one_order_for_each_view(images):
    """All images and keys are equal, except the order: with one order for the batch, equal draws give equal views."""
    recipe = dataclasses.replace(RECIPE, jitter_order="batch")
    first, second = jax.device_get(views(recipe)(jax.random.key(4), images))
    by_image, _ = views(RECIPE)(jax.random.key(4), images)
    # The boxes and amounts equal those with one order per image; only the order of the jitter's ops differs.
    assert np.abs(first - by_image).max() > 0.001
    assert np.abs(first - by_image).mean() < 0.1
    assert (np.abs(first - second).max(axis=(1, 2, 3)) > 0.01).all()
    view = sample(RECIPE.branch())(make_views_keys(4, len(images))[0])
    order = jax.jit(lambda key: sample_order(jax.random.split(jax.random.split(key)[1])[0]))(jax.random.key(4))
    view = view._replace(jitter=view.jitter._replace(order=np.tile(order, (len(images), 1))))
    np.testing.assert_allclose(first, render(RECIPE.branch())(to_float(images), view), atol=3e-6)


def test_sharded_views_equal_one_devices(images):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(images, jax.NamedSharding(mesh, jax.P("data")))
    # Without the ops of single images whose programs take long to compile.
    recipe = dataclasses.replace(RECIPE, jitter=0.0, blur=0.0)
    both = (views(recipe)(jax.random.key(5), some) for some in (images, sharded))
    for one, many in zip(*both, strict=True):
        np.testing.assert_allclose(one, many, atol=3e-6)


def test_aspects_reach_the_crops(images):
    recipe = dataclasses.replace(RECIPE, jitter=0.0, grayscale=0.0, blur=0.0, flip=0.0)
    branch = recipe.branch()
    aspects = np.linspace(0.5, 2.0, len(images), dtype=np.float32)
    first, _ = views(recipe)(jax.random.key(7), images, aspects=aspects)
    keys = make_views_keys(7, len(images))[0]
    draw = functools.partial(sample_view, height=20, width=20, branch=branch)
    view = jax.jit(jax.vmap(lambda key, aspect: draw(key, image_aspect=aspect)))(keys, aspects)
    np.testing.assert_allclose(first, render(branch)(to_float(images), view), atol=1e-6)


def test_other_recipes_ops(images):
    """Mean and std are applied last, and BYOL's solarisation before them."""
    branch = dataclasses.replace(RECIPE, jitter=0.0, grayscale=0.0).branch()
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    more = dataclasses.replace(branch, solarize=1.0, mean=mean, std=std)

    @jax.jit
    def run(key, images):
        draw = functools.partial(sample_view, height=20, width=20, branch=more)
        view = jax.vmap(draw)(view_keys(key, len(images))[0])
        plain = jax.vmap(functools.partial(render_view, branch=branch))(images, view._replace(solarize=None))
        wanted = jax.vmap(functools.partial(normalize, mean=mean, std=std))(jax.vmap(solarize)(plain))
        return view.solarize, jax.vmap(functools.partial(render_view, branch=more))(images, view), wanted

    solarized, result, wanted = run(jax.random.key(8), to_float(images))
    assert np.all(solarized)
    np.testing.assert_allclose(result, wanted, atol=1e-5)


def test_ops_with_probability_zero_are_not_in_the_program(images):
    def size(**fields):
        view = functools.partial(branch_view, branch=dataclasses.replace(RECIPE, **fields).branch())
        return len(str(jax.make_jaxpr(view)(jax.random.key(0), images[0])))

    whole = size()
    for field in ("flip", "jitter", "strength", "grayscale", "blur"):
        assert size(**{field: 0.0}) < whole, field


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
        sentence = help_text.partition("(default")[0]
        assert sentence.strip().endswith("."), field.name


def test_eval_view_of_the_same_size_is_the_image(images):
    floats = np.asarray(to_float(images))

    @jax.jit
    def run(images, floats):
        normalised = eval_view(floats, 20, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))
        return eval_view(images, 20), eval_view(floats, 20), normalised

    of_bytes, of_floats, normalised = jax.device_get(run(images, floats))
    np.testing.assert_allclose(of_bytes, images / 255, atol=1e-7)
    np.testing.assert_array_equal(of_floats, floats)
    np.testing.assert_allclose(normalised[..., 1], floats[..., 1] * 4 - 2, atol=1e-5)


def test_eval_view_is_the_central_square_resized():
    images = np.random.default_rng(9).random((2, 32, 32, 3), dtype=np.float32)

    def resized(images, side):
        return jax.image.resize(images, (len(images), side, side, 3), "bicubic").clip(0, 1)

    @jax.jit
    def run(images, aspects):
        return {
            # Like a resize to 256 and a crop to 224: seven eighths of the side, here without resizing.
            "same": (eval_view(images, 28), images[:, 2:30, 2:30]),
            "half": (eval_view(images, 8, central=0.5), resized(images[:, 8:24, 8:24], 8)),
            # Squashed from twice the width or twice the height: a square of the image is not a square of the canvas.
            "squashed": (
                eval_view(images, 16, aspects=aspects, central=1.0),
                jnp.concatenate([resized(images[:1, :, 8:24], 16), resized(images[1:, 8:24], 16)]),
            ),
            # Neither squashed nor square.
            "wide": (eval_view(images[:, 4:24], 16, central=1.0), resized(images[:, 4:24, 6:26], 16)),
        }

    for name, (found, wanted) in run(images, np.array([2.0, 0.5], np.float32)).items():
        np.testing.assert_allclose(found, wanted, atol=1e-6 if name == "same" else 3e-6, err_msg=name)
