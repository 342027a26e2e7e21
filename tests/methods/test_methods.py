"""What every method in the table must do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sslax.methods import METHODS, Batch
from sslax.training import build
from tests import tiny


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return build(tiny.config(request.param), tiny.dataset(), devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def evaluated(method):
    """Loss, output and gradients at the start, with the views that they were taken on."""
    params, aux = method.method.init(jax.random.key(0), method.image_shape)
    data = tiny.dataset()
    views = jax.jit(method.method.views)(jax.random.key(1), data.train.images[:16], data.train.aspects[:16])
    function = jax.jit(jax.value_and_grad(method.method.loss, has_aux=True))
    (loss, output), gradients = function(params, aux, Batch(views), jax.random.key(2), 0)
    return params, aux, views, loss, output, gradients


def test_loss_and_gradients_are_finite(evaluated):
    params, _, _, loss, output, gradients = evaluated
    assert loss.shape == ()
    assert np.isfinite(loss)
    assert jax.tree.structure(params) == jax.tree.structure(gradients)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert float(optax.tree.norm(gradients)) > 0
    assert all(np.ndim(m) == 0 for m in output.metrics.values())


def test_aux_keeps_its_structure_and_types(evaluated):
    _, aux, _, _, output, _ = evaluated
    assert jax.tree.map(lambda x: (x.shape, x.dtype), aux) == jax.tree.map(lambda x: (x.shape, x.dtype), output.aux)


def test_features_carry_no_gradient(method, evaluated):
    params, aux, views, *_ = evaluated

    def through_features(params):
        _, output = method.method.loss(params, aux, Batch(views), jax.random.key(2), 0)
        return output.features.sum()

    gradients = jax.jit(jax.grad(through_features))(params)
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(gradients))


def test_views_are_a_function_of_the_key(method):
    data = tiny.dataset()
    views = jax.jit(method.method.views)
    images, aspects = data.train.images[:8], data.train.aspects[:8]
    once, again, other = (views(jax.random.key(k), images, aspects) for k in (0, 0, 1))
    for a, b, c in zip(*map(jax.tree.leaves, (once, again, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert (np.asarray(a) != np.asarray(c)).mean() > 0.5


def test_embedding_is_deterministic_and_takes_each_image_alone(method, evaluated):
    params, _, _, _, output, _ = evaluated
    images = tiny.dataset().train.images[:8]
    embed = jax.jit(method.method.embed)
    whole = embed(params, output.aux, images)
    assert whole.shape[0] == 8
    # No batch statistics in evaluation: an image's features do not depend on its neighbours.
    np.testing.assert_allclose(embed(params, output.aux, images[::-1])[::-1], whole, atol=1e-5)


def test_loss_is_independent_of_the_number_of_devices():
    """SimCLR in shard_map over eight devices against one: the row gather and its gradient."""
    data = tiny.dataset()
    results = []
    for devices in (jax.devices()[:1], jax.devices()):
        b = build(tiny.config(), data, devices=devices)
        params, aux = b.method.init(jax.random.key(0), b.image_shape)
        views = jax.jit(b.method.views)(jax.random.key(1), data.train.images[:16], data.train.aspects[:16])
        function = jax.jit(jax.value_and_grad(b.method.loss, has_aux=True))
        results.append(function(params, aux, Batch(views), jax.random.key(2), jnp.asarray(0)))
    (loss1, output1), gradients1 = results[0]
    (loss8, output8), gradients8 = results[1]
    np.testing.assert_allclose(loss8, loss1, rtol=1e-5)
    for one, eight in zip(
        jax.tree.leaves((gradients1, output1.aux)), jax.tree.leaves((gradients8, output8.aux)), strict=True
    ):
        np.testing.assert_allclose(eight, one, atol=1e-5 * max(1.0, np.abs(one).max()))
