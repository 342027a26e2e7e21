"""Blur, solarize, normalize and the probabilities of the random ops."""

import functools

import dm_pix
import jax
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
    return np.random.default_rng(0).random((12, 16, 3), dtype=np.float32)


def test_blur_equals_scipy(golden):
    values = golden("blur")
    images = values["images"].astype(np.float32) / 255
    for i, sigma in enumerate(values["sigma"]):
        blur = functools.partial(gaussian_blur, radius=len(values[f"taps_{i}"]) // 2)
        blurred = jax.jit(jax.vmap(blur, in_axes=(0, None)))(images, np.float32(sigma))
        np.testing.assert_allclose(blurred, values["blurred"][i], atol=1e-5)


def test_zero_padding_equals_dm_pix(image):
    blur = functools.partial(gaussian_blur, radius=3, padding="zeros")
    reference = functools.partial(dm_pix.gaussian_blur, kernel_size=7, padding="SAME")
    both = jax.jit(jax.vmap(lambda image, sigma: (blur(image, sigma), reference(image, sigma)), in_axes=(None, 0)))
    np.testing.assert_allclose(*both(image, np.array([0.1, 0.7, 2.0], np.float32)), atol=2e-6)


def test_blur_keeps_a_constant_and_sigma_zero_keeps_the_image(image):
    blur = jax.jit(functools.partial(gaussian_blur, radius=20))  # Wider than the image: reflected again and again.
    np.testing.assert_allclose(blur(np.full((12, 16, 3), 0.7, np.float32), 9.0), 0.7, atol=1e-6)
    np.testing.assert_array_equal(blur(image, 0.0), image)


def test_blurs_are_drawn_with_their_probability(image):

    @jax.jit
    def run(key, image):
        keys = jax.random.split(key, 4096)
        sigmas = jax.vmap(functools.partial(sample_blur, probability=0.3))(keys)
        blur = functools.partial(random_blur, image=image, probability=0.3, kernel_size=4)  # Even: made odd, 5.
        wanted = jax.vmap(functools.partial(gaussian_blur, radius=2), in_axes=(None, 0))(image, sigmas[:8])
        return sigmas, jax.vmap(blur)(keys[:8]), wanted

    sigmas, blurred, wanted = jax.device_get(run(jax.random.key(1), image))
    drawn = np.sort(sigmas[sigmas > 0])
    assert abs(len(drawn) / 4096 - 0.3) < 0.03
    shares = (drawn - 0.1) / 1.9
    assert shares[0] >= 0
    assert np.abs(shares - np.linspace(0, 1, len(drawn))).max() < 1.95 / np.sqrt(len(drawn))
    np.testing.assert_allclose(blurred, wanted, atol=1e-6)


def test_solarize_inverts_from_the_threshold_on(golden, image):
    values = golden("color")
    edge = np.array([[[0.0, 0.49, 0.5, 1.0]]], np.float32)

    @jax.jit
    def run(key, images, edge, image):
        solarized = jax.vmap(functools.partial(solarize, threshold=128 / 255))(images)
        keys = jax.random.split(key, 4096)
        return solarized, solarize(edge), jax.vmap(lambda key: random_solarize(key, image, probability=0.2))(keys)

    images = values["images"].astype(np.float32) / 255
    solarized, at_edge, results = jax.device_get(run(jax.random.key(2), images, edge, image))
    np.testing.assert_allclose(solarized, values["solarize128_pil"] / 255, atol=1e-6)
    np.testing.assert_allclose(at_edge, [[[0.0, 0.49, 0.5, 0.0]]], atol=1e-7)
    assert abs(np.mean(results != image, axis=0).max() - 0.2) < 0.03


def test_random_apply_applies_with_its_probability(image):
    probabilities = (0.0, 0.4, 1.0)

    @jax.jit
    def run(key, image):
        apply = functools.partial(random_apply, op=lambda image: 1 - image, image=image)
        keys = jax.random.split(key, 4096)
        return [jax.vmap(functools.partial(apply, probability=p))(keys)[:, 0, 0, 0] for p in probabilities]

    for probability, results in zip(probabilities, run(jax.random.key(3), image), strict=True):
        applied = np.asarray(results) != image[0, 0, 0]
        assert abs(applied.mean() - probability) < 0.03 * (0 < probability < 1) + 1e-9


def test_normalize():
    image = np.ones((2, 2, 3), np.float32) * np.array([0.1, 0.5, 0.9], np.float32)
    result = jax.jit(functools.partial(normalize, mean=(0.1, 0.4, 0.4), std=(1.0, 0.1, 0.5)))(image)
    np.testing.assert_allclose(np.asarray(result)[0, 0], [0.0, 1.0, 1.0], atol=1e-6)
