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
    return images


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_equals_torchvision(golden, name):
    values = golden("color")
    images = values["images"].astype(np.float32) / 255
    tolerance_pil = 8 / 255 if name == "hue" else 2 / 255
    for i, amount in enumerate(values["hues" if name == "hue" else "factors"]):
        amounts = np.full(len(images), amount, np.float32)
        result = np.asarray(adjust(name)(images, amounts))
        np.testing.assert_allclose(result[:1], values[f"{name}_float"][i], atol=1e-5)
        np.testing.assert_allclose(result, values[f"{name}_pil"][i] / 255, atol=tolerance_pil + 1e-6)


def test_grayscale_equals_pillow(golden):
    values = golden("color")
    grayscale = jax.jit(jax.vmap(to_grayscale))
    gray = grayscale(values["images"].astype(np.float32) / 255)
    np.testing.assert_allclose(gray, np.repeat(values["gray_pil"][..., None], 3, -1) / 255, atol=1 / 255)
    np.testing.assert_allclose(grayscale(np.ones_like(values["images"], np.float32)), 1.0, atol=1e-6)


@pytest.mark.parametrize("semantics", ["tensorflow", "simclr"])
def test_equals_dm_pix(images, semantics):
    """dm_pix has TensorFlow's ops, without clipping; SimCLR's differ only in brightness."""
    factors = np.linspace(0.0, 2.0, len(images), dtype=np.float32)
    deltas = np.linspace(-0.5, 0.5, len(images), dtype=np.float32)
    cases = {"contrast": (dm_pix.adjust_contrast, factors), "saturation": (dm_pix.adjust_saturation, factors)}
    cases["hue"] = (dm_pix.adjust_hue, deltas)
    if semantics == "tensorflow":
        cases["brightness"] = (dm_pix.adjust_brightness, deltas)
    for name, (reference, amounts) in cases.items():
        wanted = np.asarray(jax.jit(jax.vmap(reference))(images, amounts)).clip(0.0, 1.0)
        np.testing.assert_allclose(adjust(name, semantics)(images, amounts), wanted, atol=2e-6, err_msg=name)
    if semantics == "simclr":
        wanted = np.clip(images * factors.reshape(-1, 1, 1, 1), 0.0, 1.0)
        np.testing.assert_allclose(adjust("brightness", "simclr")(images, factors), wanted, atol=1e-7)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_neutral_amounts_change_nothing(images, semantics):
    for name in ADJUST:
        neutral = 0.0 if name == "hue" or (name == "brightness" and semantics == "tensorflow") else 1.0
        result = adjust(name, semantics)(images, np.full(len(images), neutral, np.float32))
        np.testing.assert_array_equal(result, images, err_msg=name)


@functools.cache
def drawn(semantics, n, strength=1.0):
    """Sampled jitters with strong amounts, so that clipping matters, in each of the 24 orders."""
    strengths = {name: 0.8 * strength for name in ("brightness", "contrast", "saturation")} | {"hue": 0.2 * strength}
    draw = functools.partial(sample_jitter, **strengths, semantics=semantics)
    jitter = jax.device_get(jax.jit(lambda key: jax.vmap(draw)(jax.random.split(key, n)))(jax.random.key(1)))
    orders = np.array(list(itertools.permutations(range(4))), np.int32)
    return jitter._replace(order=orders[np.arange(n) % 24])


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


@functools.cache
def apply_each(semantics):
    return jax.jit(jax.vmap(functools.partial(apply_jitter, semantics=semantics)))


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_fast_jitter_equals_the_plain_chain_in_all_24_orders(images, semantics):
    jitter = drawn(semantics, 24)
    wanted = plain_chain(images, jitter, semantics)
    np.testing.assert_allclose(apply_each(semantics)(images, jitter), wanted, atol=3e-6)
    if semantics == "simclr":
        one = jax.jit(functools.partial(apply_jitter, semantics=semantics))  # Without vmap, too.
        np.testing.assert_allclose(one(images[5], jax.tree.map(lambda leaf: leaf[5], jitter)), wanted[5], atol=3e-6)


@pytest.mark.parametrize(
    ("semantics", "absent"), [("torchvision", "hue"), ("simclr", "contrast"), ("torchvision", "brightness saturation")]
)
def test_ops_with_strength_zero_are_removed(images, semantics, absent):
    jitter = drawn(semantics, 24)._replace(**dict.fromkeys(absent.split(), None))
    neutral = jitter._replace(**{name: np.full(24, float(name != "hue"), np.float32) for name in absent.split()})
    apply = apply_each(semantics)
    np.testing.assert_allclose(apply(images, jitter), apply(images, neutral), atol=2e-6)


@pytest.mark.parametrize("order", [None, jnp.asarray(np.arange(4, dtype=np.int32))])
def test_a_program_shrinks_with_every_strength_that_is_zero(order):
    def size(**strengths):
        def program(key, image):
            return color_jitter(key, image, **(STRENGTHS | strengths), semantics="simclr", order=order)

        return len(str(jax.make_jaxpr(program)(jax.random.key(0), np.zeros((8, 8, 3), np.float32))))

    sizes = [size(), size(hue=0.0), size(hue=0.0, contrast=0.0), size(hue=0.0, contrast=0.0, saturation=0.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_color_jitter_applies_the_jitter_of_sample_jitter(images):
    # A given order, shared by the whole batch.
    order = np.array([2, 0, 3, 1], np.int32)

    @jax.jit
    def run(key, images):
        keys = jax.random.split(key, len(images))
        jitter = jax.vmap(functools.partial(sample_jitter, **STRENGTHS))(keys)
        orders = None, jnp.asarray(order)
        return jitter, [jax.vmap(functools.partial(color_jitter, **STRENGTHS, order=o))(keys, images) for o in orders]

    jitter, (own, shared) = jax.device_get(run(jax.random.key(2), images))
    np.testing.assert_allclose(own, plain_chain(images, jitter, "torchvision"), atol=3e-6)
    jitter = jitter._replace(order=np.tile(order, (len(images), 1)))
    np.testing.assert_allclose(shared, plain_chain(images, jitter, "torchvision"), atol=3e-6)


def test_orders_are_uniform_over_all_24():
    orders = np.asarray(jax.jit(lambda key: jax.vmap(sample_order)(jax.random.split(key, 4096)))(jax.random.key(3)))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    wanted = 4096 / 24
    assert ((counts - wanted) ** 2 / wanted).sum() < 49.7  # Chi-square with 23 degrees of freedom: p = 0.001.


@pytest.mark.parametrize(
    ("semantics", "strength"), [("torchvision", 0.4), ("torchvision", 1.5), ("simclr", 1.5), ("tensorflow", 0.4)]
)
def test_amounts_have_the_stated_ranges(semantics, strength):
    strengths = dict.fromkeys(("brightness", "contrast", "saturation"), strength) | {"hue": 0.2}
    draw = functools.partial(sample_jitter, **strengths, semantics=semantics)
    jitter = jax.jit(lambda key: jax.vmap(draw)(jax.random.split(key, 2048)))(jax.random.key(4))
    ranges = dict.fromkeys(strengths, (max(0.0, 1 - strength), 1 + strength)) | {"hue": (-0.2, 0.2)}
    if semantics == "tensorflow":
        ranges["brightness"] = (-strength, strength)
    for name, (low, high) in ranges.items():
        shares = (np.sort(getattr(jitter, name)) - low) / (high - low)
        assert shares[0] >= 0
        assert shares[-1] <= 1
        assert np.abs(shares - np.linspace(0, 1, 2048)).max() < 1.95 / np.sqrt(2048)  # Kolmogorov: p = 0.001.


def test_probabilities_are_honoured(images):
    @jax.jit
    def run(key, image):
        keys = jax.random.split(key, 4096)
        jitter = jax.vmap(functools.partial(sample_jitter, **STRENGTHS, probability=0.8))(keys)
        gray = jax.vmap(lambda key: random_grayscale(key, image, probability=0.2))(keys)
        never, always = (random_grayscale(keys[0], image, probability=p) for p in (0.0, 1.0))
        return jitter, gray, never, always, to_grayscale(image)

    jitter, gray, never, always, wanted = jax.device_get(run(jax.random.key(5), images[0]))
    untouched = (jitter.brightness == 1) & (jitter.contrast == 1) & (jitter.saturation == 1) & (jitter.hue == 0)
    assert abs(np.mean(untouched) - 0.2) < 0.02
    assert abs(np.mean(np.abs(gray - images[0]).max(axis=(1, 2, 3)) > 0) - 0.2) < 0.02
    np.testing.assert_array_equal(never, images[0])
    np.testing.assert_array_equal(always, wanted)
