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
    params, aux = tiny.start(method.method)
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


@pytest.mark.parametrize("name", METHODS)
def test_one_step_on_eight_devices_is_one_step_on_one(name):
    """Loss, gradient, BatchNorm statistics, target and centre: what the gather, the global batch and the centre's mean give."""
    data = tiny.dataset()
    results = []
    for devices in (jax.devices()[:1], jax.devices()):
        b = build(tiny.config(name), data, devices=devices)
        rows = jax.NamedSharding(b.mesh, jax.P("data"))
        params, aux = tiny.start(b.method)

        @jax.jit
        def step(params, aux, images, aspects, method=b.method):
            views = method.views(jax.random.key(1), images, aspects)
            (loss, output), gradients = jax.value_and_grad(method.loss, has_aux=True)(
                params, aux, Batch(views), jax.random.key(2), 0
            )
            # A plain step: Adam's first would turn the rounding of a zero gradient into a whole step.
            moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
            _, aux = method.after_update(moved, output.aux, 0)
            return loss, gradients, aux

        results.append(
            step(params, aux, *(jax.device_put(x[:16], rows) for x in (data.train.images, data.train.aspects)))
        )
    (loss1, gradients1, aux1), (loss8, gradients8, aux8) = results
    np.testing.assert_allclose(loss8, loss1, rtol=1e-5)
    for one, eight in ((gradients1, gradients8), (aux1, aux8)):
        largest = max(np.abs(x).max() for x in jax.tree.leaves(one))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
            np.testing.assert_allclose(b, a, atol=1e-5 * largest)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"simclr"}))
def test_no_gradient_reaches_aux(name):
    """Target, teacher, centre and statistics: the loss's gradient by aux is zero everywhere, and by params it is not."""
    b = build(tiny.config(name), tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(b.method)
    views = jax.jit(b.method.views)(jax.random.key(1), tiny.dataset().train.images[:16])

    def loss(params, aux):
        value, output = b.method.loss(params, aux, Batch(views), jax.random.key(2), 0)
        # The new aux, too: a gradient must not come back through the moving averages.
        return value + sum(jnp.sum(x) for x in jax.tree.leaves(output.aux.get("center", ())))

    by_params, by_aux = jax.jit(jax.grad(loss, argnums=(0, 1), allow_int=True))(params, aux)
    assert float(optax.tree.norm(by_params)) > 0
    # A whole number, as the place in a queue, has none.
    assert all(g.dtype == jax.dtypes.float0 or (np.asarray(g) == 0).all() for g in jax.tree.leaves(by_aux))
