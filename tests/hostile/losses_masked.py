"""Right and wrong calls of the losses of masked patches, and of KoLeo and SIGReg."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from sslax import losses
from tests.hostile.losses import TEMPERATURES, log_softmax, unit
from tests.hostile.pools import (
    Case,
    arrays,
    bad_array,
    bad_count,
    bad_positive,
    bad_shape,
    both,
    exact,
    finite,
    scalars,
    wide,
)

SHAPE, MASK = (2, 3, 4), (2, 3)


def _float32(*given):
    return [jnp.asarray(exact(x), jnp.float32) for x in given]


@st.composite
def _masks(draw):
    return np.asarray(draw(st.lists(st.booleans(), min_size=6, max_size=6))).reshape(MASK)


def _bad_mask(a):
    return [np.ones(MASK), np.ones((2, 4), bool), np.ones(3, bool), None, "mask"]


def _over_masked(errors, mask):
    return np.where(mask, errors, 0).sum(-1) / np.maximum(mask.sum(-1), 1)


@st.composite
def _ibot(draw):
    target = draw(arrays(SHAPE, low=0.0, high=1.0))
    return {
        "student": draw(arrays(SHAPE)),
        "target": target,
        "mask": draw(_masks()),
        "temperature": draw(scalars(*TEMPERATURES)),
    }


_ibot_gradient = jax.jit(jax.grad(lambda x, y, mask, t: losses.ibot(x, y, mask, temperature=t).sum(), (0, 3)))


def _check_ibot(a, result):
    student, target, temperature = exact(a["student"]), exact(a["target"]), float(a["temperature"])
    wide(result)
    finite(result, shape=(2,))
    wanted = _over_masked(-(target * log_softmax(student / temperature)).sum(-1), a["mask"])
    size = np.abs(student).max() / temperature
    np.testing.assert_allclose(result, wanted, rtol=5e-5, atol=1e-5 + 4e-6 * size)
    finite(*_ibot_gradient(*_float32(student, target), a["mask"], jnp.float32(temperature)))


@st.composite
def _mae(draw):
    # Squares of 1e30 are beyond float32.
    prediction, patches = draw(arrays(SHAPE, SHAPE, scales=(1e-30, 1.0, 1e4, 1e15)))
    return {"prediction": prediction, "patches": patches, "mask": draw(_masks()), "normalize": draw(st.booleans())}


@functools.partial(jax.jit, static_argnames="normalize")
def _mae_gradient(prediction, patches, mask, normalize):
    return jax.grad(lambda x: losses.mae(x, patches, mask, normalize=normalize).sum())(prediction)


def _check_mae(a, result):
    prediction, patches = exact(a["prediction"]), exact(a["patches"])
    wide(result)
    finite(result, shape=(2,))
    if not a["normalize"]:
        wanted = _over_masked(((prediction - patches) ** 2).mean(-1), a["mask"])
        largest = max(np.abs(prediction).max(), np.abs(patches).max())
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5 * largest**2 + 1e-37)
    finite(_mae_gradient(*_float32(prediction, patches), a["mask"], a["normalize"]))


_koleo_gradient = jax.jit(jax.grad(lambda x: losses.koleo(x).sum()))


def _check_koleo(a, result):
    z = unit(exact(a["features"]))
    wide(result)
    finite(result, shape=z.shape[:1])
    similarity = z @ z.T - 3 * np.eye(len(z))
    nearest = np.linalg.norm(z - z[similarity.argmax(axis=1)], axis=-1)
    # Two neighbours that are equally near differ by rounding, and the logarithm of a distance near 0 is that of rounding.
    best = np.sort(similarity, axis=1)
    clear = (nearest > 1e-2) & (best[:, -1] - best[:, -2] > 1e-5)
    np.testing.assert_allclose(np.asarray(result)[clear], -np.log(nearest[clear]), atol=1e-3)
    finite(_koleo_gradient(*_float32(a["features"])))


_sigreg_gradient = jax.jit(jax.grad(lambda z, directions: losses.sigreg(z, directions)))


def _check_sigreg(a, result):
    wide(result)
    finite(result, shape=())
    # Characteristic functions differ by 2 at most, over an interval of twice the limit.
    assert 0 <= float(result) <= 4 * len(exact(a["z"])) * 2 * float(a["limit"])
    finite(_sigreg_gradient(*_float32(a["z"], a["directions"])))


@st.composite
def _sigreg(draw):
    z, directions = draw(arrays((5, 3), (3, 2)))
    return {"z": z, "directions": directions, "knots": draw(st.sampled_from([2, 17])), "limit": draw(scalars(0.5, 3.0))}


def _arrays(*names):
    return {name: both(bad_array(name), bad_shape(name)) for name in names}


CASES = {
    "losses.ibot": Case(
        losses.ibot,
        _ibot(),
        _check_ibot,
        {**_arrays("student", "target"), "mask": _bad_mask, "temperature": bad_positive},
    ),
    "losses.mae": Case(losses.mae, _mae(), _check_mae, {**_arrays("prediction", "patches"), "mask": _bad_mask}),
    "losses.koleo": Case(
        losses.koleo,
        st.fixed_dictionaries({"features": arrays((6, 4))}),
        _check_koleo,
        {"features": bad_array("features")},
    ),
    "losses.sigreg": Case(
        losses.sigreg,
        _sigreg(),
        _check_sigreg,
        {**_arrays("z", "directions"), "knots": bad_count, "limit": bad_positive},
    ),
}
