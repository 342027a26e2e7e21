"""Queues: what a ring holds after each batch, on one device and on several."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.methods.queue import empty_queue, push, random_queue
from sslax.training import data_mesh


@pytest.mark.parametrize("case", range(4))
def test_a_ring_is_the_original_codes(golden, case):
    """Batches that do not divide it: a write past the end is cut, and the next one starts at the front."""
    g = golden(f"nnclr_{case}")
    queue = {**empty_queue(*g["bank"].shape), "rows": jnp.asarray(g["bank"])}
    add = jax.jit(functools.partial(push, mesh=data_mesh(jax.devices()[:1])), donate_argnums=0)
    for feed, bank, place in zip(g["feeds"], g["banks_after"], g["ptrs_after"], strict=True):
        queue = add(queue, feed)
        np.testing.assert_array_equal(queue["rows"], bank)
        assert queue["next"] == place


def test_several_devices_hold_the_whole_batch_in_its_order():
    mesh = data_mesh()
    rows = jnp.arange(32.0).reshape(16, 2)
    spread, everywhere = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in (("data",), ()))
    queue = jax.device_put(random_queue(jax.random.key(0), 24, 2), everywhere)
    np.testing.assert_allclose(np.linalg.norm(queue["rows"], axis=1), 1, rtol=1e-6)
    add = jax.jit(functools.partial(push, mesh=mesh), donate_argnums=0, out_shardings=everywhere)
    queue = add(queue, jax.device_put(rows, spread))
    for shard in queue["rows"].addressable_shards:
        np.testing.assert_array_equal(shard.data[:16], rows)
    # In place: the ring that came in is the one that goes out.
    assert add.lower(queue, rows).compile().memory_analysis().alias_size_in_bytes >= queue["rows"].nbytes


def test_a_ring_may_be_left_as_it_is():
    queue = random_queue(jax.random.key(0), 2, 6, 3)
    add = jax.jit(functools.partial(push, mesh=data_mesh(jax.devices()[:1])))
    after = add(queue, jnp.ones((2, 4, 3)), when=False)
    jax.tree.map(np.testing.assert_array_equal, after, queue)
