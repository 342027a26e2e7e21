"""Contrastive losses on a batch that is spread over devices."""

import functools
from collections.abc import Callable

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float


def over_devices(
    loss: Callable[..., Float[Array, "n"]],
    mesh: Mesh,
    first: Float[Array, "n d"],
    second: Float[Array, "n d"],
    *,
    negatives: Float[Array, "m d"] | None = None,
) -> Float[Array, "n"]:
    """`loss(first, second)` of each row, whose negatives are the rows of all devices of `mesh`.

    Args:
      loss: also takes `axis_name`, where its rows are those of one device of several, and `negatives` if there are any.
      mesh: the devices.
      first: spread over the devices.
      second: spread over the devices.
      negatives: further ones, such as a queue, the same on every device.
    """
    if mesh.size == 1:
        return loss(first, second) if negatives is None else loss(first, second, negatives=negatives)
    # XLA's partitioner would gather the embeddings once per row block; with shard_map they are gathered once.
    own, rows, same = (
        functools.partial(loss, axis_name=mesh.axis_names),
        PartitionSpec(mesh.axis_names),
        PartitionSpec(),
    )
    if negatives is None:
        return jax.shard_map(own, mesh=mesh, in_specs=(rows, rows), out_specs=rows)(first, second)

    def with_negatives(first, second, negatives):
        return own(first, second, negatives=negatives)

    return jax.shard_map(with_negatives, mesh=mesh, in_specs=(rows, rows, same), out_specs=rows)(
        first, second, negatives
    )
