"""Adjacent views in one batch equal views in sequential forward passes, including statistics and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.networks import BYOLMLP, DINOHead, ResNet, SimCLRProjector, ViT, forward, init, with_views

NETWORKS = {
    "resnet": (ResNet(stages=(1, 1), width=4, stem="patch", patch_size=2), (8, 8, 3)),
    "mlp": (BYOLMLP(hidden=12, features=5), (7,)),
    "three-layers": (BYOLMLP(hidden=12, features=5, layers=3), (7,)),
    "simclr": (SimCLRProjector(layers=2, features=5), (7,)),
    "dino": (DINOHead(features=9, layers=2, hidden=12, bottleneck=5, batch_norm=True, predictor=True), (7,)),
    "layer-norm": (BYOLMLP(hidden=12, features=5, norm="layer"), (7,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_adjacent_views_equal_sequential_views(name):
    network, shape = NETWORKS[name]
    views = jax.random.normal(jax.random.key(1), (2, 6, *shape)) * jnp.arange(1, 3).reshape(2, 1, *(1 for _ in shape))
    params, statistics = init(network, jax.random.key(0), views[0])
    # Scales of zero would hide the output of a block.
    params = jax.tree.map(lambda x: x + 0.1, params)

    def turns(params):
        first, after = forward(network, params, statistics, views[0], train=True)
        second, after = forward(network, params, after, views[1], train=True)
        return jnp.sum(jnp.sin(first)) + jnp.sum(second**2), (first, second, after)

    def together(params):
        x = views.swapaxes(0, 1).reshape(12, *shape)
        y, after = forward(with_views(network, 2), params, statistics, x, train=True)
        return jnp.sum(jnp.sin(y[0::2])) + jnp.sum(y[1::2] ** 2), (y[0::2], y[1::2], after)

    ours, theirs = (jax.jit(jax.value_and_grad(f, has_aux=True))(params) for f in (together, turns))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_network_without_batch_statistics_is_unchanged():
    network = ViT(depth=1)
    assert with_views(network, 2) is network
