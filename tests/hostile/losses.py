"""Right and wrong calls of sslax.losses, against float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from sslax import losses
from tests.hostile.pools import (
    Case,
    arrays,
    bad_array,
    bad_at_least_0,
    bad_positive,
    bad_probability,
    bad_shape,
    both,
    exact,
    finite,
    held,
    scalars,
    values,
    wide,
)

TEMPERATURES = (1e-3, 0.1, 1.0, 1e3)
SHAPES = st.sampled_from([(1, 1), (1, 3), (4, 3)])


def unit(x):
    largest = np.abs(x).max(axis=-1, keepdims=True)
    x = x / np.where(largest == 0, 1, largest)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length == 0, 1, length)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@st.composite
def _nt_xent(draw):
    shape = draw(SHAPES)
    normalize = draw(st.booleans())
    z1, z2 = draw(arrays(shape, shape, **({} if normalize else {"scales": (1e-30, 1.0, 1e4)})))
    options = {"normalize": normalize, "block_size": draw(st.sampled_from([None, 1, 3]))}
    return {"z1": z1, "z2": z2, "temperature": draw(scalars(*TEMPERATURES)), **options}


@jax.jit
def _nt_xent_gradients(z1, z2, temperature):
    return jax.grad(lambda *a: losses.nt_xent(*a[:2], temperature=a[2]).sum(), (0, 1, 2))(z1, z2, temperature)


def _check_nt_xent(a, result):
    z, temperature = np.concatenate([exact(a["z1"]), exact(a["z2"])]), float(a["temperature"])
    logits = (unit(z) @ unit(z).T if a["normalize"] else z @ z.T) / temperature
    n = len(z) // 2
    partner = logits[np.arange(2 * n), (np.arange(2 * n) + n) % (2 * n)]
    np.fill_diagonal(logits, -np.inf)
    peak = logits.max(axis=1, keepdims=True)
    wanted = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0] - partner
    wide(result)
    finite(result, shape=(n,))
    size = np.abs(np.where(np.isfinite(logits), logits, 0)).max()
    np.testing.assert_allclose(result, wanted.reshape(2, n).mean(0), rtol=2e-5, atol=2e-5 + 5e-6 * size)
    if a["normalize"]:
        rows = [jnp.asarray(exact(a[name]), jnp.float32) for name in ("z1", "z2")]
        finite(*_nt_xent_gradients(*rows, jnp.float32(temperature)))


@st.composite
def _pairwise(draw, name, numbers):
    shape = draw(SHAPES)
    normalize = draw(st.booleans())
    z1, z2 = draw(arrays(shape, shape, **({} if normalize else {"scales": (1e-30, 1.0, 1e4)})))
    return {"z1": z1, "z2": z2, name: draw(scalars(*numbers)), "normalize": normalize, "semi_hard": draw(st.booleans())}


@functools.partial(jax.jit, static_argnames=("loss", "name", "semi_hard"))
def _pairwise_gradients(z1, z2, number, *, loss, name, semi_hard):
    return jax.grad(lambda *a: loss(*a[:2], **{name: a[2]}, semi_hard=semi_hard).sum(), (0, 1, 2))(z1, z2, number)


def _check_pairwise(loss, name):
    def check(a, result):
        z, number = np.concatenate([exact(a["z1"]), exact(a["z2"])]), float(a[name])
        z = unit(z) if a["normalize"] else z
        n = len(z) // 2
        temperature, margin = (number, 0.0) if name == "temperature" else (1.0, number)
        # What is less than float32 can hold is equally far there: which of them is the hardest is asked after that.
        logits = held(z @ z.T / temperature, np.float32)
        wanted = np.zeros(2 * n)
        for i, row in enumerate(logits):
            positive, negatives = row[(i + n) % (2 * n)], np.delete(row, [i, (i + n) % (2 * n)])
            if a["semi_hard"]:
                negatives = np.sort(negatives[negatives < positive])[-1:]
            if name == "temperature":
                wanted[i] += np.logaddexp(0, -positive)
                negatives = np.logaddexp(0, negatives)
            else:
                negatives = np.maximum(negatives - positive + margin, 0)
            wanted[i] += negatives.mean() if len(negatives) else 0
        wide(result)
        finite(result, shape=(n,))
        size = np.abs(logits).max()
        np.testing.assert_allclose(result, wanted.reshape(2, n).mean(0), rtol=2e-5, atol=2e-5 + 5e-6 * size)
        if a["normalize"]:
            rows = [jnp.asarray(exact(a[name]), jnp.float32) for name in ("z1", "z2")]
            semi_hard = a["semi_hard"]
            finite(*_pairwise_gradients(*rows, jnp.float32(number), loss=loss, name=name, semi_hard=semi_hard))

    return check


@st.composite
def _byol(draw):
    shape = draw(SHAPES)
    prediction, target = draw(arrays(shape, shape))
    return {"prediction": prediction, "target": target}


_byol_gradient = jax.jit(jax.grad(lambda prediction, target: losses.byol(prediction, target).sum()))


def _check_byol(a, result):
    prediction, target = exact(a["prediction"]), exact(a["target"])
    wide(result)
    finite(result, shape=prediction.shape[:1])
    wanted = np.sum((unit(prediction) - unit(target)) ** 2, axis=-1)
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=2e-6)
    finite(_byol_gradient(jnp.asarray(prediction, jnp.float32), jnp.asarray(target, jnp.float32)))


_FOUR = ("prediction1", "prediction2", "target1", "target2")


@st.composite
def _byol_contrastive(draw):
    shape = draw(SHAPES)
    made = dict(zip(_FOUR, draw(arrays(*4 * (shape,))), strict=True))
    return {**made, "negatives": draw(scalars(0.0, 0.3, 1.0)), "temperature": draw(scalars(*TEMPERATURES))}


@jax.jit
def _byol_contrastive_gradients(arrays, negatives, temperature):
    def loss(arrays, negatives, temperature):
        return losses.byol_contrastive(*arrays, negatives=negatives, temperature=temperature).sum()

    return jax.grad(loss, (0, 1, 2))(arrays, negatives, temperature)


def _check_byol_contrastive(a, result):
    p1, p2, t1, t2 = (unit(exact(a[name])) for name in _FOUR)
    negatives, temperature = float(a["negatives"]), float(a["temperature"])
    logits = np.concatenate([p1, p2]) @ np.concatenate([t1, t2]).T / temperature
    np.fill_diagonal(logits, -np.inf)
    peak = logits.max(axis=1, keepdims=True)
    partitions = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0]
    wanted = ((p1 - t2) ** 2).sum(-1) + ((p2 - t1) ** 2).sum(-1)
    wanted += 2 * negatives * temperature * partitions.reshape(2, -1).sum(0)
    wide(result)
    finite(result, shape=p1.shape[:1])
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=5e-6)
    rows = [jnp.asarray(exact(a[name]), jnp.float32) for name in _FOUR]
    finite(*jax.tree.leaves(_byol_contrastive_gradients(rows, jnp.float32(negatives), jnp.float32(temperature))))


@st.composite
def _dino(draw):
    s, t, n, k = draw(st.sampled_from([(2, 1, 1, 1), (2, 2, 3, 4)]))
    student, teacher, center = draw(arrays((s, n, k), (t, n, k), (k,)))
    temperatures = {name: draw(scalars(*TEMPERATURES)) for name in ("student_temperature", "teacher_temperature")}
    return {"student": student, "teacher": teacher, "center": center, **temperatures}


@jax.jit
def _dino_gradient(student, teacher, center, **temperatures):
    return jax.grad(lambda student: losses.dino(student, teacher, center, **temperatures).sum())(student)


def _check_dino(a, result):
    student, teacher, center = exact(a["student"]), exact(a["teacher"]), exact(a["center"])
    warm, cold = float(a["student_temperature"]), float(a["teacher_temperature"])
    wide(result)
    finite(result, shape=student.shape[1:2])
    # The teacher's logits in float32, as at small temperatures the last bit of one decides which is the largest.
    teacher = (np.float32(teacher) - np.float32(center)).astype(np.float64)
    log_p, q = log_softmax(student / warm), np.exp(log_softmax(teacher / cold))
    pairs = [-(q[t] * log_p[s]).sum(-1) for t in range(len(q)) for s in range(len(log_p)) if s != t]
    np.testing.assert_allclose(
        result, np.mean(pairs, axis=0), rtol=5e-5, atol=1e-5 + 2e-6 * np.abs(student).max() / warm
    )
    rows = [jnp.asarray(exact(a[name]), jnp.float32) for name in ("student", "teacher", "center")]
    finite(_dino_gradient(*rows, student_temperature=jnp.float32(warm), teacher_temperature=jnp.float32(cold)))


_DINO_WRONG = {
    **{name: both(bad_array(name), bad_shape(name)) for name in ("student", "center")},
    # Of one or of two crops it would be right.
    "teacher": both(bad_array("teacher"), lambda a: bad_shape("teacher")(a)[1:]),
}


@st.composite
def _dino_mse(draw):
    s, t, n, k = draw(st.sampled_from([(2, 1, 1, 1), (2, 2, 3, 4)]))
    student, teacher, center = draw(arrays((s, n, k), (t, n, k), (k,)))
    return {"student": student, "teacher": teacher, "center": center}


_dino_mse_gradient = jax.jit(jax.grad(lambda student, *rest: losses.dino_mse(student, *rest).sum()))


def _check_dino_mse(a, result):
    student, teacher, center = exact(a["student"]), exact(a["teacher"]), exact(a["center"])
    wide(result)
    finite(result, shape=student.shape[1:2])
    # In float32, as where the two are near each other all that is left is rounding.
    u, v = unit(student), unit((np.float32(teacher) - np.float32(center)).astype(np.float64))
    pairs = [((u[s] - v[t]) ** 2).sum(-1) for t in range(len(v)) for s in range(len(u)) if s != t]
    np.testing.assert_allclose(result, np.mean(pairs, axis=0), rtol=1e-5, atol=2e-6)
    finite(_dino_mse_gradient(*(jnp.asarray(x, jnp.float32) for x in (student, teacher, center))))


@st.composite
def _sinkhorn_knopp(draw):
    logits = draw(arrays(draw(SHAPES)))
    return {
        "logits": logits,
        "temperature": draw(scalars(*TEMPERATURES)),
        "iterations": draw(st.sampled_from([1, 3])),
        # Half of the rows or all of them; of those that are left out only the sum is known.
        "where": np.arange(len(logits)) % 2 == 0 if draw(st.booleans()) else None,
    }


def _check_sinkhorn_knopp(a, result):
    logits, temperature = exact(a["logits"]), float(a["temperature"])
    wide(result)
    finite(result, shape=logits.shape)
    assert (np.asarray(result) >= 0).all()
    np.testing.assert_allclose(np.sum(result, axis=1), 1, atol=1e-6)
    log_q = logits / temperature
    counted = slice(None) if a["where"] is None else a["where"]
    log_q, result = log_q[counted], np.asarray(result)[counted]
    # Beyond, float32 does not hold logits apart that belong together.
    if np.abs(log_q).max() < 1e3:
        for _ in range(a["iterations"]):
            log_q = log_softmax(log_softmax(log_q.T).T)
        np.testing.assert_allclose(result, np.exp(log_q), atol=1e-6 * (1 + np.abs(logits).max() / temperature))


@st.composite
def _update_center(draw):
    t, n, k = draw(st.sampled_from([(1, 1, 1), (2, 3, 4)]))
    center, teacher = draw(arrays((k,), (t, n, k)))
    return {"center": center, "teacher": teacher, "momentum": draw(scalars(0.0, 0.9, 1.0))}


def _check_update_center(a, result):
    center, teacher, momentum = exact(a["center"]), exact(a["teacher"]), float(a["momentum"])
    wanted = momentum * center + (1 - momentum) * teacher.mean((0, 1))
    assert result.shape == center.shape
    assert not np.isnan(np.asarray(result, np.float64)).any()
    wanted = held(wanted, result.dtype)
    tolerance = 1e-2 if result.dtype.itemsize == 2 else 1e-5
    largest = max(np.abs(center).max(), np.abs(teacher).max())
    np.testing.assert_allclose(np.asarray(result, np.float64), wanted, rtol=tolerance, atol=tolerance * largest)


def _pair(first, second):
    return {name: both(bad_array(name), bad_shape(name)) for name in (first, second)}


CASES = {
    "losses.nt_xent": Case(
        losses.nt_xent,
        _nt_xent(),
        _check_nt_xent,
        {**_pair("z1", "z2"), "temperature": bad_positive, "block_size": values(0, -3, 1.5, "8")},
    ),
    "losses.nt_logistic": Case(
        losses.nt_logistic,
        _pairwise("temperature", TEMPERATURES),
        _check_pairwise(losses.nt_logistic, "temperature"),
        {**_pair("z1", "z2"), "temperature": bad_positive},
    ),
    "losses.margin_triplet": Case(
        losses.margin_triplet,
        _pairwise("margin", (0.0, 1e-30, 0.8, 1e30)),
        _check_pairwise(losses.margin_triplet, "margin"),
        {**_pair("z1", "z2"), "margin": bad_at_least_0},
    ),
    "losses.byol": Case(losses.byol, _byol(), _check_byol, _pair("prediction", "target")),
    "losses.byol_contrastive": Case(
        losses.byol_contrastive,
        _byol_contrastive(),
        _check_byol_contrastive,
        {
            **{name: both(bad_array(name), bad_shape(name)) for name in _FOUR},
            "negatives": bad_probability,
            "temperature": bad_positive,
        },
    ),
    "losses.dino": Case(
        losses.dino,
        _dino(),
        _check_dino,
        {
            **_DINO_WRONG,
            "student_temperature": bad_positive,
            "teacher_temperature": bad_positive,
        },
    ),
    "losses.dino_mse": Case(
        losses.dino_mse,
        _dino_mse(),
        _check_dino_mse,
        _DINO_WRONG,
    ),
    "losses.sinkhorn_knopp": Case(
        losses.sinkhorn_knopp,
        _sinkhorn_knopp(),
        _check_sinkhorn_knopp,
        {
            "logits": bad_array("logits"),
            "temperature": bad_positive,
            "iterations": values(0, -3, 1.5, "8"),
            "where": lambda a: [np.ones(len(a["logits"])), np.ones(len(a["logits"]) + 1, bool), "where"],
        },
    ),
    "losses.update_center": Case(
        losses.update_center,
        _update_center(),
        _check_update_center,
        {
            "center": both(bad_array("center"), bad_shape("center")),
            "teacher": bad_array("teacher"),
            "momentum": bad_probability,
        },
    ),
}
