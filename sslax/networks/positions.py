"""Positions of a grid of patches: embeddings, resized for other grids, and DINOv3's rotary ones.

Sources of the rotary ones: Su et al. 2021, arXiv:2104.09864; Siméoni et al. 2025, arXiv:2508.10104, and `RopePositionEmbedding`
of facebookresearch/dinov3, without its random shifts and scales of the coordinates in training.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BASE = 100.0
"""Longest period, in halves of the image."""


def resize_positions(
    positions: Float[Array, "1 t d"], side: int, grid: tuple[int, int], *, how: str = "dino"
) -> Float[Array, "1 u d"]:
    """Resize position embeddings of a `side` x `side` grid to another grid (rows, columns).

    A row of [CLS] comes first if there is one more row than the grid has cells; it stays as is. Bicubic with torch's a = -0.75
    and without antialiasing. `how="dino"` samples the grid at a scale of `(cells + 0.1) / side`, as DINO's released code does
    to avoid rounding problems; `how="size"` uses `cells / side`. With released weights the two differ by far more than
    rounding. `how="antialiased"` resizes to the exact grid with antialiasing, for which torch uses a = -0.5, as timm does.

    Raises:
      ValueError: on other values of `how`.
    """
    if how not in ("dino", "size", "antialiased"):
        raise ValueError(f'how is {how!r}; it must be "dino", "size" or "antialiased".')
    if grid == (side, side):
        return positions
    _, count, width = positions.shape
    own = count - side * side
    extra = 0.1 if how == "dino" else 0.0
    patches = jax.image.scale_and_translate(
        positions[0, own:].reshape(side, side, width),
        (*grid, width),
        (0, 1),
        scale=jnp.asarray([(cells + extra) / side for cells in grid]),
        translation=jnp.zeros(2),
        method="cubic" if how == "antialiased" else "cubic-pytorch",
        antialias=how == "antialiased",
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.concatenate([positions[:, :own], patches.reshape(1, -1, width)], axis=1)


def sine_positions(width: int, side: int, *, own: int = 0, by: str = "mae") -> Float[np.ndarray, "1 t d"]:
    """Fixed sine-cosine positions of a `side` x `side` grid, patches row by row, after `own` rows of zeros.

    Half of the channels encode the column and half the row, each with sines of width/4 frequencies from 1 to nearly 1/10000,
    then their cosines. The column comes first for `by="mae"`, the row for `by="moco-v3"`.

    Raises:
      ValueError: on a width that is not a multiple of 4.

    Source: `util/pos_embed.py` of MAE's release; `vits.py` of MoCo v3's.
    """
    if width % 4:
        raise ValueError(f"width is {width}; sine-cosine positions need a multiple of 4.")
    frequencies = 10000.0 ** -(np.arange(width // 4) / (width // 4))
    rows, columns = (index.reshape(-1, 1) * frequencies for index in np.indices((side, side)))
    first, second = (columns, rows) if by == "mae" else (rows, columns)
    patches = np.concatenate([f(x) for x in (first, second) for f in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((own, width)), patches]).astype(np.float32)[None]


def rotary_angles(grid: tuple[int, int], width: int) -> Float[np.ndarray, "t c"]:
    """The angles by which each patch of the grid (rows, columns) rotates a head of so many channels, patches row by row.

    Coordinates of the patches' centres run from -1 to 1 on each axis, whatever the size of the image. The first quarter of the
    channels turns by the row, the second by the column, and the second half repeats the first.

    Raises:
      ValueError: on a width that is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width is {width} channels a head; rotary positions need a multiple of 4.")
    rows, columns = (2 * (np.arange(cells) + 0.5) / cells - 1 for cells in grid)
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    periods = BASE ** (2 * np.arange(width // 4) / (width // 2))
    angles = (2 * np.pi * centres[:, :, None] / periods).reshape(len(centres), -1)
    return np.tile(angles, 2)


def rotate(x: Float[Array, "n t heads c"], angles: Float[np.ndarray, "p c"]) -> Float[Array, "n t heads c"]:
    """Queries or keys with the last p of their t tokens, the patches, rotated; tokens before them keep their values."""
    prefix, patches = x[:, : x.shape[1] - len(angles)], x[:, x.shape[1] - len(angles) :]
    wide = jnp.promote_types(x.dtype, jnp.float32)
    sin, cos = (jnp.asarray(f(angles), wide)[None, :, None] for f in (np.sin, np.cos))
    first, second = jnp.split(patches.astype(wide), 2, axis=-1)
    turned = patches.astype(wide) * cos + jnp.concatenate([-second, first], axis=-1) * sin
    return jnp.concatenate([prefix, turned.astype(x.dtype)], axis=1)
