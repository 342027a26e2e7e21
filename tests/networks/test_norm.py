"""BatchNorm with residual and ReLU against flax's, one view after another: outputs, statistics and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.networks.norm import BatchNorm

CASES = [(views, residual, relu) for views in (1, 2) for residual in (False, True) for relu in (False, True)]
# The GPU's code path too, on the case in which it differs most.
BACKENDS = [("cpu", *case) for case in CASES] + [("gpu", 2, False, True), ("gpu", 1, True, True)]


def flax_norm(variables, x, residual, *, views, relu, train):
    """The same with flax's norm and its automatic gradient."""
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    outputs = []
    for view in range(views):
        y, updated = norm.apply(variables, x[view::views], mutable=["batch_stats"])
        variables = {**variables, **updated}
        outputs.append(y)
    y = jnp.stack(outputs, axis=1).reshape(x.shape)
    y = y if residual is None else y + residual
    return (nn.relu(y) if relu else y), variables["batch_stats"]


def drawn(shape=(12, 5, 4, 3)):
    rng = np.random.default_rng(0)
    x, residual, weights = rng.standard_normal((3, *shape), np.float32)
    x = 2 * x + 0.5 * np.arange(shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1))
    scale, bias = rng.standard_normal((2, shape[-1]), np.float32)
    statistics = {"mean": np.full(shape[-1:], 0.3, np.float32), "var": np.full(shape[-1:], 2.0, np.float32)}
    return x, residual, weights, {"params": {"scale": scale, "bias": bias}, "batch_stats": statistics}


@pytest.mark.parametrize(("backend", "views", "with_residual", "relu"), BACKENDS)
def test_equals_flax(monkeypatch, backend, views, with_residual, relu):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x, residual, weights, variables = drawn()
    residual = residual if with_residual else None
    norm = BatchNorm(views=views)

    def ours(params, x, residual):
        own = {**variables, "params": params}
        y, updated = norm.apply(own, x, True, residual=residual, relu=relu, mutable=["batch_stats"])
        return jnp.sum(y * weights), (y, updated["batch_stats"])

    def theirs(params, x, residual):
        own = {**variables, "params": params}
        y, statistics = flax_norm(own, x, residual, views=views, relu=relu, train=True)
        return jnp.sum(y * weights), (y, statistics)

    (found, gradients), (wanted, wanted_gradients) = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))(variables["params"], x, residual)
        for f in (ours, theirs)
    )
    assert jax.tree.structure((found, gradients)) == jax.tree.structure((wanted, wanted_gradients))
    for a, b in zip(jax.tree.leaves((found, gradients)), jax.tree.leaves((wanted, wanted_gradients)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_evaluation_equals_flax():
    x, residual, _, variables = drawn()

    @jax.jit
    def both(variables, x, residual):
        theirs, _ = flax_norm(variables, x, residual, views=1, relu=True, train=False)
        return BatchNorm().apply(variables, x, False, residual=residual, relu=True), theirs

    ours, theirs = both(variables, x, residual)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_half_precision_keeps_statistics_and_sums_in_float32():
    """Means of 8,192 numbers near 10, for which a bfloat16 sum would lose precision."""
    x = (10 + np.random.default_rng(0).standard_normal((8, 32, 32, 2), np.float32)).astype(jnp.bfloat16)
    norm = BatchNorm(dtype=jnp.bfloat16)
    variables = jax.jit(norm.init, static_argnums=2)(jax.random.key(1), x, False)

    def value(params, x):
        y, updated = norm.apply({**variables, "params": params}, x, True, relu=True, mutable=["batch_stats"])
        return jnp.sum(y.astype(jnp.float32) ** 2), (y, updated["batch_stats"])

    (_, (y, statistics)), (gradient, into_x) = jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))(
        variables["params"], x
    )
    assert y.dtype == into_x.dtype == jnp.bfloat16
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(statistics["mean"], 0.1 * wide.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * wide.var((0, 1, 2)), rtol=1e-4)
    normalised = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(gradient["scale"], 2 * (np.maximum(normalised, 0) ** 2).sum((0, 1, 2)), rtol=1e-2)


def test_heads_rows_without_positions_and_no_offset():
    x, _, _, _ = drawn((6, 3))
    norm = BatchNorm(use_bias=False)
    variables = jax.jit(norm.init, static_argnums=2)(jax.random.key(0), x, False)
    assert set(variables["params"]) == {"scale"}
    y, _ = jax.jit(lambda x: norm.apply(variables, x, True, mutable=["batch_stats"]))(x)
    y = np.asarray(y)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-4)
