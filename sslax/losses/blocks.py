"""Logits in blocks of rows: how many a backend holds at a time, and a loop over the blocks."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from sslax.numerics import AxisName

# By default accelerators may compute float32 products in TF32 or bfloat16; at temperature 0.1 this changes the third digit.
dot = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)

# Up to this many logits the dense form is as fast and can be differentiated any number of times (4 MB in float32 on CPU, half
# a gigabyte on GPU and TPU).
_DENSE_LOGITS = {"cpu": 2**20}
_DENSE_ELSEWHERE = 2**27
# Side of the square tiles on one CPU: a tile (1 MB) and its intermediate results stay in the cache. On a GPU, kernel launches
# would dominate at this size.
_TILE = 512
# Logits of one row block: large enough for full matrix-product speed, small enough to nearly fit in a CPU's cache (16 MB). On
# GPU and TPU a block must occupy the whole device (256 MB).
_BLOCK_LOGITS = {"cpu": 2**22}
_BLOCK_ELSEWHERE = 2**26


def rows_at_a_time(rows: int, keys: int, *, tiled: bool = False) -> int:
    """Number of rows of logits to hold at a time on this backend; all rows means the dense form."""
    backend = jax.default_backend()
    if rows * keys <= _DENSE_LOGITS.get(backend, _DENSE_ELSEWHERE):
        return rows
    if tiled:
        return _TILE
    # Multiples of 8 keep the rows of a block aligned to vector registers.
    return max(128, _BLOCK_LOGITS.get(backend, _BLOCK_ELSEWHERE) // keys // 8 * 8)


def split_blocks(x: Array, block_size: int) -> Array:
    """Split [n, ...] into blocks [b, block_size, ...], the last one padded with zeros."""
    count = x.shape[0]
    blocks = -(-count // block_size)
    x = jnp.pad(x, [(0, blocks * block_size - count)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(blocks, block_size, *x.shape[1:])


def over_blocks(function, block_size: int, *rows: Array) -> Array:
    """Apply `function` to blocks of rows sequentially; the last block is padded with zero rows and their results dropped."""
    out = lax.map(lambda block: function(*block), tuple(split_blocks(x, block_size) for x in rows))
    return out.reshape(-1, *out.shape[2:])[: rows[0].shape[0]]


def gather(x: Array, axis_name: AxisName | None, *, axis: int = 0) -> Array:
    """Every device's rows, joined along `axis`; the transpose sums all devices' gradients of this device's rows."""
    return x if axis_name is None else lax.all_gather(x, axis_name, axis=axis, tiled=True)


def first_row(n: int, axis_name: AxisName | None) -> Array | int:
    """Index of the first of this device's n rows among the gathered rows."""
    return 0 if axis_name is None else lax.axis_index(axis_name) * n
