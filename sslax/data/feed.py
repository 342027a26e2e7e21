"""How images reach the compiled step: a set that fits lives on the devices, and a batch is a gather inside the program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt8


class Resident(NamedTuple):
    """A whole set on the devices.

    Attributes:
      images: uint8 [n, s, s, 3].
      aspects: true width over height of each.
      labels: classes, or None.
    """

    images: UInt8[Array, "n s s 3"]
    aspects: Float[Array, "n"]
    labels: Int[Array, "n"] | None


def resident(
    images: UInt8[np.ndarray, "n s s 3"],
    aspects: Float[np.ndarray, "n"],
    labels: Int[np.ndarray, "n"] | None,
    mesh: Mesh,
) -> Resident:
    """Put a set on every device of the mesh, once."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(x: np.ndarray) -> Array:
        return jax.device_put(x, everywhere)

    return Resident(put(images), put(aspects), None if labels is None else put(labels))


def epoch_order(key: Key[Array, ""], epoch: int, n: int) -> Int[Array, "n"]:
    """The order of the n images in an epoch: a permutation that depends on the run's key and the epoch alone."""
    # Steps fold their number into the same key; a stream of its own keeps epoch 3 apart from step 3.
    return _permutation(jax.random.fold_in(key, 0x0DDE12), epoch, n)


@jax.jit(static_argnums=2)
def _permutation(key, epoch, n):
    return jax.random.permutation(jax.random.fold_in(key, epoch), n).astype(jnp.int32)
