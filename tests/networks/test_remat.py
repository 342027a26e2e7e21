"""Rematerialisation: the same gradients and parameters, with less memory for the gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.networks import ResNet, ViT, forward, init
from sslax.training.step import step_options

NETWORKS = {
    "vit": ViT(image_size=16, patch_size=2, width=32, depth=3, heads=2, drop_path=0.5),
    "resnet": ResNet(stages=(3,), width=8, stem="patch", patch_size=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_same_gradients_in_less_memory(name):
    rng = np.random.default_rng(0)
    x = rng.random((32, 16, 16, 3), np.float32)

    def start(remat):
        return init(NETWORKS[name].clone(remat=remat), jax.random.key(0), jnp.asarray(x[:1]))

    shapes = [jax.eval_shape(functools.partial(start, remat)) for remat in (False, True)]
    assert shapes[0] == shapes[1]
    params, statistics = jax.tree.map(lambda leaf: 0.2 * rng.standard_normal(leaf.shape, np.float32), shapes[0])
    found = []
    for remat in (False, True):
        network = NETWORKS[name].clone(remat=remat)

        def loss(params, statistics, x, network=network):
            y, after = forward(network, params, statistics, x, train=True, key=jax.random.key(3))
            return jnp.mean(jnp.sin(y)), after

        step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=step_options())
        compiled = step.lower(params, statistics, x).compile()
        found.append((compiled.memory_analysis().temp_size_in_bytes, compiled(params, statistics, x)))
    (memory, *before), (less, *after) = found
    # A block's intermediate results are freed before its own gradient is computed.
    assert less < 0.65 * memory
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
