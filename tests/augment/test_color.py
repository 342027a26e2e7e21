"""Colour ops against stored values of Pillow and kornia and against dm_pix; the fast jitter against the plain chain."""

import functools
import itertools

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.augment import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
    random_grayscale,
    sample_jitter,
    sample_order,
    to_grayscale,
)
from sslax.augment.color import from_planes, to_planes
from sslax.augment.jitter import jitter_planes

SEMANTICS = ("torchvision", "simclr", "tensorflow")
STRENGTHS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
ADJUST = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": lambda image, amount, semantics: adjust_hue(image, amount),
}


@functools.cache
def adjust(name, semantics="torchvision"):
    """One op on a batch of images, each with its own amount, compiled once."""
    return jax.jit(jax.vmap(functools.partial(ADJUST[name], semantics=semantics)))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    images = rng.random((24, 8, 8, 3), dtype=np.float32)
    images[:, 0] = images[:, 0, :, :1]  # A row of grays, and pure colours, black and white: HSV's corners.
    images[:, 1] = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    images[:, 2, :, 1] = images[:, 2, :, 0]
    return jnp.asarray(images)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_equals_torchvision(golden, name):
    values = golden("color")
    images = jnp.asarray(values["images"], jnp.float32) / 255
    tolerance_pil = 8 / 255 if name == "hue" else 2 / 255
    for i, amount in enumerate(values["hues" if name == "hue" else "factors"]):
        amounts = jnp.full(len(images), amount, jnp.float32)
        result = np.asarray(adjust(name)(images, amounts))
        np.testing.assert_allclose(result[:1], values[f"{name}_float"][i], atol=1e-5)
        np.testing.assert_allclose(result, values[f"{name}_pil"][i] / 255, atol=tolerance_pil + 1e-6)


def test_grayscale_equals_pillow(golden):
    values = golden("color")
    gray = jax.vmap(to_grayscale)(jnp.asarray(values["images"], jnp.float32) / 255)
    np.testing.assert_allclose(gray, np.repeat(values["gray_pil"][..., None], 3, -1) / 255, atol=1 / 255)
    np.testing.assert_allclose(to_grayscale(jnp.ones((2, 3, 3))), 1.0, atol=1e-6)


@pytest.mark.parametrize("semantics", ["tensorflow", "simclr"])
def test_equals_dm_pix(images, semantics):
    """dm_pix has TensorFlow's ops, without clipping; SimCLR's differ only in brightness."""
    factors = jnp.linspace(0.0, 2.0, len(images), dtype=jnp.float32)
    deltas = jnp.linspace(-0.5, 0.5, len(images), dtype=jnp.float32)
    cases = {"contrast": (dm_pix.adjust_contrast, factors), "saturation": (dm_pix.adjust_saturation, factors)}
    cases["hue"] = (dm_pix.adjust_hue, deltas)
    if semantics == "tensorflow":
        cases["brightness"] = (dm_pix.adjust_brightness, deltas)
    for name, (reference, amounts) in cases.items():
        wanted = jax.jit(jax.vmap(reference))(images, amounts).clip(0.0, 1.0)
        np.testing.assert_allclose(adjust(name, semantics)(images, amounts), wanted, atol=2e-6, err_msg=name)
    if semantics == "simclr":
        wanted = jnp.clip(images * factors.reshape(-1, 1, 1, 1), 0.0, 1.0)
        np.testing.assert_allclose(adjust("brightness", "simclr")(images, factors), wanted, atol=1e-7)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_neutral_amounts_change_nothing(images, semantics):
    for name in ADJUST:
        neutral = 0.0 if name == "hue" or (name == "brightness" and semantics == "tensorflow") else 1.0
        result = adjust(name, semantics)(images, jnp.full(len(images), neutral))
        np.testing.assert_array_equal(result, images, err_msg=name)


def drawn(semantics, n, strength=1.0):
    """Sampled jitters with strong amounts, so that clipping matters, in each of the 24 orders."""
    strengths = {name: 0.8 * strength for name in ("brightness", "contrast", "saturation")} | {"hue": 0.2 * strength}
    draw = functools.partial(sample_jitter, **strengths, semantics=semantics)
    jitter = jax.vmap(draw)(jax.random.split(jax.random.key(1), n))
    orders = np.array(list(itertools.permutations(range(4))), np.int32)
    return jitter._replace(order=jnp.asarray(orders[np.arange(n) % 24]))


def plain_chain(images, jitter, semantics):
    """Apply each image's ops in its order: at each position all ops run on all images, and each image selects its own."""
    images, amounts, orders = np.asarray(images), jax.device_get(jitter[:4]), np.asarray(jitter.order)
    for place in range(4):
        choices = [adjust(name, semantics)(images, amount) for name, amount in zip(ADJUST, amounts, strict=True)]
        images = np.stack(choices)[orders[:, place], np.arange(len(images))]
        assert images.min() >= 0
        assert images.max() <= 1
    return images


def apply_jitter(image, jitter, semantics):
    return from_planes(jitter_planes(to_planes(image), jitter, semantics=semantics), 8, 8)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_fast_jitter_equals_the_plain_chain_in_all_24_orders(images, semantics):
    jitter = drawn(semantics, 24)
    wanted = plain_chain(images, jitter, semantics)
    by_image = jax.jit(jax.vmap(functools.partial(apply_jitter, semantics=semantics)))
    np.testing.assert_allclose(by_image(images, jitter), wanted, atol=3e-6)
    one = jax.jit(functools.partial(apply_jitter, semantics=semantics))  # Without vmap, too.
    np.testing.assert_allclose(one(images[5], jax.tree.map(lambda leaf: leaf[5], jitter)), wanted[5], atol=3e-6)


@pytest.mark.parametrize("semantics", ["torchvision", "simclr"])
@pytest.mark.parametrize("absent", ["hue", "contrast", "brightness saturation"])
def test_ops_with_strength_zero_are_removed(images, semantics, absent):
    jitter = drawn(semantics, 24)._replace(**dict.fromkeys(absent.split(), None))
    neutral = jitter._replace(**{name: jnp.full(24, float(name != "hue")) for name in absent.split()})
    apply = jax.jit(jax.vmap(functools.partial(apply_jitter, semantics=semantics)))
    np.testing.assert_allclose(apply(images, jitter), apply(images, neutral), atol=2e-6)


@pytest.mark.parametrize("order", [None, jnp.arange(4)])
def test_a_program_shrinks_with_every_strength_that_is_zero(order):
    def size(**strengths):
        def program(key, image):
            return color_jitter(key, image, **(STRENGTHS | strengths), semantics="simclr", order=order)

        return len(jax.jit(program).lower(jax.random.key(0), jnp.zeros((8, 8, 3))).as_text())

    sizes = [size(), size(hue=0.0), size(hue=0.0, contrast=0.0), size(hue=0.0, contrast=0.0, saturation=0.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_color_jitter_applies_the_jitter_of_sample_jitter(images):
    keys = jax.random.split(jax.random.key(2), len(images))
    result = jax.jit(jax.vmap(functools.partial(color_jitter, **STRENGTHS)))(keys, images)
    jitter = jax.vmap(functools.partial(sample_jitter, **STRENGTHS))(keys)
    np.testing.assert_allclose(result, plain_chain(images, jitter, "torchvision"), atol=3e-6)
    # A given order, shared by the whole batch.
    order = jnp.array([2, 0, 3, 1], jnp.int32)
    result = jax.jit(jax.vmap(functools.partial(color_jitter, **STRENGTHS, order=order)))(keys, images)
    jitter = jitter._replace(order=jnp.tile(order, (len(images), 1)))
    np.testing.assert_allclose(result, plain_chain(images, jitter, "torchvision"), atol=3e-6)


def test_orders_are_uniform_over_all_24():
    orders = np.asarray(jax.vmap(sample_order)(jax.random.split(jax.random.key(3), 4096)))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    wanted = 4096 / 24
    assert ((counts - wanted) ** 2 / wanted).sum() < 49.7  # Chi-square with 23 degrees of freedom: p = 0.001.


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("strength", [0.4, 1.5])
def test_amounts_have_the_stated_ranges(semantics, strength):
    strengths = dict.fromkeys(("brightness", "contrast", "saturation"), strength) | {"hue": 0.2}
    draw = functools.partial(sample_jitter, **strengths, semantics=semantics)
    jitter = jax.vmap(draw)(jax.random.split(jax.random.key(4), 2048))
    ranges = dict.fromkeys(strengths, (max(0.0, 1 - strength), 1 + strength)) | {"hue": (-0.2, 0.2)}
    if semantics == "tensorflow":
        ranges["brightness"] = (-strength, strength)
    for name, (low, high) in ranges.items():
        shares = (np.sort(getattr(jitter, name)) - low) / (high - low)
        assert shares[0] >= 0
        assert shares[-1] <= 1
        assert np.abs(shares - np.linspace(0, 1, 2048)).max() < 1.95 / np.sqrt(2048)  # Kolmogorov: p = 0.001.


def test_probabilities_are_honoured(images):
    keys = jax.random.split(jax.random.key(5), 4096)
    jitter = jax.vmap(functools.partial(sample_jitter, **STRENGTHS, probability=0.8))(keys)
    untouched = np.mean(
        (jitter.brightness == 1) & (jitter.contrast == 1) & (jitter.saturation == 1) & (jitter.hue == 0)
    )
    assert abs(untouched - 0.2) < 0.02
    gray = jax.jit(jax.vmap(lambda key: random_grayscale(key, images[0], probability=0.2)))(keys)
    assert abs(np.mean(np.abs(gray - images[0][None]).max(axis=(1, 2, 3)) > 0) - 0.2) < 0.02
    for probability, wanted in ((0.0, images[0]), (1.0, to_grayscale(images[0]))):
        np.testing.assert_array_equal(random_grayscale(keys[0], images[0], probability=probability), wanted)
