"""Right and wrong calls of sslax.augment's colours, jitter, blur and flips."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from sslax import augment
from tests.hostile.pictures import (
    SEMANTICS,
    STRENGTHS,
    bad_images,
    equals,
    gray,
    images,
    in_unit,
    key,
    one_of,
    options,
    probabilities,
    same_shape,
    solarized,
)
from tests.hostile.pools import (
    INF,
    KEY,
    NAN,
    Case,
    bad_at_least_0,
    bad_choice,
    bad_count,
    bad_finite,
    bad_probability,
    bad_range,
    exact,
    finite,
    scalars,
    values,
)


def _brightness(a):
    change = np.add if a["semantics"] == "tensorflow" else np.multiply
    return np.clip(change(a["image"], float(a["amount"])), 0, 1)


def _check_jitter(a, result):
    for name in STRENGTHS:
        drawn = getattr(result, name)
        assert (drawn is None) == (float(a[name]) == 0)
        if drawn is not None:
            finite(drawn, shape=())
    assert sorted(np.asarray(result.order).tolist()) == [0, 1, 2, 3]


_strengths = {name: scalars(0.0, 1e-30, 0.4, 1e30) for name in ("brightness", "contrast", "saturation")}
_strengths["hue"] = scalars(0.0, 1e-30, 0.5)
_orders = st.one_of(st.none(), st.sampled_from([[3, 2, 1, 0], np.array([0, 2, 1, 3]), jnp.array([1, 0, 3, 2])]))
# Each is a program, or several.
_jitters = st.sampled_from(
    [
        {**STRENGTHS, "semantics": "torchvision"},
        {"brightness": 1e30, "contrast": 1e-30, "saturation": 1e30, "hue": 0.5, "semantics": "simclr"},
        {"brightness": 1e30, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "semantics": "tensorflow"},
    ]
)
_BAD_JITTER = {
    **dict.fromkeys(("brightness", "contrast", "saturation"), bad_at_least_0),
    "hue": lambda a: [*bad_at_least_0(a), 0.51],
    "order": values(
        [0, 1, 2], [0, 0, 1, 2], [1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0], "0123", [[0, 1, 2, 3]], [0, 1, 2, 2**40]
    ),
    "semantics": bad_choice,
}


def _kernel(image, sigma, radius, padding):
    offsets = np.arange(-radius, radius + 1) / max(sigma, 1e-4)
    taps = np.exp(-0.5 * offsets**2)
    taps /= taps.sum()
    mode = "symmetric" if padding == "reflect" else "constant"
    for axis in (0, 1):
        margins = [(radius, radius) if place == axis else (0, 0) for place in range(3)]
        padded = np.pad(image, margins, mode=mode)
        image = np.apply_along_axis(lambda line: np.convolve(line, taps, mode="valid"), axis, padded)
    return image


_colour = {"image": images(), "semantics": SEMANTICS}
_BAD_COLOUR = {"image": bad_images("image"), "semantics": bad_choice}


def _sobel(image):
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width, _ = image.shape
    taps = np.outer([1, 2, 1], [-1, 0, 1])
    parts = [(padded[y : y + height, x : x + width], taps[y, x], taps[x, y]) for y in range(3) for x in range(3)]
    return np.minimum(np.hypot(sum(p * r for p, r, _ in parts), sum(p * d for p, _, d in parts)) / 4, 1)


def _check_cutout(a, result):
    same_shape(a, result)
    image = np.float32(exact(a["image"]))
    kept = np.asarray(result) == image
    assert (np.asarray(result)[~kept] == np.float32(a["fill"])).all()
    most = max(1, min(image.shape[:2]) // 2) if a["size"] is None else a["size"]
    assert 0 <= (~kept).any(-1).sum() <= most**2


def _check_rotate(a, result):
    same_shape(a, result)
    assert any((np.asarray(result) == np.rot90(np.float32(exact(a["image"])), turns)).all() for turns in range(4))


_squares = (
    images()
    .map(lambda image: image if np.shape(image)[0] == 1 else [row[:3] for row in image[:3]])
    .map(lambda image: jnp.asarray(np.asarray(image, np.float32)))
)
_bad_rectangle = values(jnp.zeros((3, 5, 3)), np.zeros((1, 2, 3), np.float32))
CASES = {
    "augment.cutout": Case(
        augment.cutout,
        options(
            key=key,
            image=images(),
            size=st.sampled_from([None, 1, np.int32(2), 10**6]),
            fill=st.sampled_from([0.0, 0.5, 1]),
        ),
        _check_cutout,
        {
            "image": bad_images("image", rgb=False),
            "size": lambda a: [x for x in bad_count(a) if x is not None],
            "fill": bad_probability,
        },
    ),
    "augment.sobel": Case(
        augment.sobel,
        options(image=images()),
        equals(lambda a: _sobel(a["image"])),
        {"image": bad_images("image", rgb=False)},
    ),
    "augment.gaussian_noise": Case(
        augment.gaussian_noise,
        options(key=key, image=images(), sigma=scalars(0.0, 1e-30, 0.1, 1e30)),
        in_unit,
        {"image": bad_images("image", rgb=False), "sigma": bad_at_least_0},
    ),
    "augment.random_rotate": Case(
        augment.random_rotate,
        options(key=st.integers(0, 99).map(jax.random.key), image=_squares),
        _check_rotate,
        {"image": lambda a: [*bad_images("image", rgb=False)(a), *_bad_rectangle(a)]},
    ),
    "augment.adjust_brightness": Case(
        augment.adjust_brightness,
        options(**_colour, amount=scalars(0.0, 1e-30, 1.0, 1e30)),
        equals(_brightness),
        {**_BAD_COLOUR, "amount": bad_finite},
    ),
    "augment.adjust_contrast": Case(
        augment.adjust_contrast,
        options(**_colour, factor=scalars(0.0, 1e-30, 1.0, 1e30)),
        in_unit,
        {**_BAD_COLOUR, "factor": bad_at_least_0},
    ),
    "augment.adjust_saturation": Case(
        augment.adjust_saturation,
        options(**_colour, factor=scalars(0.0, 1e-30, 1.0, 1e30)),
        in_unit,
        {**_BAD_COLOUR, "factor": bad_at_least_0},
    ),
    "augment.adjust_hue": Case(
        augment.adjust_hue,
        options(image=images(), delta=scalars(0.0, -0.5, 1e-30, 7.25, -1e30)),
        in_unit,
        {"image": bad_images("image"), "delta": bad_finite},
    ),
    "augment.to_grayscale": Case(
        augment.to_grayscale,
        options(image=images(unit=False)),
        equals(lambda a: gray(a["image"])),
        {"image": bad_images("image", unit=False)},
    ),
    "augment.random_grayscale": Case(
        augment.random_grayscale,
        options(key=key, image=images(unit=False), probability=probabilities),
        one_of(gray),
        {"image": bad_images("image", unit=False), "probability": bad_probability},
    ),
    "augment.random_flip": Case(
        augment.random_flip,
        options(key=key, image=images(unit=False), probability=probabilities),
        one_of(lambda image: image[:, ::-1]),
        {"image": bad_images("image", unit=False, rgb=False), "probability": bad_probability},
    ),
    "augment.solarize": Case(
        augment.solarize,
        options(image=images(), threshold=probabilities),
        equals(lambda a: solarized(a["image"], a["threshold"])),
        {"image": bad_images("image", rgb=False), "threshold": bad_probability},
    ),
    "augment.random_solarize": Case(
        augment.random_solarize,
        options(key=key, image=images(), probability=probabilities),
        one_of(solarized),
        {"image": bad_images("image", rgb=False), "probability": bad_probability, "threshold": bad_probability},
    ),
    "augment.random_apply": Case(
        augment.random_apply,
        options(key=key, op=st.just(lambda image: -image), image=images(unit=False), probability=probabilities),
        one_of(np.negative),
        {
            "image": bad_images("image", unit=False, rgb=False),
            "probability": bad_probability,
            "op": values(lambda image: image[..., :1], lambda image: image[None], lambda image: image.mean()),
        },
    ),
    "augment.gaussian_blur": Case(
        augment.gaussian_blur,
        options(
            image=images(unit=False),
            sigma=scalars(0.0, 1e-30, 1.0, 1e30),
            radius=st.sampled_from([0, 3]),
            padding=st.sampled_from(["reflect", "zeros"]),
        ),
        lambda a, result: np.testing.assert_allclose(
            result,
            _kernel(exact(a["image"]), float(a["sigma"]), a["radius"], a["padding"]),
            rtol=1e-5,
            atol=1e-5 * np.abs(exact(a["image"])).max(),
        ),
        {
            "image": bad_images("image", unit=False, rgb=False),
            "sigma": bad_at_least_0,
            "radius": values(-1, 0.5, "1", None),
            "padding": bad_choice,
        },
    ),
    "augment.random_blur": Case(
        augment.random_blur,
        options(
            key=key,
            image=images(unit=False),
            probability=probabilities,
            sigma=st.sampled_from([(0.1, 2.0), (1e-30, 1e30)]),
            kernel_size=st.sampled_from([1, 3]),
        ),
        same_shape,
        {
            "image": bad_images("image", unit=False, rgb=False),
            "probability": bad_probability,
            "sigma": bad_range,
            "kernel_size": bad_count,
            "padding": bad_choice,
        },
    ),
    "augment.sample_blur": Case(
        augment.sample_blur,
        options(key=key, probability=probabilities, sigma=st.sampled_from([(0.1, 2.0), (1e-30, 1e30)])),
        lambda a, result: finite(result, dtype=jnp.float32, shape=()),
        {"probability": bad_probability, "sigma": bad_range},
    ),
    "augment.normalize": Case(
        augment.normalize,
        options(
            image=images(unit=False),
            mean=st.sampled_from([(0.0, 0.0, 0.0), (1e30, -1e30, 0.5)]),
            std=st.sampled_from([(1.0, 1.0, 1.0), (0.5, 1e30, 2.0)]),
        ),
        equals(lambda a: (a["image"] - np.array(a["mean"])) / np.array(a["std"])),
        {
            "image": bad_images("image", unit=False, rgb=False),
            "mean": values((0.0,), (0.0, NAN, 0.0), (INF, 0.0, 0.0), ("a", "b", "c"), (None,) * 3),
            "std": values((1.0,), (0.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (NAN, 1.0, 1.0), (1e-46, 1.0, 1.0), ("a",) * 3),
        },
    ),
    "augment.sample_order": Case(
        augment.sample_order,
        options(key=st.integers(0, 99).map(jax.random.key)),
        lambda a, result: np.testing.assert_array_equal(np.sort(result), np.arange(4)),
    ),
    "augment.sample_jitter": Case(
        augment.sample_jitter,
        options(key=key, **_strengths, semantics=SEMANTICS, probability=probabilities, order=_orders),
        _check_jitter,
        {**_BAD_JITTER, "probability": bad_probability},
        compiled=False,
    ),
    "augment.color_jitter": Case(
        augment.color_jitter,
        st.builds(
            lambda chosen, image, order: {**chosen, "key": KEY, "image": image, "order": order},
            _jitters,
            images(),
            _orders,
        ),
        in_unit,
        {"image": bad_images("image"), **_BAD_JITTER},
    ),
}
