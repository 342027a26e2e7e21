"""Queues of earlier batches' rows: rings in `aux` that a step writes in place, as its state is donated.

A batch is written where the one before it ended. Where it does not fit up to the ring's end, the rows that do not fit are
left out and the next batch starts at the front, as in lightly's `memory_bank.py`. On several devices every device has the
same ring, with the rows of the whole batch in the batch's order. Under gradient accumulation each micro-batch writes its own.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Key

from sslax.numerics import l2_normalize

Queue = dict[str, Array]
"""`rows` [..., m, d], several rings of the same kind first, and `next`, where the next row is written."""


def empty_queue(*shape: int) -> Queue:
    """A ring of zeros, of shape [..., m, d]."""
    return {"rows": jnp.zeros(shape), "next": jnp.zeros((), jnp.int32)}


def random_queue(key: Key[Array, ""], *shape: int) -> Queue:
    """A ring of random rows of length 1, of shape [..., m, d]: what MoCo's, NNCLR's and lightly's queues start from."""
    return {**empty_queue(*shape), "rows": l2_normalize(jax.random.normal(key, shape))}


def push(queue: Queue, rows: Float[Array, "... n d"], mesh: Mesh, *, when: Bool[Array, ""] | bool = True) -> Queue:
    """The queue after `rows` have taken the places of its oldest, or as it was where `when` is False."""
    # Each device writes all rows; of rows that were spread, it would send the whole ring.
    rows = jax.lax.with_sharding_constraint(jax.lax.stop_gradient(rows), NamedSharding(mesh, PartitionSpec()))
    length, start = queue["rows"].shape[-2], queue["next"]
    # Rows at or beyond the end are dropped.
    places = jnp.where(when, start, length) + jnp.arange(rows.shape[-2])
    written = (
        queue["rows"]
        .at[..., places, :]
        .set(rows.astype(queue["rows"].dtype), mode="drop", indices_are_sorted=True, unique_indices=True)
    )
    end = start + rows.shape[-2]
    return {"rows": written, "next": jnp.where(when, jnp.where(end < length, end, 0), start)}
