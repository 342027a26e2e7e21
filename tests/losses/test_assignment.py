"""sinkhorn_knopp and swav against SwAV's values, naive float64 loops, extreme logits and temperatures, and eight devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from sslax.losses import sinkhorn_knopp, swav
from tests.losses.gradients import check_gradients
from tests.losses.naive import naive_sinkhorn, naive_swav

compiled = jax.jit(sinkhorn_knopp, static_argnames=("iterations", "axis_name"))
compiled_swav = jax.jit(swav)


@jax.jit
def swav_and_gradients(scores, codes, temperature):
    return jax.value_and_grad(lambda *a: swav(a[0], a[1], temperature=a[2]).sum(), (0, 1, 2))(
        scores, codes, temperature
    )


def draw(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("case", range(4))
def test_golden(golden, case):
    g = golden(f"sinkhorn_{case}")
    h = g["hyper"]
    codes = compiled(g["scores"], temperature=h["epsilon"], iterations=h["iterations"])
    np.testing.assert_allclose(codes, g["codes"], rtol=0, atol=5e-6 * g["codes"].max())


@pytest.mark.parametrize(("n", "k", "iterations"), [(7, 5, 1), (7, 5, 3), (4, 9, 2)])
def test_naive_loop(n, k, iterations):
    logits = draw(n, k)
    q = compiled(logits, temperature=0.3, iterations=iterations)
    np.testing.assert_allclose(q, naive_sinkhorn(logits, 0.3, iterations), rtol=2e-5)
    # A centre, or anything else that a whole column has more of, makes no difference.
    moved = compiled(logits + draw(1, k, seed=1), temperature=0.3, iterations=iterations)
    np.testing.assert_allclose(moved, q, rtol=2e-5)


def test_rows_that_are_not_assigned_change_nothing():
    logits, where = draw(9, 5), np.array([True, False, True, True, False, True, True, True, False])
    # Larger than all that count, or not.
    logits[1] += 1e4
    logits[4] -= 1e4
    q = np.asarray(compiled(logits, temperature=0.3, where=where))
    np.testing.assert_allclose(q[where], naive_sinkhorn(logits[where], 0.3, 3), rtol=2e-5)
    none = compiled(logits, temperature=0.3, where=np.zeros(9, bool))
    for each in (q, np.asarray(none)):
        np.testing.assert_allclose(each.sum(axis=1), 1, atol=1e-6)


def test_one_iteration_is_a_softmax_over_the_batch():
    logits = draw(7, 5)
    wanted = np.exp(logits / 0.3) / np.exp(logits / 0.3).sum(axis=0)
    wanted = wanted / wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(compiled(logits, temperature=0.3, iterations=1), wanted, rtol=1e-5)


def test_rows_sum_to_one_and_columns_are_used_alike():
    # One prototype is everybody's favourite.
    logits = draw(24, 6) + np.array([[5.0, 0, 0, 0, 0, 0]], np.float32)
    q = np.asarray(compiled(logits, temperature=0.5, iterations=100))
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(q.sum(0), 24 / 6, rtol=1e-3)
    few = np.asarray(compiled(logits, temperature=0.5, iterations=1))
    np.testing.assert_allclose(few.sum(1), 1, atol=1e-6)
    assert np.abs(few.sum(0) - 4).max() > np.abs(q.sum(0) - 4).max()


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(st.sampled_from([jnp.float32, jnp.bfloat16]), st.floats(-3, 4), st.floats(-3, 3), st.integers(0, 99))
def test_any_scale_and_temperature_is_an_assignment(dtype, exponent, temperature, seed):
    """Logits up to 1e4, temperatures from 1e-3 to 1e3: finite, rows of one, and right as far as float32 holds logits apart."""
    logits, temperature = draw(6, 5, seed=seed, scale=10**exponent).astype(dtype), 10**temperature
    q = np.asarray(compiled(logits, temperature=temperature))
    assert q.dtype == np.float32
    assert ((q >= 0) & (q <= 1 + 1e-6)).all()
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-6)
    size = np.abs(np.asarray(logits, np.float32)).max() / temperature
    if size < 300:
        # Beyond, the naive exponentials of whole rows are 0.
        np.testing.assert_allclose(
            q, naive_sinkhorn(np.asarray(logits, np.float32), temperature, 3), atol=2e-6 * (1 + size)
        )


def test_float64_stays():
    with jax.enable_x64(True):
        logits = draw(6, 4).astype(np.float64)
        q = compiled(logits, temperature=0.1, iterations=3)
        assert q.dtype == jnp.float64
        np.testing.assert_allclose(q, naive_sinkhorn(logits, 0.1, 3), rtol=1e-12)


def test_no_gradient_flows_back():
    weights = draw(6, 4, seed=1)
    by_logits, by_temperature = jax.jit(
        jax.grad(lambda x, t: (weights * sinkhorn_knopp(x, temperature=t)).sum(), (0, 1))
    )(draw(6, 4), 0.1)
    assert np.all(np.asarray(by_logits) == 0)
    assert by_temperature == 0


@pytest.mark.parametrize("mapped", ["shard_map", "pmap"])
def test_eight_devices_are_one(mapped):
    logits = draw(16, 5)
    wanted = compiled(logits, temperature=0.1)
    assign = functools.partial(sinkhorn_knopp, temperature=0.1, axis_name="data")
    if mapped == "pmap":
        actual = np.reshape(jax.pmap(assign, axis_name="data")(logits.reshape(8, 2, 5)), (16, 5))
    else:
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        spec = PartitionSpec("data")
        actual = jax.jit(jax.shard_map(assign, mesh=mesh, in_specs=spec, out_specs=spec))(logits)
    np.testing.assert_allclose(actual, wanted, atol=1e-6)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: sinkhorn_knopp(draw(4), temperature=1),
            ValueError,
            r"logits has shape \(4,\); it must have 2 dimensions",
        ),
        (lambda: sinkhorn_knopp(draw(0, 4), temperature=1), ValueError, "every dimension must be at least 1"),
        (lambda: sinkhorn_knopp(draw(4, 3).astype(int), temperature=1), TypeError, "logits has dtype int32"),
        (
            lambda: sinkhorn_knopp(draw(4, 3), temperature=0.0),
            ValueError,
            r"temperature is 0\.0; it must be a finite number",
        ),
        (
            lambda: sinkhorn_knopp(draw(4, 3), temperature=1, iterations=0),
            ValueError,
            "iterations is 0; it must be at least 1",
        ),
        (
            lambda: sinkhorn_knopp(draw(4, 3), temperature=1, iterations=1.5),
            TypeError,
            "iterations is 1.5; it must be a whole",
        ),
    ],
)
def test_what_is_wrong_is_named(call, error, says):
    with pytest.raises(error, match=says) as raised:
        call()
    assert str(raised.value).endswith(".")


def close(actual, expected, tolerance):
    """Within `tolerance` of the expected array's largest magnitude."""
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case", range(4))
def test_golden_swav(golden, case):
    """Scores, codes, with a queue where there is one, the loss over crops and its gradients, from embeddings and prototypes."""
    g = golden(f"swav_{case}")
    h, z = g["hyper"], g["z"].reshape(g["hyper"]["n_crops"], g["hyper"]["n"], -1)
    prototypes = g["prototypes_normed"].astype(np.float32)
    queues = g.get("queue", np.zeros((2, 0, z.shape[-1]), np.float32))

    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
    def loss(z, prototypes, added):
        scores = jnp.einsum("cnd,kd->cnk", z, prototypes, precision="highest") + added
        codes = [
            sinkhorn_knopp(
                jnp.concatenate([queue @ prototypes.T, scores[crop]]),
                temperature=h["epsilon"],
                iterations=h["iterations"],
            )[-h["n"] :]
            for crop, queue in enumerate(queues)
        ]
        pairs = [(a, c) for a in range(2) for c in range(len(scores)) if c != a]
        losses = [swav(scores[c], codes[a], temperature=h["temperature"]).mean() for a, c in pairs]
        return sum(losses) / len(losses), (scores, jnp.stack(codes))

    (value, (scores, codes)), gradients = jax.device_get(
        jax.jit(loss)(z, prototypes, np.zeros((*z.shape[:2], len(prototypes)), np.float32))
    )
    close(scores.reshape(g["scores"].shape), g["scores"], 1e-5)
    close(codes, g["codes"], 1e-5)
    close(value, g["loss"], 1e-5)
    for name, gradient in zip(("grad_z", "grad_prototypes_normed", "grad_scores"), gradients, strict=True):
        close(gradient.reshape(g[name].shape), g[name], 1e-5)


def test_swav_naive_loop_and_finite_differences():
    scores, codes, weights = draw(7, 5), naive_sinkhorn(draw(7, 5, seed=1), 0.3, 3), np.arange(1.0, 8.0)
    np.testing.assert_allclose(compiled_swav(scores, np.float32(codes)), naive_swav(scores, codes, 0.1), rtol=1e-5)
    scores = scores.astype(np.float64)

    def loss(scores, temperature):
        return swav(scores, jnp.asarray(codes), temperature=temperature) @ weights

    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(loss)(scores, 0.1), naive_swav(scores, codes, 0.1) @ weights, rtol=1e-12)
        # The temperature is traced, and its gradient is checked with the scores'.
        check_gradients(loss, (scores, np.float64(0.3)), rtol=1e-6, atol=1e-6)


def test_no_gradient_flows_into_codes():
    _, (by_scores, by_codes, _) = swav_and_gradients(draw(6, 5), np.full((6, 5), 0.2, np.float32), 0.1)
    assert np.abs(by_scores).min() > 0
    assert np.all(np.asarray(by_codes) == 0)


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 1e3])
@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e-30, 1e30])
def test_swav_of_extreme_scores_is_finite(scale, temperature):
    """Codes of 0 beside probabilities that float32 cannot hold, and rows that are all alike."""
    scores = np.float32(scale) * draw(6, 5)
    scores[0] = 7.0
    for codes in (np.eye(6, 5, dtype=np.float32), np.full((6, 5), 0.2, np.float32)):
        value, (by_scores, _, _) = swav_and_gradients(scores, codes, temperature)
        assert value >= 0
        assert not np.isnan(value)
        assert np.isfinite(by_scores).all()


def test_swav_in_half_precision():
    scores, codes = (x.astype(jnp.bfloat16) for x in (draw(7, 5), naive_sinkhorn(draw(7, 5, seed=1), 0.3, 3)))
    wide = compiled_swav(scores.astype(np.float32), codes.astype(np.float32))
    np.testing.assert_array_equal(compiled_swav(scores, codes), wide)
    for dtype in (jnp.bfloat16, jnp.float16):
        assert jax.eval_shape(swav, *2 * [jax.ShapeDtypeStruct((7, 5), dtype)]).dtype == jnp.float32


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: swav(draw(4, 3), draw(4, 2)), ValueError, r"scores has shape \(4, 3\) and codes has shape"),
        (lambda: swav(draw(4), draw(4)), ValueError, r"scores has shape \(4,\); it must have 2 dimensions"),
        (lambda: swav(draw(4, 3), np.zeros((4, 3), np.int32)), TypeError, "codes has dtype int32"),
        (
            lambda: swav(draw(4, 3), np.full((4, 3), 1.5)),
            ValueError,
            r"codes has values from 1.5 to 1.5; they must lie in \[0, 1\]",
        ),
        (
            lambda: swav(draw(4, 3), np.eye(4, 3), temperature=-1.0),
            ValueError,
            r"temperature is -1\.0; it must be a finite number above 0",
        ),
    ],
)
def test_what_is_wrong_for_swav_is_named(call, error, says):
    with pytest.raises(error, match=says) as raised:
        call()
    assert str(raised.value).endswith(".")
