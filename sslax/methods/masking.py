"""Masks of blocks of patches, drawn on the device: BEiT's blocks, as iBOT and DINOv2 draw them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

# Of a block, height over width: from .3 to its inverse, uniform in the logarithm.
_LOG_ASPECT = math.log(0.3)
# Blocks that do not fit before a mask is left as it is.
_ATTEMPTS = 10


def block_masks(
    key: Key[Array, ""], wanted: Float[Array, "n"], *, side: int, smallest: int, mesh: Mesh
) -> Bool[Array, "n t"]:
    """A mask of rectangular blocks for each crop.

    A mask gets blocks until `wanted` patches are masked. A block's area is uniform from `smallest` to the number that is still
    wanted, its aspect log-uniform from 0.3 to 1 / 0.3, its place uniform. A block counts if it is smaller than the grid in both
    directions and masks at least one new patch and not more than are wanted; after ten that do not, the mask stays as it is. So
    a mask has at most `wanted` patches, and mostly exactly as many. The draws do not depend on the other crops.

    Args:
      key: PRNG key.
      wanted: number of patches to mask in each crop; 0 masks none.
      side: rows and columns of the grid of patches.
      smallest: area of the smallest block in patches.
      mesh: the device mesh. Every device draws all masks: they are small, and the loop then needs no communication.

    Source: Bao et al. 2021, arXiv:2106.08254, Algorithm 1; `ImageFolderMask` of bytedance/ibot's `loader.py` and
    `MaskingGenerator` of DINOv2's `data/masking.py`, which differ in `smallest` only: DINOv2 also limits a block to half of the
    patches, which no ratio of its recipes reaches.
    """
    keys = jax.random.split(key, len(wanted))
    masks = jax.vmap(lambda key, wanted: _blocks(key, wanted, side, smallest).reshape(-1))(keys, wanted)
    return jax.lax.with_sharding_constraint(masks, NamedSharding(mesh, PartitionSpec()))


def _blocks(key: Key[Array, ""], wanted: Float[Array, ""], side: int, smallest: int) -> Bool[Array, "h w"]:
    row, column = jnp.arange(side)[:, None], jnp.arange(side)[None, :]

    def more(state):
        mask, _, failed = state
        return (mask.sum() < wanted) & (failed < _ATTEMPTS)

    def add(state):
        mask, drawn, failed = state
        area, aspect, y, x = jax.random.uniform(jax.random.fold_in(key, drawn), (4,), jnp.float32)
        left_over = wanted - mask.sum()
        area, aspect = smallest + area * (left_over - smallest), jnp.exp(_LOG_ASPECT * (1 - 2 * aspect))
        height, width = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
        top, left = jnp.floor(y * (side - height + 1)), jnp.floor(x * (side - width + 1))
        block = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
        new = (block & ~mask).sum()
        fits = (height < side) & (width < side) & (new > 0) & (new <= left_over)
        return mask | (block & fits), drawn + 1, jnp.where(fits, 0, failed + 1)

    return jax.lax.while_loop(more, add, (jnp.zeros((side, side), bool), jnp.int32(0), jnp.int32(0)))[0]


def random_ratios(
    key: Key[Array, ""], n: int, *, between: tuple[float, float], probability: float
) -> Float[Array, "n"]:
    """iBOT's shares of masked patches: 0, or with `probability` uniform between the two numbers, for each crop by itself."""
    chosen, drawn = jax.random.split(key)
    ratios = jax.random.uniform(drawn, (n,), jnp.float32, *between)
    return jnp.where(jax.random.bernoulli(chosen, probability, (n,)), ratios, 0)


class GroupMasks(NamedTuple):
    """DINOv2's masks of the two global crops of each image, and buffers of fixed length for the masked patches of a group.

    Attributes:
      masks: True for masked patches; an image's crops are side by side.
      places: of the masked patches, within a group's crops, in a buffer.
      taken: True for the places of a buffer that are in use.
      weights: of the patches in a buffer, with sum 1: alike within a crop, and alike for all crops that have any.
      share: of the crops that have masked patches.
    """

    masks: Bool[Array, "crops t"]
    places: Int[Array, "groups slots"]
    taken: Bool[Array, "groups slots"]
    weights: Float[Array, "groups slots"]
    share: Float[Array, ""]

    def take(self, patches: Float[Array, "n c t d"]) -> Float[Array, "groups slots d"]:
        """The patches in the buffers; those that are not `taken` are to be ignored."""
        return jnp.take_along_axis(patches.reshape(len(self.places), -1, patches.shape[-1]), self.places[:, :, None], 1)

    @staticmethod
    def rows(x: Array) -> Array:
        """An array of all buffers as one of single patches, [groups · slots, 1, ...]."""
        return x.reshape(-1, 1, *x.shape[2:])


def group_masks(
    key: Key[Array, ""], n: int, *, side: int, group: int, between: tuple[float, float], share: float, mesh: Mesh
) -> GroupMasks:
    """Masks of two global crops of n images, drawn for each `group` of images together, or for all if there are fewer.

    Exactly `share` of a group's crops have masked patches, with ratios that are spread over the range `between`: one from each
    of as many intervals. Which crop has which is random. Source: `collate_data_and_cast` of DINOv2's released
    `data/collate.py`, with a GPU's images as the group.
    """
    groups = max(n // group, 1)
    crops, patches = 2 * n // groups, side * side
    edges = np.linspace(*between, int(crops * share) + 1)
    # The release's `upperbound`; a little more, as the ratios are float32.
    slots = max(1, int(np.floor(patches * edges[1:] + 1e-3).sum()))

    def ratios_of(key):
        placed, drawn = jax.random.split(key)
        low, high = jnp.asarray(edges[:-1], jnp.float32), jnp.asarray(edges[1:], jnp.float32)
        ratios = jax.random.uniform(drawn, low.shape, jnp.float32, low, high)
        return jax.random.permutation(placed, jnp.zeros(crops, jnp.float32).at[: len(ratios)].set(ratios))

    def buffer(masks):
        flat = masks.reshape(-1)
        places = jnp.nonzero(flat, size=slots, fill_value=0)[0]
        taken = jnp.arange(slots) < flat.sum()
        of_crop = 1 / jnp.maximum(masks.sum(axis=1), 1).astype(jnp.float32)
        return places, taken, taken * of_crop[places // patches]

    ratio_key, block_key = jax.random.split(key)
    ratios = jax.vmap(ratios_of)(jax.random.split(ratio_key, groups)).reshape(-1)
    masks = block_masks(block_key, jnp.floor(patches * ratios), side=side, smallest=4, mesh=mesh)
    places, taken, weights = jax.vmap(buffer)(masks.reshape(groups, crops, patches))
    return GroupMasks(masks, places, taken, weights / jnp.maximum(weights.sum(), 1), masks.any(axis=1).mean())
