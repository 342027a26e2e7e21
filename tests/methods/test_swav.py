"""SwAV's own: the release's loss, codes and queue, and prototypes that stay on the sphere and rest at first."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sslax.config import OptimizerConfig, check
from sslax.errors import InputError
from sslax.methods import Batch
from sslax.methods.base import prototype_use
from sslax.methods.queue import push
from sslax.methods.swav import assign, swapped
from sslax.training import build, data_mesh
from tests import tiny


@pytest.mark.parametrize("case", range(4))
def test_loss_and_codes_are_the_original_codes(golden, case):
    g = golden(f"swav_{case}")
    h = g["hyper"]
    z, prototypes = jnp.asarray(g["z"]), jnp.asarray(g["prototypes_normed"], jnp.float32)
    earlier = None if "queue" not in g else jnp.asarray(g["queue"]) @ prototypes.T

    def loss(z, prototypes):
        scores = (z @ prototypes.T).reshape(h["n_crops"], h["n"], -1)
        codes = assign(scores[:2], epsilon=h["epsilon"], iterations=h["iterations"], earlier=earlier)
        return swapped(scores, codes, temperature=h["temperature"]).mean(), codes

    (value, codes), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(z, prototypes)
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(codes, g["codes"], atol=1e-5)
    for found, name in zip(gradients, ("grad_z", "grad_prototypes_normed"), strict=True):
        np.testing.assert_allclose(found, g[name], atol=1e-5 * np.abs(g[name]).max())


@pytest.mark.parametrize("case", [2, 3])
def test_the_queue_holds_what_the_original_codes_holds(golden, case):
    """The release shifts all rows towards the end and writes in front; the ring writes over its oldest."""
    g = golden(f"swav_{case}")
    n, length = g["hyper"]["n"], g["queue"].shape[1]
    queue = {"rows": jnp.asarray(g["queue"]), "next": jnp.int32(length - length % n - n)}
    batch = jnp.asarray(g["z"][: 2 * n].reshape(2, n, -1))
    after = push(queue, batch, data_mesh(jax.devices()[:1]))
    np.testing.assert_allclose(np.roll(after["rows"], n, axis=1), g["queue_after"], rtol=1e-6)
    assert after["next"] == 0


def test_without_iterations_each_image_is_assigned_by_itself():
    scores = jax.random.normal(jax.random.key(0), (2, 5, 4))
    alone = assign(scores, epsilon=0.5, iterations=0)
    np.testing.assert_allclose(alone, jax.nn.softmax(scores / 0.5, axis=-1), rtol=1e-6)


def test_use_of_prototypes():
    alike, one = prototype_use(jnp.eye(4)[None]), prototype_use(jnp.eye(4)[None, :1])
    np.testing.assert_allclose([alike["prototype_usage"], alike["target_largest"]], [1, 0.25], rtol=1e-6)
    np.testing.assert_allclose([one["prototype_usage"], one["target_largest"]], [0.25, 1], rtol=1e-6)


@functools.cache
def started():
    """A run whose queue, of two batches, starts in its second epoch, with four steps an epoch."""
    method = dataclasses.replace(tiny.OPTIONS["swav"], queue_start_epoch=1, frozen_epochs=0.5)
    optim = OptimizerConfig(lr=0.1, weight_decay=0.5, warmup_epochs=0.0)
    b = build(tiny.config("swav", method=method, optim=optim), tiny.dataset(), devices=jax.devices()[:1])
    return b, tiny.start(b.method)


def test_the_queue_fills_from_its_epoch_on_and_is_used_once_it_is_full():
    b, (params, aux) = started()
    shapes = jax.eval_shape(b.method.views, jax.random.key(1), tiny.dataset().train.images[:16])
    views = jax.tree.map(lambda x: jax.random.uniform(jax.random.key(1), x.shape), shapes)
    run = jax.jit(b.method.loss)

    def after(step, queue):
        loss, output = run(params, {**aux, "queue": queue}, Batch(views), jax.random.key(2), step)
        return float(loss), output.aux["queue"]

    before, queue = after(3, aux["queue"])
    assert not np.asarray(queue["rows"]).any()
    half, queue = after(4, queue)
    assert np.asarray(queue["rows"][:, :16]).any()
    assert not np.asarray(queue["rows"][:, 16:]).any()
    second, queue = after(5, queue)
    # Other projections than the batch's, so that their assignments are others.
    other = {**queue, "rows": jnp.roll(queue["rows"], 1, axis=-1)}
    used, _ = after(6, other)
    assert before == half == second
    assert abs(used - before) > 1e-4


def test_prototypes_are_unit_vectors_that_rest_at_first():
    b, (params, aux) = started()

    @jax.jit
    def step(params, memory, number):
        updates, memory = b.tx.update(jax.tree.map(jnp.ones_like, params), memory, params)
        params, _ = b.method.after_update(optax.apply_updates(params, updates), aux, number)
        return params, memory

    memory, seen = b.tx.init(params), [params["prototypes"]["kernel"]]
    for number in range(3):
        params, memory = step(params, memory, number)
        seen.append(params["prototypes"]["kernel"])
    for kernel in seen:
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)
    first, *resting, moved = seen
    for kernel in resting:
        np.testing.assert_allclose(kernel, first, atol=1e-6)
    assert np.abs(moved - first).max() > 0.01


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epsilon": 0.0}, "method.epsilon is 0.0; it must be a finite number above 0"),
        ({"prototypes": 1}, "method.prototypes is 1; it must be at least 2"),
        ({"sinkhorn_iterations": -1}, "method.sinkhorn_iterations is -1; it must be at least 0"),
        ({"queue": 15}, "method.queue is 15; it must be at least batch_size, which is 16"),
    ],
)
def test_options_that_cannot_work(options, said):
    with pytest.raises(InputError, match=said):
        check(tiny.config("swav", method=dataclasses.replace(tiny.OPTIONS["swav"], **options)))
