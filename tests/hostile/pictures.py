"""Images as users hand them over, and what holds for every op on one."""

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from tests.hostile.pools import (
    KEY,
    NAN,
    NOT_ARRAYS,
    arrays,
    exact,
    finite,
    scalars,
    wide,
)

SIDES = st.sampled_from([(1, 1), (3, 5)])
STRENGTHS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
SEMANTICS = st.sampled_from(["torchvision", "simclr", "tensorflow"])
key = st.just(KEY)


@st.composite
def images(draw, count=None, unit=True, levels=False):
    """One image or `count` of them, of one pixel or not square: in [0, 1], or of any magnitude, or uint8."""
    shape = (*draw(SIDES), 3) if count is None else (count, 3, 5, 3)
    if levels and draw(st.booleans()):
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return draw(arrays(shape, low=0.0, high=1.0) if unit else arrays(shape, scales=(1e-30, 1.0, 1e30)))


def bad_images(name, *, unit=True, rgb=True, levels=False):
    """Images of a wrong type, shape or range."""

    def make(a):
        x = np.asarray(a[name]).astype(np.float64)
        wrong = [
            x[None],
            x[0],
            x[:0],
            x[:, :0],
            np.ones(x.shape, np.int32),
            x > 2,
            x + 1j,
            x.astype(str),
            np.full_like(x, 1e300),
        ]
        wrong += [*NOT_ARRAYS] if levels else [*NOT_ARRAYS, np.ones(x.shape, np.uint8)]
        wrong += [x + 1.1, x - 1.1, x * NAN, np.full(x.shape, 255.0), jnp.full(x.shape, -1.0)] if unit else []
        return wrong + ([x[..., :1], x[..., :2], np.concatenate([x, x[..., :1]], axis=-1)] if rgb else [])

    return make


def options(**strategies):
    return st.fixed_dictionaries(strategies)


def same_shape(a, result):
    wide(result)
    finite(result, shape=np.shape(a["image"]))


def in_unit(a, result):
    same_shape(a, result)
    assert 0 <= np.min(result) <= np.max(result) <= 1


def equals(reference, tolerance=2e-6):
    """The answer is the reference's, in float64."""

    def check(a, result):
        same_shape(a, result)
        wanted = reference({**a, "image": exact(a["image"])})
        np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance * max(1, np.abs(wanted).max()))

    return check


def one_of(reference):
    """The answer is the image or the reference's: with a probability of 0 the first, of 1 the other."""

    def check(a, result):
        same_shape(a, result)
        image = exact(a["image"])
        wanted = {0.0: [image], 1.0: [reference(image)]}.get(float(a["probability"]), [image, reference(image)])
        largest = np.abs(image).max()
        assert any(np.allclose(result, choice, rtol=1e-5, atol=2e-6 * max(largest, 1e-37)) for choice in wanted)

    return check


def gray(image):
    return np.repeat((image @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=-1)


def solarized(image, threshold=0.5):
    # The comparison is float32's.
    return np.where(np.float32(image) >= np.float32(threshold), 1 - image, image)


def sized(a, result):
    wide(result)
    finite(result, shape=(a["size"], a["size"], 3))


probabilities = scalars(0.0, 0.5, 1.0)
