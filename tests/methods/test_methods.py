"""What every method in the table must do, by one program that takes a step of it: compiled on one device and on eight."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.methods import METHODS, Batch, Method, Output
from sslax.training import build
from tests import tiny

DATA = tiny.dataset().train


class Step(NamedTuple):
    """What a plain step on 16 images gives.

    `by_params` and `by_aux` are the loss's gradients, `through_output` those of the features and of the new centre.
    """

    views: Any
    loss: jax.Array
    output: Output
    by_params: Any
    by_aux: Any
    through_output: Any
    aux: Any


def stepping(method: Method, *, whole: bool):
    """The program (key of the views, params, aux, images, aspects) -> Step, whose `through_output` is None unless `whole`."""

    @jax.jit
    def step(key, params, aux, images, aspects):
        views = method.views(key, images, aspects)

        def loss(params, aux):
            return method.loss(params, aux, Batch(views), jax.random.key(2), 0)

        def output(params, aux):
            _, output = loss(params, aux)
            # The new aux, too: a gradient must not come back through the moving averages.
            return output.features.sum() + sum(jnp.sum(x) for x in jax.tree.leaves(output.aux.get("center", ())))

        (value, given), (by_params, by_aux) = jax.value_and_grad(loss, (0, 1), has_aux=True, allow_int=True)(
            params, aux
        )
        through = jax.grad(output, (0, 1), allow_int=True)(params, aux) if whole else None
        # Not Adam, whose first step would turn the rounding of a zero gradient into a whole step.
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, by_params)
        _, after = method.after_update(moved, given.aux, 0)
        return Step(views, value, given, by_params, by_aux, through, after)

    return step


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return build(tiny.config(request.param), tiny.dataset(), devices=jax.devices()[:1]).method


@pytest.fixture(scope="module")
def started(method):
    """Parameters and aux before the first step."""
    return tiny.start(method)


@pytest.fixture(scope="module")
def step_by(method, started):
    """step_by(n): the first step, on the views that key n draws."""
    step = stepping(method, whole=True)
    images, aspects = DATA.images[:16], DATA.aspects[:16]
    # On the host: an operation on a device's array is a program of its own.
    return functools.cache(lambda n: jax.device_get(step(jax.random.key(n), *started, images, aspects)))


def zero(tree):
    # A whole number, such as the place in a queue, has no gradient.
    return all(x.dtype == jax.dtypes.float0 or (np.asarray(x) == 0).all() for x in jax.tree.leaves(tree))


def test_loss_and_gradients_are_finite(started, step_by):
    step = step_by(1)
    assert step.loss.shape == ()
    assert np.isfinite(step.loss)
    assert jax.tree.structure(started[0]) == jax.tree.structure(step.by_params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(step.by_params))
    assert not zero(step.by_params)
    assert all(np.ndim(m) == 0 for m in step.output.metrics.values())


def test_aux_keeps_its_structure_and_types(started, step_by):
    before, output = (jax.tree.map(lambda x: (x.shape, x.dtype), x) for x in (started[1], step_by(1).output.aux))
    assert before == output


def test_features_and_aux_carry_no_gradient(step_by):
    assert zero(step_by(1).through_output)


def test_no_gradient_reaches_aux(step_by):
    """Target, teacher, centre and statistics."""
    assert zero(step_by(1).by_aux)


def test_views_are_a_function_of_the_key(step_by):
    once, other = step_by(0).views, step_by(1).views
    again = step_by.__wrapped__(0).views
    for a, b, c in zip(*map(jax.tree.leaves, (once, again, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert (np.asarray(a) != np.asarray(c)).mean() > 0.5


def test_embedding_is_deterministic_and_takes_each_image_alone(method, started, step_by):
    embed = jax.jit(method.embed)
    params, aux, images = started[0], step_by(1).output.aux, DATA.images[:8]
    whole = embed(params, aux, images)
    assert whole.shape[0] == 8
    # No batch statistics in evaluation: an image's features do not depend on its neighbours.
    np.testing.assert_allclose(embed(params, aux, images[::-1])[::-1], whole, atol=1e-5)


def test_one_step_on_eight_devices_is_one_step_on_one(method, started, step_by, request):
    """Loss, gradient, BatchNorm statistics, target and centre: what the gather, the global batch and the centre's mean give."""
    name = request.node.callspec.params["method"]
    b = build(tiny.config(name), tiny.dataset(), devices=jax.devices())
    everywhere, rows = (jax.NamedSharding(b.mesh, jax.P(*axes)) for axes in ((), ("data",)))
    images, aspects = (jax.device_put(x[:16], rows) for x in (DATA.images, DATA.aspects))
    one = step_by(1)
    eight = stepping(b.method, whole=False)(jax.random.key(1), *jax.device_put(started, everywhere), images, aspects)
    np.testing.assert_allclose(eight.loss, one.loss, rtol=1e-5)
    for ours, theirs in ((one.by_params, eight.by_params), (one.aux, eight.aux)):
        # MAE on a ViT has no aux.
        largest = max((np.abs(x).max() for x in jax.tree.leaves(ours)), default=0.0)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(b, a, atol=1e-5 * largest)
