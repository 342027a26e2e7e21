"""SimCLR's projector, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.networks import SimCLRProjector, forward, init


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_projector_is_dense_norm_relu(layers):
    h = jax.random.normal(jax.random.key(0), (16, 6))
    head = SimCLRProjector(layers=layers, features=4)
    params, statistics = init(head, jax.random.key(1), h)
    z, _ = forward(head, params, statistics, h, train=True)
    assert sum(name.startswith("Dense") for name in params) == layers

    expected = np.asarray(h)
    for index in range(layers):
        kernel = np.asarray(params[f"Dense_{index}"]["kernel"])
        assert set(params[f"Dense_{index}"]) == {"kernel"}
        assert kernel.shape == (6, 4 if index == layers - 1 else 6)
        # The last norm has a scale and no offset.
        assert set(params[f"BatchNorm_{index}"]) == ({"scale"} if index == layers - 1 else {"scale", "bias"})
        expected = expected @ kernel
        expected = (expected - expected.mean(0)) / np.sqrt(expected.var(0) + 1e-5)
        if index < layers - 1:
            expected = np.maximum(expected, 0)
    np.testing.assert_allclose(z, expected, atol=1e-4)


def test_weights_start_small():
    params, _ = init(SimCLRProjector(features=128), jax.random.key(0), jnp.zeros((1, 512)))
    assert abs(float(params["Dense_0"]["kernel"].std()) - 0.01) < 2e-4
