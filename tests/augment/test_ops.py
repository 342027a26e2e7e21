"""Blur, solarize, normalize and the probabilities of the random ops."""

import functools

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.augment import (
    gaussian_blur,
    normalize,
    random_apply,
    random_blur,
    random_solarize,
    sample_blur,
    solarize,
)


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(0).random((12, 16, 3), dtype=np.float32))


def test_blur_equals_scipy(golden):
    values = golden("blur")
    images = jnp.asarray(values["images"], jnp.float32) / 255
    for i, sigma in enumerate(values["sigma"]):
        blur = functools.partial(gaussian_blur, radius=len(values[f"taps_{i}"]) // 2)
        blurred = jax.jit(jax.vmap(blur, in_axes=(0, None)))(images, jnp.float32(sigma))
        np.testing.assert_allclose(blurred, values["blurred"][i], atol=1e-5)


def test_zero_padding_equals_dm_pix(image):
    sigmas = jnp.array([0.1, 0.7, 2.0])
    blur = functools.partial(gaussian_blur, radius=3, padding="zeros")
    blurred = jax.jit(jax.vmap(blur, in_axes=(None, 0)))(image, sigmas)
    for result, sigma in zip(blurred, sigmas, strict=True):
        np.testing.assert_allclose(result, dm_pix.gaussian_blur(image, sigma, 7, padding="SAME"), atol=2e-6)


def test_blur_keeps_a_constant_and_sigma_zero_keeps_the_image(image):
    blur = jax.jit(functools.partial(gaussian_blur, radius=20))  # Wider than the image: reflected again and again.
    np.testing.assert_allclose(blur(jnp.full((12, 16, 3), 0.7), 9.0), 0.7, atol=1e-6)
    np.testing.assert_array_equal(blur(image, 0.0), image)


def test_blurs_are_drawn_with_their_probability(image):
    keys = jax.random.split(jax.random.key(1), 4096)
    sigmas = np.asarray(jax.jit(jax.vmap(functools.partial(sample_blur, probability=0.3)))(keys))
    drawn = np.sort(sigmas[sigmas > 0])
    assert abs(len(drawn) / 4096 - 0.3) < 0.03
    shares = (drawn - 0.1) / 1.9
    assert shares[0] >= 0
    assert np.abs(shares - np.linspace(0, 1, len(drawn))).max() < 1.95 / np.sqrt(len(drawn))
    blur = functools.partial(random_blur, probability=0.3, kernel_size=4)  # Even: made odd, 5.
    blurred = jax.jit(jax.vmap(blur, in_axes=(0, None)))(keys[:8], image)
    wanted = jax.jit(jax.vmap(functools.partial(gaussian_blur, radius=2), in_axes=(None, 0)))(image, sigmas[:8])
    np.testing.assert_allclose(blurred, wanted, atol=1e-6)


def test_solarize_inverts_from_the_threshold_on(golden, image):
    values = golden("color")
    solarized = jax.vmap(functools.partial(solarize, threshold=128 / 255))(jnp.asarray(values["images"]) / 255)
    np.testing.assert_allclose(solarized, values["solarize128_pil"] / 255, atol=1e-6)
    np.testing.assert_allclose(solarize(jnp.array([[[0.0, 0.49, 0.5, 1.0]]])), [[[0.0, 0.49, 0.5, 0.0]]], atol=1e-7)
    keys = jax.random.split(jax.random.key(2), 4096)
    results = jax.jit(jax.vmap(lambda key: random_solarize(key, image, probability=0.2)))(keys)
    assert abs(np.mean(np.asarray(results) != np.asarray(image), axis=0).max() - 0.2) < 0.03


def test_random_apply_applies_with_its_probability(image):
    keys = jax.random.split(jax.random.key(3), 4096)
    apply = functools.partial(random_apply, op=lambda image: 1 - image, image=image)
    for probability in (0.0, 0.4, 1.0):
        results = jax.jit(jax.vmap(functools.partial(apply, probability=probability)))(keys)
        applied = np.asarray(results[:, 0, 0, 0]) != float(image[0, 0, 0])
        assert abs(applied.mean() - probability) < 0.03 * (0 < probability < 1) + 1e-9


def test_normalize():
    image = jnp.ones((2, 2, 3)) * jnp.array([0.1, 0.5, 0.9]).reshape(1, 1, 3)
    result = normalize(image, mean=(0.1, 0.4, 0.4), std=(1.0, 0.1, 0.5))
    np.testing.assert_allclose(result[0, 0], [0.0, 1.0, 1.0], atol=1e-6)
