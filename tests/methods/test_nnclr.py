"""NNCLR's own: the original code's neighbours and losses, and a queue that takes view 1 after the loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import check
from sslax.errors import InputError
from sslax.methods import Batch
from sslax.methods.nnclr import nearest, symmetric
from sslax.numerics import l2_normalize
from sslax.training import build, data_mesh
from tests import tiny


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize(("loss", "suffix"), [("info-nce", ""), ("nt-xent", "_lightly")])
def test_neighbours_and_losses_are_the_original_codes(golden, case, loss, suffix):
    g = golden(f"nnclr_{case}")
    z1, z2, p1, p2, bank = (jnp.asarray(g[name]) for name in ("z1", "z2", "p1", "p2", "bank"))
    rows = l2_normalize(bank)
    places = [nearest(l2_normalize(z), rows) for z in (z1, z2)]
    np.testing.assert_array_equal(places, g["nn_index"])
    neighbours = tuple(rows[place] for place in places)
    options = {"loss": loss, "temperature": g["hyper"]["temperature"], "mesh": data_mesh(jax.devices()[:1])}

    def mean(neighbours, predictions):
        return symmetric(neighbours, predictions, **options).mean()

    function = jax.jit(jax.value_and_grad(mean, argnums=(0, 1)))
    value, (by_neighbours, by_predictions) = function(neighbours, (p1, p2))
    np.testing.assert_allclose(value, g[f"loss{suffix}"], rtol=1e-5)
    for found, name in zip(by_predictions, ("grad_p1", "grad_p2"), strict=True):
        wanted = g[name + suffix]
        np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())
    assert all((np.asarray(g) == 0).all() for g in by_neighbours)


def test_the_queue_takes_view_1_after_the_loss():
    b = build(tiny.config("nnclr"), tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(b.method)
    views = tuple(jax.random.uniform(jax.random.key(1), (2, 16, tiny.SIZE, tiny.SIZE, 3)))
    run = jax.jit(b.method.loss)
    _, output = run(params, aux, Batch(views), jax.random.key(2), 0)
    queue = output.aux["queue"]
    np.testing.assert_allclose(np.linalg.norm(queue["rows"], axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(queue["rows"][16:], aux["queue"]["rows"][16:])
    # Once in the queue, the projections of view 1 are their own neighbours, each one's another's.
    _, seen = run(params, {**aux, "queue": queue}, Batch((views[0], views[0])), jax.random.key(2), 0)
    np.testing.assert_allclose(seen.metrics["neighbour_share"], 2 / 32, rtol=1e-6)
    np.testing.assert_allclose(seen.aux["queue"]["rows"][16:], queue["rows"][:16], atol=1e-5)
    # Of one row there is one neighbour.
    alike = queue | {"rows": queue["rows"].at[:].set(queue["rows"][:1])}
    _, seen = run(params, {**aux, "queue": alike}, Batch(views), jax.random.key(2), 0)
    assert seen.metrics["neighbour_share"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queue": 0}, "method.queue is 0; it must be at least 1"),
        ({"queue": 15}, "method.queue is 15; it must be at least batch_size, which is 16"),
    ],
)
def test_options_that_cannot_work(options, said):
    with pytest.raises(InputError, match=said):
        check(tiny.config("nnclr", method=dataclasses.replace(tiny.OPTIONS["nnclr"], **options)))
