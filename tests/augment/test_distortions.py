"""Cutout, quarter turns, noise and the Sobel filter against naive NumPy, and the distributions of their draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sslax.augment import cutout, gaussian_noise, random_rotate, sobel

N = 4096
KEYS = jax.random.split(jax.random.key(1), N)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((6, 8, 3), dtype=np.float32)


def chi_square(counts, wanted):
    return ((counts - wanted) ** 2 / wanted).sum()


@pytest.mark.parametrize(("size", "side"), [(None, 3), (4, 4), (1, 1), (40, 40)])
def test_cutout_is_a_square_about_any_pixel(image, size, side):
    cut = functools.partial(cutout, image=jnp.asarray(image), size=size, fill=2 / 3)
    results = np.asarray(jax.jit(jax.vmap(cut))(KEYS))
    possible = {}
    for y in range(6):
        for x in range(8):
            wanted = np.array(image)
            for row in range(y - side // 2, y - side // 2 + side):
                for column in range(x - side // 2, x - side // 2 + side):
                    if 0 <= row < 6 and 0 <= column < 8:
                        wanted[row, column] = np.float32(2 / 3)
            possible.setdefault(wanted.tobytes(), []).append((y, x))
    found, counts = np.unique(results.reshape(N, -1), axis=0, return_counts=True)
    assert {row.tobytes() for row in found} == set(possible)
    # Every centre is equally likely: chi-square, at most 47 degrees of freedom, p = 0.001.
    assert chi_square(counts, np.array([len(possible[row.tobytes()]) for row in found]) * N / 48) < 82.7


def test_cutout_is_gray_by_default(image):
    result = np.asarray(jax.jit(lambda image: cutout(jax.random.key(1), image))(image))
    assert set(result[result != image]) == {np.float32(0.5)}


def test_sobel_is_two_convolutions(image):
    filters = np.outer([1, 2, 1], [-1, 0, 1])
    padded = np.pad(np.asarray(image, np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    wanted = np.zeros(image.shape)
    for y in range(6):
        for x in range(8):
            part = padded[y : y + 3, x : x + 3]
            right, down = ((part * f[..., None]).sum((0, 1)) for f in (filters, filters.T))
            wanted[y, x] = np.minimum(np.hypot(right, down) / 4, 1)
    np.testing.assert_allclose(jax.jit(sobel)(image), wanted, atol=1e-6)


def test_sobel_of_an_edge_is_one_and_of_a_constant_image_zero():
    edge, wanted = np.zeros((2, 6, 6, 3), np.float32)
    edge[:, 3:] = 1
    wanted[:, 2:4] = 1
    images = [np.rot90(edge, turned) for turned in range(4)] + [np.full((6, 6, 3), 0.3, np.float32)]
    *edges, constant = np.asarray(jax.jit(jax.vmap(sobel))(np.stack(images)))
    for turned in range(4):
        np.testing.assert_array_equal(edges[turned], np.rot90(wanted, turned))
    np.testing.assert_array_equal(constant, 0)


def test_noise_is_normal_and_independent():
    gray = jnp.full((4, 5, 3), 0.5)
    noisy = jax.jit(jax.vmap(lambda key: gaussian_noise(key, gray, sigma=0.05)))(KEYS)
    values = (np.asarray(noisy, np.float64).reshape(N, -1) - 0.5) / 0.05
    ordered = np.sort(values.reshape(-1))
    normal = stats.norm.cdf(ordered)
    # Kolmogorov-Smirnov, p = 0.001.
    assert np.abs(normal - (np.arange(len(ordered)) + 0.5) / len(ordered)).max() < 1.95 / np.sqrt(len(ordered))
    np.testing.assert_allclose((values**4).mean(), 3.0, atol=0.1)
    # The two halves of a word, and neighbouring values, are uncorrelated.
    assert np.abs(np.corrcoef(values, rowvar=False) - np.eye(60)).max() < 5.5 / np.sqrt(N)
    assert np.abs(np.corrcoef(values[:-1].T.ravel(), values[1:].T.ravel())[0, 1]) < 4.5 / np.sqrt(60 * N)


def test_noise_is_clipped_and_sigma_zero_adds_none(image):
    @jax.jit
    def run(image):
        key = jax.random.key(1)
        # An odd number of values: the last word gives only one.
        odd = gaussian_noise(key, image[:3, :3], sigma=0.1)
        return gaussian_noise(key, image, sigma=3.0), gaussian_noise(key, image, sigma=0.0), odd

    noisy, same, odd = run(image)
    assert np.min(noisy) == 0
    assert np.max(noisy) == 1
    np.testing.assert_array_equal(same, image)
    assert odd.shape == (3, 3, 3)


def test_quarter_turns_are_equally_likely(image):
    square = image[:, :6]
    results = np.asarray(jax.jit(jax.vmap(random_rotate, (0, None)))(KEYS, square))
    turns = [(results == np.rot90(square, turned)).all((1, 2, 3)).sum() for turned in range(4)]
    assert sum(turns) == N
    assert chi_square(np.array(turns), N / 4) < 16.3  # Three degrees of freedom, p = 0.001.
