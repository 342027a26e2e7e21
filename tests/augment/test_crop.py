"""Crops against stored values of torch and against jax.image.resize; the sampled boxes against their definitions."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sslax.augment import crop_and_resize, random_flip, random_resized_crop, sample_crop
from sslax.augment.crop import crop_planes

N = 2000


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_equals_torch(golden, method):
    values = golden("crop_resize")
    crop = jax.jit(jax.vmap(functools.partial(crop_and_resize, size=32, method=method), in_axes=(None, 0)))
    for i, image in enumerate(values["images"]):
        wanted = values[method][i]
        result = crop(image.astype(np.float32) / 255, values["boxes"][i][: len(wanted)])
        assert np.abs(result - wanted).max() <= 1e-5 * np.abs(wanted).max()


def resize_matrix(start, length, size, pixels, method):
    """The definition in float64: the kernel at the pixels of the box, wider for downsampling, with weights that sum to one."""
    scale = length / size
    centres = start + (np.arange(size)[:, None] + 0.5) * scale - 0.5
    distance = np.abs(np.arange(pixels) - centres) / max(scale, 1.0)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    cubic = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    weights = cubic if method == "bicubic" else np.maximum(1 - distance, 0.0)
    weights[:, : int(start)] = 0
    weights[:, int(start + length) :] = 0
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("size", "method"), [(7, "bicubic"), (7, "bilinear"), (48, "bicubic")])
def test_equals_the_definition(size, method):
    """Strong downsampling (rows as a matrix product too), the exact size, upsampling, and boxes of single pixels."""
    image = np.random.default_rng(0).random((200, 256, 2), dtype=np.float32)
    boxes = [(0, 0, 200, 256), (193, 240, 7, 7), (199, 255, 1, 1), (100, 0, 100, 3), (0, 120, 2, 136)]
    crop = jax.jit(jax.vmap(functools.partial(crop_and_resize, size=size, method=method), in_axes=(None, 0)))
    for (y, x, h, w), result in zip(boxes, np.asarray(crop(image, np.array(boxes))), strict=True):
        rows, columns = resize_matrix(y, h, size, 200, method), resize_matrix(x, w, size, 256, method)
        np.testing.assert_allclose(result, np.einsum("oh,hwc,pw->opc", rows, image, columns, optimize=True), atol=3e-6)


def test_equals_jax_image_resize_of_the_whole():
    """Of the same size, the whole box is the image itself."""
    image = np.random.default_rng(0).random((40, 56, 2), dtype=np.float32)

    @jax.jit
    def run(image, whole, square):
        resized = crop_and_resize(image, whole, size=24), jax.image.resize(image, (24, 24, 2), "bicubic")
        return resized, crop_and_resize(image[:16, :16], square, size=16)

    (result, wanted), same = run(image, np.array([0, 0, 40, 56]), np.array([0, 0, 16, 16]))
    np.testing.assert_allclose(result, wanted, atol=1e-5)
    np.testing.assert_array_equal(same, image[:16, :16])


@pytest.mark.parametrize("size", [2, 16, 40])
@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_no_pixel_outside_the_box_is_read(size, method):
    image = np.random.default_rng(1).random((24, 24, 3), dtype=np.float32)
    boxes = np.array([(0, 0, 5, 24), (3, 7, 9, 4), (20, 20, 4, 4), (11, 0, 1, 23)])
    poisoned = []
    for y, x, h, w in boxes:
        inside = np.zeros((24, 24, 1), bool)
        inside[y : y + h, x : x + w] = True
        poisoned.append(np.where(inside, image, np.float32(1e30)))
    crop = jax.jit(jax.vmap(functools.partial(crop_and_resize, size=size, method=method)))
    clean = crop(np.stack([image] * len(boxes)), boxes)
    np.testing.assert_array_equal(crop(np.stack(poisoned), boxes), clean)


def test_the_flip_mirrors_the_crop():
    image = np.random.default_rng(3).random((12, 20, 3), dtype=np.float32)
    box = np.array([2.0, 4.0, 9.0, 7.0], np.float32)

    @jax.jit
    def run(key, image, box):
        planes = jax.vmap(lambda flip: crop_planes(image, box, size=8, flip=flip))(jnp.array([False, True]))
        flips = jax.vmap(lambda key: random_flip(key, image, probability=0.3))(jax.random.split(key, N))
        return crop_and_resize(image, box, size=8), planes, flips

    plain, planes, flips = jax.device_get(run(jax.random.key(0), image, box))
    for flip in (False, True):
        wanted = plain[:, ::-1] if flip else plain
        np.testing.assert_allclose(np.moveaxis(planes[int(flip)], 0, -1), wanted, atol=1e-6)
    flipped = (flips == image[:, ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (flips == image).all(axis=(1, 2, 3))).all()
    assert abs(flipped.mean() - 0.3) < 0.04


def draw_torchvision(rng, height, width, area, aspect):
    """torchvision's RandomResizedCrop, one box at a time."""
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    ratio = min(max(width / height, aspect[0]), aspect[1])
    h, w = (height, round(height * ratio)) if width / height > ratio else (round(width / ratio), width)
    return (height - h) // 2, (width - w) // 2, h, w


def draw_tensorflow(rng, height, width, area, aspect):
    """TensorFlow's sample_distorted_bounding_box over the whole image, one box at a time."""
    for _ in range(10):
        ratio = rng.uniform(*aspect)
        low, high = (round(math.sqrt(share * height * width / ratio)) for share in area)
        if round(high * ratio) > width:
            high = math.floor((width + 0.5 - 1e-7) / ratio)
        high = min(high, height)
        h = rng.integers(min(low, high), high + 1)
        h += h * round(h * ratio) < area[0] * height * width
        h -= h * round(h * ratio) > area[1] * height * width
        w = round(h * ratio)
        fits = area[0] * height * width <= h * w <= area[1] * height * width
        if fits and 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    return 0, 0, height, width


REFERENCES = {"torchvision": draw_torchvision, "tensorflow": draw_tensorflow}


@functools.partial(jax.jit, static_argnums=(1, 2), static_argnames=("area", "sampling", "min_covered"))
def _boxes(key, height, width, *, image_aspect=None, **options):
    draw = functools.partial(sample_crop, height=height, width=width, image_aspect=image_aspect, **options)
    return jax.vmap(draw)(jax.random.split(key, N))


def draw_boxes(seed, height, width, **options):
    return np.asarray(_boxes(jax.random.key(seed), height, width, **options), np.float64)


def features(boxes, height, width, true_aspect):
    """A box in terms of the original image: share of the area, log aspect, centre in both directions."""
    y, x, h, w = boxes.T
    area = h * w / (height * width)
    aspect = np.log(w / h * height / width * true_aspect)
    return {"area": area, "aspect": aspect, "y": (y + h / 2) / height, "x": (x + w / 2) / width}


@pytest.mark.parametrize("sampling", ["torchvision", "tensorflow"])
@pytest.mark.parametrize(
    ("canvas", "true", "area"),
    [
        ((224, 224), (224, 224), (0.08, 1.0)),
        ((160, 240), (160, 240), (0.14, 1.0)),  # Not square, and not squashed.
        ((500, 500), (400, 600), (0.08, 1.0)),  # Squashed to a square: crops are those of the true image.
        ((600, 600), (1200, 400), (0.05, 0.4)),  # A portrait that few draws fit.
    ],
)
def test_boxes_are_distributed_as_defined(sampling, canvas, true, area):
    aspect = (3 / 4, 4 / 3)
    true_aspect = true[1] / true[0]
    image_aspect = None if canvas == true else np.float32(true_aspect)
    boxes = draw_boxes(0, *canvas, area=area, image_aspect=image_aspect, sampling=sampling)
    assert (boxes == np.round(boxes)).all()
    assert (boxes >= [0, 0, 1, 1]).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= canvas).all()
    rng = np.random.default_rng(1)
    # In the proportions of the original image, at the resolution of the canvas.
    fine = np.array(true) * math.sqrt(canvas[0] * canvas[1] / (true[0] * true[1]))
    height, width = np.round(fine).astype(int)
    reference = np.array([REFERENCES[sampling](rng, height, width, area, aspect) for _ in range(N)], np.float64)
    ours, wanted = features(boxes, *canvas, true_aspect), features(reference, height, width, true_aspect)
    for name in ours:
        # Integer pixels are different shares on different grids; the test statistic must not detect this.
        jitter = rng.uniform(-0.02, 0.02, (2, N))
        p = stats.ks_2samp(ours[name] + jitter[0], wanted[name] + jitter[1]).pvalue
        assert p > 1e-3, name


def test_the_fallback_box_if_no_draw_fits():
    """In a panorama nine times as wide as high, no allowed crop covers a fifth of the area."""
    options = {"area": (0.2, 1.0), "image_aspect": np.float32(9.0)}
    width = round(500 * 4 / 3 / 9)
    boxes = draw_boxes(2, 500, 500, **options, sampling="torchvision")
    np.testing.assert_array_equal(boxes, np.tile([0, (500 - width) // 2, 500, width], (N, 1)))
    boxes = draw_boxes(2, 500, 500, **options, sampling="tensorflow")
    np.testing.assert_array_equal(boxes, np.tile([0, 0, 500, 500], (N, 1)))
    portrait = {"area": (0.2, 1.0), "image_aspect": np.float32(1 / 9)}
    boxes = draw_boxes(2, 500, 500, **portrait, sampling="torchvision")
    np.testing.assert_array_equal(boxes, np.tile([(500 - width) // 2, 0, width, 500], (N, 1)))


def test_areas_and_aspects_are_uniform_if_every_draw_fits():
    """With areas so small that every draw fits, the distributions are exactly the uniform ones of the definition."""
    area = (0.05, 0.3)
    for sampling in REFERENCES:
        y, x, h, w = draw_boxes(2, 2000, 2000, area=area, sampling=sampling).T
        uniform = stats.uniform(-math.log(4 / 3), 2 * math.log(4 / 3)) if sampling == "torchvision" else None
        if sampling == "torchvision":
            assert stats.kstest(h * w / 2000**2, stats.uniform(0.05, 0.25).cdf).pvalue > 1e-3
            assert stats.kstest(np.log(w / h), uniform.cdf).pvalue > 1e-3
        else:
            assert stats.kstest(w / h, stats.uniform(3 / 4, 4 / 3 - 3 / 4).cdf).pvalue > 1e-3
            low, high = (np.sqrt(share * 2000**2 / (w / h)) for share in area)
            assert stats.kstest((h - low) / (high - low), stats.uniform(0, 1).cdf).pvalue > 1e-3
        for start, length in ((y, h), (x, w)):
            assert stats.kstest(start / (2000 - length), stats.uniform(0, 1).cdf).pvalue > 1e-3


def test_min_covered_is_tensorflows_overlap():
    boxes = draw_boxes(3, 224, 224, sampling="tensorflow", min_covered=0.1)
    assert 0.1 <= (boxes[:, 2] * boxes[:, 3]).min() / 224**2 < 0.11
    boxes = draw_boxes(0, 224, 224, sampling="tensorflow", area=(0.08, 1.0), image_aspect=None)
    assert 0.08 <= (boxes[:, 2] * boxes[:, 3]).min() / 224**2 < 0.09


def test_random_resized_crop_resizes_and_clips_the_drawn_box():
    image = np.random.default_rng(4).integers(0, 2, (20, 20, 3)).astype(np.float32)

    @jax.jit
    def run(key, image):
        keys = jax.random.split(key, 16)
        boxes = jax.vmap(functools.partial(sample_crop, height=20, width=20))(keys)
        plain = jax.vmap(functools.partial(crop_and_resize, size=12), in_axes=(None, 0))(image, boxes)
        return jax.vmap(functools.partial(random_resized_crop, size=12), in_axes=(0, None))(keys, image), plain

    results, plain = jax.device_get(run(jax.random.key(5), image))
    assert results.min() >= 0
    assert results.max() <= 1
    assert plain.max() > 1.01  # Bicubic overshoots.
    np.testing.assert_allclose(results, np.clip(plain, 0.0, 1.0), atol=3e-6)
