"""MoCo v3's own: the release's loss, when the target moves, the queue of each view, the frozen patch embedding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sslax.config import NetworkConfig, OptimizerConfig, check
from sslax.errors import InputError
from sslax.methods import Batch
from sslax.methods.moco_v3 import symmetric
from sslax.training import build, data_mesh
from tests import tiny


@pytest.mark.parametrize("case", range(4))
def test_the_loss_is_the_original_codes(golden, case):
    g = golden(f"moco_v3_{case}")
    queries, keys = (g["q1"], g["q2"]), (g["k1"], g["k2"])
    mesh = data_mesh(jax.devices()[:1])

    def loss(queries, keys):
        return symmetric(queries, keys, temperature=g["hyper"]["temperature"], mesh=mesh).mean()

    value, (by_queries, by_keys) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(queries, keys)
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for found, wanted in zip(by_queries, (g["grad_q1"], g["grad_q2"]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    assert all((np.asarray(g) == 0).all() for g in by_keys)


def test_each_view_meets_the_queue_of_the_view_of_its_keys():
    """A queue of view 2 that holds a query of view 1 makes that query's loss larger, and no other's."""
    q1, q2, k1, k2 = jax.random.normal(jax.random.key(0), (4, 8, 16))
    queue = jnp.stack([-q2[:1], -q1[:1]])
    run = jax.jit(
        lambda queue: symmetric((q1, q2), (k1, k2), temperature=0.1, mesh=data_mesh(jax.devices()[:1]), queue=queue)
    )
    harmless, harmful = run(queue), run(queue.at[1].set(q1[:1]))
    assert harmful[0] > harmless[0] + 0.1
    np.testing.assert_allclose(harmful[1:], harmless[1:], atol=0.2)


def test_keys_are_made_after_the_target_has_moved_to_the_parameters_of_their_step():
    """Algorithm 1, written out: the target moves first, by the step's own decay; then come keys and update."""
    b = build(tiny.config("moco-v3"), tiny.dataset(), devices=jax.devices()[:1])
    move = jax.jit(b.method.after_update)
    params, aux = tiny.start(b.method)
    target, online = aux["target"]["params"], params
    for step in range(b.steps):
        momentum = 1 - (1 + np.cos(np.pi * step / b.steps)) / 2 * 0.01
        wanted = jax.tree.map(
            lambda t, o, m=momentum: m * t + (1 - m) * o, target, {name: online[name] for name in target}
        )
        # What the keys of this step are made with.
        for found, own in zip(jax.tree.leaves(aux["target"]["params"]), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(found, own, atol=1e-6)
        target, online = wanted, jax.tree.map(lambda p: p + 1, online)
        _, aux = move(online, aux, step)


def test_the_patch_embedding_stays_as_it_is_drawn():
    network = NetworkConfig(name="vit-micro", width=8, depth=1, patch_size=2)
    optim = OptimizerConfig(lr=0.1, weight_decay=0.5, warmup_epochs=0.0)

    def after(**options):
        method = dataclasses.replace(tiny.OPTIONS["moco-v3"], **options)
        b = build(
            tiny.config("moco-v3", network=network, optim=optim, method=method),
            tiny.dataset(),
            devices=jax.devices()[:1],
        )
        params = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), jax.eval_shape(lambda: tiny.start(b.method))[0])

        @jax.jit
        def update(params):
            state = b.tx.init(params)
            for _ in range(2):
                updates, state = b.tx.update(params, state, params)
                params = optax.apply_updates(params, updates)
            return params["encoder"]

        return update(params)

    frozen, trained = after(), after(freeze_patch_embedding=False)
    for name, leaf in frozen["patch_embed"].items():
        np.testing.assert_array_equal(leaf, 1)
        assert (np.asarray(trained["patch_embed"][name]) != 1).all()
    assert (np.asarray(frozen["pos_embed"]) != 1).all()


def test_the_queue_takes_both_views_keys():
    b = build(tiny.config("moco-v3"), tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(b.method)
    views = tuple(jax.random.uniform(jax.random.key(1), (2, 16, tiny.SIZE, tiny.SIZE, 3)))
    run = jax.jit(b.method.loss)
    (_, one), (_, turned) = (run(params, aux, Batch(v), jax.random.key(2), 0) for v in (views, views[::-1]))
    queue, other = one.aux["queue"], turned.aux["queue"]
    np.testing.assert_array_equal(queue["rows"][:, 16:], aux["queue"]["rows"][:, 16:])
    np.testing.assert_allclose(queue["rows"][:, :16], other["rows"][::-1, :16], atol=1e-6)
    assert np.abs(queue["rows"][0, :16] - queue["rows"][1, :16]).max() > 0.1
    assert queue["next"] == 16


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queue": 8}, "method.queue is 8; it must be at least batch_size, which is 16"),
        ({"queue": -1}, "method.queue is -1; it must be at least 0"),
        ({"decay": 1.5}, r"method.decay is 1.5; it must lie in \[0, 1\]"),
        ({"temperature": 0.0}, "method.temperature is 0.0; it must be a finite number above 0"),
        ({"loss_scale": 0.0}, "method.loss_scale is 0.0"),
    ],
)
def test_options_that_cannot_work(options, said):
    with pytest.raises(InputError, match=said):
        check(tiny.config("moco-v3", method=dataclasses.replace(tiny.OPTIONS["moco-v3"], **options)))


def test_a_word_that_no_field_knows():
    """Users have no checker of types that would stop it."""
    config = tiny.config("moco-v3")
    options = dataclasses.replace(config.method)
    object.__setattr__(options, "projector_norm", "batch")
    with pytest.raises(InputError, match=r"method.projector_norm is 'batch'; it must be one of none, plain, affine"):
        options.check(config)
