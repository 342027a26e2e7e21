"""SimCLR's projector, BYOL's MLPs, and the variants of DINO's head in its ablations, layer by layer."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.networks import BYOLMLP, DINOHead, SimCLRProjector
from tests.compiled import forward, init


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_projector_is_dense_norm_relu(layers):
    h = np.random.default_rng(0).standard_normal((16, 6), np.float32)
    head = SimCLRProjector(layers=layers, features=4)
    params, statistics = init(head, jax.random.key(1), h)
    z, _ = forward(head, params, statistics, h, train=True)
    assert sum(name.startswith("Dense") for name in params) == layers

    expected = np.asarray(h)
    for index in range(layers):
        kernel = np.asarray(params[f"Dense_{index}"]["kernel"])
        assert set(params[f"Dense_{index}"]) == {"kernel"}
        assert kernel.shape == (6, 4 if index == layers - 1 else 6)
        # The last norm has a scale but no offset.
        assert set(params[f"BatchNorm_{index}"]) == ({"scale"} if index == layers - 1 else {"scale", "bias"})
        expected = expected @ kernel
        expected = (expected - expected.mean(0)) / np.sqrt(expected.var(0) + 1e-5)
        if index < layers - 1:
            expected = np.maximum(expected, 0)
    np.testing.assert_allclose(z, expected, atol=1e-4)


def test_initial_weights_are_small():
    params, _ = init(SimCLRProjector(features=128), jax.random.key(0), np.zeros((1, 512), np.float32))
    assert abs(np.asarray(params["Dense_0"]["kernel"]).std() - 0.01) < 2e-4


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def through(x, layer):
    return np.asarray(x) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def filled(head, x):
    """Parameters, including biases, that are far from their small initial values."""
    params, statistics = jax.eval_shape(lambda key: init(head, key, x), jax.random.key(1))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: rng.standard_normal(p.shape, np.float32), params)
    return params, jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), statistics)


@pytest.mark.parametrize("layers", [1, 3])
def test_dino_head_without_a_bottleneck_is_its_mlp(layers):
    x = np.random.default_rng(0).standard_normal((5, 6), np.float32)
    head = DINOHead(features=9, layers=layers, hidden=7, bottleneck=0)
    params, statistics = filled(head, x)
    assert set(params) == {f"mlp{i}" for i in range(1, layers)} | {"last_layer"}
    wanted = np.asarray(x)
    for i in range(1, layers):
        wanted = gelu(through(wanted, params[f"mlp{i}"]))
    y, _ = forward(head, params, statistics, x, train=True)
    np.testing.assert_allclose(y, through(wanted, params["last_layer"]), rtol=1e-4, atol=1e-4)
    # With bfloat16 the logits are still computed in float32, not only cast from bfloat16 to float32.
    narrow = np.asarray(forward(head.clone(dtype=jnp.bfloat16), params, statistics, x, train=True)[0])
    assert narrow.dtype == np.float32
    assert not np.array_equal(narrow, narrow.astype(jnp.bfloat16).astype(np.float32))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_dino_predictor_stands_before_the_normalisation(batch_norm):
    x = np.random.default_rng(0).standard_normal((5, 6), np.float32)
    head = DINOHead(features=9, layers=1, hidden=7, bottleneck=4, batch_norm=batch_norm, predictor=True)
    params, statistics = filled(head, x)
    predictor = params["predictor"]
    h = through(through(x, params["mlp1"]), predictor["fc1"])
    if batch_norm:
        h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
        h = h * np.asarray(predictor["norm"]["scale"]) + np.asarray(predictor["norm"]["bias"])
    z = through(gelu(h), predictor["fc2"])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    v = np.asarray(params["last_layer"]["v"])
    y, _ = forward(head, params, statistics, x, train=True)
    np.testing.assert_allclose(y, z @ (v / np.linalg.norm(v, axis=0)), atol=1e-4)
    # A teacher's head has all other parameters, under the same names.
    rest = {name: value for name, value in params.items() if name != "predictor"}
    assert jax.tree.structure(filled(head.clone(predictor=False), x)[0]) == jax.tree.structure(rest)


def test_byols_mlp_keeps_its_parameter_names():
    params, statistics = init(BYOLMLP(hidden=5, features=3), jax.random.key(0), jnp.zeros((1, 4)))
    assert {name: set(leaves) for name, leaves in params.items()} == {
        "Dense_0": {"kernel", "bias"},
        "BatchNorm_0": {"scale", "bias"},
        "Dense_1": {"kernel"},
    }
    assert set(statistics) == {"BatchNorm_0"}


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_byols_mlp_is_dense_norm_relu_and_a_bare_dense(layers, norm):
    h = np.random.default_rng(0).standard_normal((16, 6), np.float32)
    head = BYOLMLP(hidden=8, features=4, layers=layers, norm=norm)
    # Initial scales and offsets would not show whether they are used.
    params, statistics = filled(head, h)
    z, after = forward(head, params, statistics, h, train=True)
    assert jax.tree.structure(after) == jax.tree.structure(statistics)
    hidden = layers - 1
    assert len(params) == layers + (0 if norm == "none" else hidden)
    assert len(statistics) == (hidden if norm == "batch" else 0)

    expected = np.asarray(h)
    for index in range(hidden):
        dense = params[f"Dense_{index}"]
        expected = expected @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
        if norm != "none":
            axis = 0 if norm == "batch" else 1
            mean, var = (moment(axis=axis, keepdims=True) for moment in (expected.mean, expected.var))
            scaled = params[f"{norm.title()}Norm_{index}"]
            expected = (expected - mean) / np.sqrt(var + 1e-5) * np.asarray(scaled["scale"]) + np.asarray(
                scaled["bias"]
            )
        expected = np.maximum(expected, 0)
    last = params[f"Dense_{hidden}"]
    assert set(last) == {"kernel"}
    np.testing.assert_allclose(z, expected @ np.asarray(last["kernel"]), atol=1e-5)


def test_no_predictor_is_the_identity_for_any_number_of_layers():
    h = jnp.arange(6.0).reshape(2, 3)
    head = BYOLMLP(hidden=0, layers=3)
    assert init(head, jax.random.key(0), h) == ({}, {})
    np.testing.assert_array_equal(forward(head, {}, {}, h, train=True)[0], h)
