"""Adjacent views in one batch equal views in sequential forward passes, including statistics and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.networks import BYOLMLP, DINOHead, ResNet, SimCLRProjector, ViT, with_views
from tests.compiled import forward, init

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
    rng = np.random.default_rng(0)
    views = [scale * rng.standard_normal((6, *shape), np.float32) for scale in (1, 2)]
    # Scales of zero would hide the output of a block.
    shapes = jax.eval_shape(lambda key: init(network, key, views[0]), jax.random.key(0))
    params, statistics = jax.tree.map(lambda leaf: 0.5 * rng.random(leaf.shape, np.float32) - 0.1, shapes)

    def turns(params):
        first, after = forward(network, params, statistics, views[0], train=True)
        second, after = forward(network, params, after, views[1], train=True)
        return jnp.sum(jnp.sin(first)) + jnp.sum(second**2), (first, second, after)

    def together(params):
        x = np.stack(views, axis=1).reshape(12, *shape)
        y, after = forward(with_views(network, 2), params, statistics, x, train=True)
        return jnp.sum(jnp.sin(y[0::2])) + jnp.sum(y[1::2] ** 2), (y[0::2], y[1::2], after)

    ours, theirs = (jax.jit(jax.value_and_grad(f, has_aux=True))(params) for f in (together, turns))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_network_without_batch_statistics_is_unchanged():
    network = ViT(depth=1)
    assert with_views(network, 2) is network
