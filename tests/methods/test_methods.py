"""What every method in the table must do, by one program that takes a step of it: compiled on one device and on eight."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks.collectives import collective_bytes
from sslax.augment import DINOViews, MAEViews, make_views
from sslax.methods import METHODS, Batch, Method, Output
from sslax.training import build
from tests import tiny

DATA = tiny.dataset().train
# Those that differ in more than the number of their crops. DINO's has all the operations.
RECIPES = [
    pytest.param(views, marks=() if isinstance(views, DINOViews | MAEViews) else pytest.mark.slow)
    for views in {type(options.views): options.views for options in tiny.OPTIONS.values()}.values()
]


class Step(NamedTuple):
    """What a plain step on 16 images gives.

    `by_params` and `by_aux` are the loss's gradients, `through_output` those of the features and of the new centre.
    """

    loss: jax.Array
    output: Output
    by_params: Any
    by_aux: Any
    through_output: Any
    aux: Any


def stepping(method: Method, *, scale: float = 1.0, whole: bool = False):
    """The program (params, aux, views) -> Step, whose last gradients are None unless `whole`; `scale` is the gradient's."""

    @jax.jit
    def step(params, aux, views):
        def both(params, aux):
            value, output = method.loss(params, aux, Batch(views), jax.random.key(2), 0)
            # The new aux, too: a gradient must not come back through the moving averages.
            center = output.aux.get("center", ()) if whole else ()
            through = output.features.sum() + sum(jnp.sum(x) for x in jax.tree.leaves(center))
            return (value, through), output

        (value, through), pull, output = jax.vjp(both, params, aux, has_aux=True)
        by_params, by_aux = pull((jnp.ones_like(value), jnp.zeros_like(through)))
        by_params = jax.tree.map(lambda g: g / scale, by_params)
        through = pull((jnp.zeros_like(value), jnp.ones_like(through))) if whole else None
        # Not Adam, whose first step would turn the rounding of a zero gradient into a whole step.
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, by_params)
        _, after = method.after_update(moved, output.aux, 0)
        return Step(value, output, by_params, by_aux if whole else None, through, after)

    return step


@pytest.fixture(scope="module", autouse=True)
def _wide():
    with tiny.wide():
        yield


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return build(tiny.config(request.param), tiny.dataset(), devices=jax.devices()[:1]).method


@pytest.fixture(scope="module")
def started(method):
    """Parameters and aux before the first step."""
    return tiny.drawn(method)


@pytest.fixture(scope="module")
def first(method, started):
    """The first step."""
    # On the host: an operation on a device's array is a program of its own.
    return jax.device_get(stepping(method, whole=True)(*started, tiny.views(method)))


def zero(tree):
    # A whole number, such as the place in a queue, has no gradient.
    return all(x.dtype == jax.dtypes.float0 or (np.asarray(x) == 0).all() for x in jax.tree.leaves(tree))


def test_loss_and_gradients_are_finite(started, first):
    step = first
    assert step.loss.shape == ()
    assert np.isfinite(step.loss)
    assert jax.tree.structure(started[0]) == jax.tree.structure(step.by_params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(step.by_params))
    assert not zero(step.by_params)
    assert all(np.ndim(m) == 0 for m in step.output.metrics.values())


def test_aux_keeps_its_structure_and_types(started, first):
    before, output = (jax.tree.map(lambda x: (x.shape, x.dtype), x) for x in (started[1], first.output.aux))
    assert before == output


def test_features_and_aux_carry_no_gradient(first):
    assert zero(first.through_output)


def test_no_gradient_reaches_aux(first):
    """Target, teacher, centre and statistics."""
    assert zero(first.by_aux)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_views_are_a_function_of_the_key_on_any_number_of_devices(recipe):
    by = jax.jit(lambda key, images, aspects: make_views(key, images, recipe, aspects=aspects))
    images, aspects = DATA.images[:16], DATA.aspects[:16]
    once, other, again = (by(jax.random.key(n), images, aspects) for n in (1, 0, 1))
    rows = jax.NamedSharding(jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)), jax.P("data"))
    spread = by(jax.random.key(1), *jax.device_put((images, aspects), rows))
    for a, b, c, d in zip(*map(jax.tree.leaves, (once, again, other, spread)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert (np.asarray(a) != np.asarray(c)).mean() > 0.5
        # The tests' code generator rounds differently for another shape.
        np.testing.assert_allclose(a, d, atol=1e-5)


def test_embedding_is_deterministic_and_takes_each_image_alone(method, started, first):
    embed = jax.jit(method.embed)
    params, aux, images = started[0], first.output.aux, DATA.images[:8]
    whole = embed(params, aux, images)
    assert whole.shape[0] == 8
    # No batch statistics in evaluation: an image's features do not depend on its neighbours.
    np.testing.assert_allclose(embed(params, aux, images[::-1])[::-1], whole, atol=1e-5)


def gathered(config):
    """Bytes of what a method compares or keeps over all devices; nothing else may be gathered."""
    m = config.method
    rows = config.batch_size * getattr(m, "projector_dim", 0) * 8
    if m.NAME == "simclr":
        # z of both views in the forward pass, and its gradient in the backward pass.
        return 4 * rows
    if m.NAME == "nnclr":
        # The predictions and their gradient, and the projections of one view for the queue.
        return 5 * rows
    if m.NAME == "moco-v3":
        # The keys of both views, for the loss and for the queue.
        return 4 * rows
    if m.NAME == "dinov2":
        # [CLS] of a group's crops, since a group's images are on several devices here: five, and one for KoLeo.
        return 6 * config.batch_size * config.network.width * 8
    if m.NAME == "swav":
        # The projections of both large crops for the queue, and their scores beside those of the queue for the codes.
        scores = 2 * (config.batch_size + m.queue) * m.prototypes * 8
        return 2 * rows + scores + scores // 4
    return 0


def communicated(config, params, aux):
    """The most bytes that the devices may exchange in a step: gradients, statistics and embeddings."""
    gradient = sum(x.nbytes for x in jax.tree.leaves(params))
    means = [x.size for path, x in jax.tree_util.tree_leaves_with_path(aux) if getattr(path[-1], "key", "") == "mean"]
    # The gradient of a weight is summed over the devices once per forward pass that uses it: one for each size of crops.
    forwards = 2 if config.method.NAME in ("dino", "swav", "ibot", "dinov2", "lejepa") else 1
    # Each norm has two sums over the batch in the forward and two in the backward pass; in BYOL for each view.
    statistics = 2 * 4 * 8 * sum(means)
    if config.method.NAME == "lejepa":
        # Means of a cosine and a sine for each view, direction and frequency.
        m = config.method
        statistics += len(m.views.branches()) * m.directions * m.knots * 2 * 8
    # The sums for a dozen metrics, some with a number for each of 24 outputs.
    return forwards * gradient + statistics + gathered(config) + 8 * 24 * 12


def test_one_step_on_eight_devices_is_one_step_on_one(method, started, first, request):
    """Loss, gradient, BatchNorm statistics, target and centre: what the gather, the global batch and the centre's mean give.

    The loss on eight devices is scaled, which must change its gradient alone. The step must communicate no more than it has to.
    """
    config = tiny.config(request.node.callspec.params["method"])
    scaled = dataclasses.replace(config, method=dataclasses.replace(config.method, loss_scale=0.25))
    b = build(scaled, tiny.dataset(), devices=jax.devices())
    everywhere, rows = (jax.NamedSharding(b.mesh, jax.P(*axes)) for axes in ((), ("data",)))
    given = *jax.device_put(started, everywhere), jax.device_put(tiny.views(method), rows)
    program = stepping(b.method, scale=0.25).lower(*given).compile()
    eight = program(*given)
    np.testing.assert_allclose(eight.loss, first.loss, rtol=1e-5)
    for ours, theirs in ((first.by_params, eight.by_params), (first.aux, eight.aux)):
        # MAE on a ViT has no aux.
        largest = max((np.abs(x).max() for x in jax.tree.leaves(ours)), default=0.0)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(b, a, atol=1e-5 * largest)
    moved = collective_bytes(program.as_text())
    assert sum(moved.values()) <= communicated(config, *started)
    assert sum(nbytes for kind, nbytes in moved.items() if not kind.startswith("all-reduce")) <= gathered(config)
