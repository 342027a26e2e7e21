"""The resident feed: a set that fits stays in device memory, and the compiled step gathers its batches.

The set is sharded over the devices. Each device selects the images of the batch that it holds, and one reduce-scatter of the
uint8 batch moves them to the devices that process them. The set itself is never transferred.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt8


class Placed(NamedTuple):
    """A batch sharded over the devices: uint8 canvases, original widths / heights, and labels or None."""

    images: UInt8[Array, "b s s 3"]
    aspects: Float[Array, "b"]
    labels: Int[Array, "b"] | None


class Resident(NamedTuple):
    """A whole set on the devices.

    Attributes:
      images: uint8 [m, s, s, 3], sharded over the devices; m is n rounded up to a multiple of the number of devices.
      aspects: original width / height of each image, replicated on every device.
      labels: labels, replicated on every device, or None.
    """

    images: UInt8[Array, "m s s 3"]
    aspects: Float[Array, "n"]
    labels: Int[Array, "n"] | None


def resident(
    images: UInt8[np.ndarray, "n s s 3"],
    aspects: Float[np.ndarray, "n"],
    labels: Int[np.ndarray, "n"] | None,
    mesh: Mesh,
) -> Resident:
    """Shard a set over the devices of the mesh; a memory-mapped `images` is read from disk part by part."""
    everywhere, spread = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    n, *shape = images.shape
    padded = -(-n // mesh.size) * mesh.size

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None, "every device holds a part"
        first, last, _ = index[0].indices(padded)
        rows = np.asarray(images[first:last])
        missing = last - first - len(rows)
        return np.concatenate([rows, np.zeros((missing, *shape), np.uint8)]) if missing else rows

    def put(x: np.ndarray) -> Array:
        return jax.make_array_from_callback(x.shape, everywhere, x.__getitem__)

    placed = jax.make_array_from_callback((padded, *shape), spread, part)
    return Resident(placed, put(aspects), None if labels is None else put(labels))


def take(data: Resident, index: Int[Array, "b"], mesh: Mesh) -> Placed:
    """The images of `index`, sharded over the devices; call it inside a compiled function.

    Args:
      data: the set.
      index: indices of the images, the same on every device; b is a multiple of the number of devices.
      mesh: the mesh that the set was placed on.
    """
    rows = NamedSharding(mesh, PartitionSpec("data"))
    own = jax.lax.with_sharding_constraint(index, rows)
    labels = None if data.labels is None else data.labels[own]
    if mesh.size == 1:
        return Placed(data.images[own], data.aspects[own], labels)

    def gather(images: Array, index: Array) -> Array:
        place = index - jax.lax.axis_index("data") * len(images)
        held = (place >= 0) & (place < len(images))
        picked = images[jnp.clip(place, 0, len(images) - 1)]
        # Exactly one device holds each image, so the sum is that image.
        mine = jnp.where(held.reshape(-1, 1, 1, 1), picked, jnp.zeros_like(picked))
        return jax.lax.psum_scatter(mine, "data", tiled=True)

    everywhere, spread = PartitionSpec(), PartitionSpec("data")
    images = jax.shard_map(gather, mesh=mesh, in_specs=(spread, everywhere), out_specs=spread)(data.images, index)
    return Placed(images, data.aspects[own], labels)


def epoch_order(key: Key[Array, ""], epoch: int, n: int) -> Int[Array, "n"]:
    """The order of the n images in an epoch: a permutation that depends only on the run's key and the epoch."""
    # Steps fold their number into the same key; the constant gives epochs a separate stream, so epoch 3 differs from step 3.
    return _permutation(jax.random.fold_in(key, 0x0DDE12), epoch, n)


@jax.jit(static_argnums=2)
def _permutation(key, epoch, n):
    return jax.random.permutation(jax.random.fold_in(key, epoch), n).astype(jnp.int32)
