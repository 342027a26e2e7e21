"""Right and wrong calls of the losses of SimSiam, SwAV, MoCo v3, NNCLR, Barlow Twins and VICReg, against float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from sslax import losses
from tests.hostile.losses import SHAPES, TEMPERATURES, log_softmax, unit
from tests.hostile.pools import (
    Case,
    arrays,
    bad_array,
    bad_at_least_0,
    bad_positive,
    bad_shape,
    both,
    exact,
    finite,
    scalars,
    values,
    wide,
)


def float32(*given):
    return [None if x is None else jnp.asarray(exact(x), jnp.float32) for x in given]


def _pair(first, second):
    return {name: both(bad_array(name), bad_shape(name)) for name in (first, second)}


@st.composite
def _simsiam(draw):
    shape = draw(SHAPES)
    prediction, projection = draw(arrays(shape, shape))
    return {"prediction": prediction, "projection": projection}


_simsiam_gradient = jax.jit(jax.grad(lambda prediction, projection: losses.simsiam(prediction, projection).sum()))


def _check_simsiam(a, result):
    prediction, projection = exact(a["prediction"]), exact(a["projection"])
    wide(result)
    finite(result, shape=prediction.shape[:1])
    np.testing.assert_allclose(result, -(unit(prediction) * unit(projection)).sum(-1), rtol=1e-5, atol=2e-6)
    finite(_simsiam_gradient(*float32(prediction, projection)))


@st.composite
def _swav(draw):
    shape = draw(SHAPES)
    codes = draw(arrays(shape, low=0.0, high=1.0))
    return {"scores": draw(arrays(shape)), "codes": codes, "temperature": draw(scalars(*TEMPERATURES))}


@jax.jit
def _swav_gradients(scores, codes, temperature):
    return jax.grad(lambda scores: losses.swav(scores, codes, temperature=temperature).sum())(scores)


def _check_swav(a, result):
    scores, codes, temperature = exact(a["scores"]), exact(a["codes"]), float(a["temperature"])
    wide(result)
    finite(result, shape=scores.shape[:1])
    wanted = -(codes * log_softmax(scores / temperature)).sum(-1)
    size = np.abs(scores).max() / temperature
    np.testing.assert_allclose(result, wanted, rtol=5e-5, atol=1e-5 + 2e-6 * size)
    finite(_swav_gradients(*float32(scores, codes), jnp.float32(temperature)))


def _bad_codes(a):
    codes = exact(a["codes"])
    return [codes - 1.5, codes + 1.5, np.full_like(codes, np.nan), np.full_like(codes, np.inf)]


@st.composite
def _info_nce(draw):
    n, d = draw(st.sampled_from([(1, 3), (4, 3)]))
    query, key, negatives = draw(arrays((n, d), (n, d), (2, d)))
    options = {"negatives": draw(st.sampled_from([None, negatives])), "temperature": draw(scalars(*TEMPERATURES))}
    return {"query": query, "key": key, "block_size": draw(st.sampled_from([None, 3])), **options}


@functools.partial(jax.jit, static_argnames="block_size")
def _info_nce_gradients(query, key, temperature, negatives, block_size):
    def loss(*a):
        return losses.info_nce(*a[:2], temperature=a[2], negatives=negatives, block_size=block_size).sum()

    return jax.grad(loss, (0, 1, 2))(query, key, temperature)


def _check_info_nce(a, result):
    query, keys, temperature = unit(exact(a["query"])), unit(exact(a["key"])), float(a["temperature"])
    n = len(query)
    if a["negatives"] is not None:
        keys = np.concatenate([keys, unit(exact(a["negatives"]))])
    wide(result)
    finite(result, shape=(n,))
    wanted = -np.diagonal(log_softmax(query @ keys.T / temperature))
    np.testing.assert_allclose(result, wanted, rtol=2e-5, atol=2e-5 + 5e-6 / temperature)
    query, key, negatives = float32(a["query"], a["key"], a["negatives"])
    finite(*_info_nce_gradients(query, key, jnp.float32(temperature), negatives, a["block_size"]))


def _bad_negatives(a):
    # None is right, and so is any number of rows.
    other = np.ones((2, np.shape(a["query"])[1]))
    wrong = [x for x in bad_array("negatives")({"negatives": other}) if x is not None]
    return [*wrong, np.ones((2, other.shape[1] + 1)), other[..., None]]


@st.composite
def _barlow_twins(draw, *, terms=False):
    shape = draw(st.sampled_from([(2, 1), (4, 3)]))
    z1, z2 = draw(arrays(shape, shape))
    return {"z1": z1, "z2": z2} | ({} if terms else {"off_diagonal": draw(scalars(0.0, 1e-30, 0.0051, 1.0))})


_barlow_twins_gradients = jax.jit(jax.grad(lambda *z: losses.barlow_twins(*z), (0, 1)))


def _barlow_twins_wanted(a):
    standard = [(z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (exact(a["z1"]), exact(a["z2"]))]
    correlation = standard[0].T @ standard[1] / len(standard[0])
    squares = np.square(np.eye(len(correlation)) - correlation)
    on = np.trace(squares)
    return np.array([on, squares.sum() - on])


def _check_barlow_twins(a, result):
    wide(result)
    finite(result, shape=())
    wanted = _barlow_twins_wanted(a) @ [1, float(a["off_diagonal"])]
    np.testing.assert_allclose(result, wanted, rtol=2e-5, atol=2e-5)
    finite(*_barlow_twins_gradients(*float32(a["z1"], a["z2"])))


def _check_barlow_twins_terms(a, result):
    np.testing.assert_allclose(result, _barlow_twins_wanted(a), rtol=2e-5, atol=2e-5)


@st.composite
def _vicreg(draw, *, terms=False):
    shape = draw(st.sampled_from([(2, 1), (4, 3)]))
    # Of 1e30 the squared covariances would be 1e120.
    z1, z2 = draw(arrays(shape, shape, scales=(1e-30, 1.0, 1e4)))
    if terms:
        return {"z1": z1, "z2": z2}
    weights = {name: draw(scalars(0.0, 1e-30, 1.0, 25.0)) for name in ("invariance", "variance", "covariance")}
    return {"z1": z1, "z2": z2, **weights, "halved": draw(st.booleans())}


_vicreg_gradients = jax.jit(jax.grad(lambda *z: losses.vicreg(*z), (0, 1)))


def _vicreg_wanted(a):
    z = np.stack([exact(a["z1"]), exact(a["z2"])])
    centred = z - z.mean(axis=1, keepdims=True)
    covariances = centred.transpose(0, 2, 1) @ centred / (z.shape[1] - 1)
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    off = np.where(np.eye(z.shape[2], dtype=bool), 0, covariances)
    hinge = np.maximum(0, 1 - np.sqrt(variances + 1e-4))
    return np.array([np.mean((z[0] - z[1]) ** 2), hinge.mean(), (off**2).sum() / z.shape[2]])


def _check_vicreg(a, result):
    wide(result)
    finite(result, shape=())
    weights = np.array([float(a[name]) for name in ("invariance", "variance", "covariance")])
    wanted = (weights * [1, 1 if a["halved"] else 2, 1]) @ _vicreg_wanted(a)
    np.testing.assert_allclose(result, wanted, rtol=2e-5, atol=1e-5 * weights[1])
    finite(*_vicreg_gradients(*float32(a["z1"], a["z2"])))


def _check_vicreg_terms(a, result):
    np.testing.assert_allclose(result, _vicreg_wanted(a), rtol=2e-5, atol=1e-5)


def _statistics(name):
    """Wrong features for the losses of a batch's statistics: a single row in both views is no batch."""
    return both(bad_array(name), bad_shape(name))


_FEATURES = {name: _statistics(name) for name in ("z1", "z2")}
_LARGE = {
    name: both(_statistics(name), lambda a: [np.full(np.shape(a["z1"]), 1e30, np.float32)]) for name in ("z1", "z2")
}

CASES = {
    "losses.simsiam": Case(losses.simsiam, _simsiam(), _check_simsiam, _pair("prediction", "projection")),
    "losses.swav": Case(
        losses.swav,
        _swav(),
        _check_swav,
        {
            **_pair("scores", "codes"),
            "codes": both(bad_array("codes"), bad_shape("codes"), _bad_codes),
            "temperature": bad_positive,
        },
    ),
    "losses.info_nce": Case(
        losses.info_nce,
        _info_nce(),
        _check_info_nce,
        {
            **_pair("query", "key"),
            "negatives": _bad_negatives,
            "temperature": bad_positive,
            "block_size": values(0, -3, 1.5, "8"),
        },
    ),
    "losses.barlow_twins": Case(
        losses.barlow_twins, _barlow_twins(), _check_barlow_twins, {**_FEATURES, "off_diagonal": bad_at_least_0}
    ),
    "losses.barlow_twins_terms": Case(
        losses.barlow_twins_terms, _barlow_twins(terms=True), _check_barlow_twins_terms, _FEATURES
    ),
    "losses.vicreg": Case(
        losses.vicreg,
        _vicreg(),
        _check_vicreg,
        {**_LARGE, "invariance": bad_at_least_0, "variance": bad_at_least_0, "covariance": bad_at_least_0},
    ),
    "losses.vicreg_terms": Case(losses.vicreg_terms, _vicreg(terms=True), _check_vicreg_terms, _LARGE),
}
