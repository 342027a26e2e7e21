"""The moving average of parameters."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sslax.checks import as_array, check_probability
from sslax.numerics import at_least_float32
from sslax.optim.schedules import Number


def ema_update(target: PyTree, online: PyTree, decay: Number) -> PyTree:
    """`decay · target + (1 - decay) · online`, leaf by leaf, in the target's dtypes; one fused program under jit.

    Raises:
      ValueError: on trees of different structure, leaves of different shape, or a concrete decay outside [0, 1].
      TypeError: on leaves that are not floating-point: rounding would undo small updates of an integer average.
    """
    check_probability("decay", decay)
    structures = str(jax.tree.structure(target)), str(jax.tree.structure(online))
    if structures[0] != structures[1]:
        raise ValueError(f"target is a tree {structures[0]} and online {structures[1]}; they must be the same.")

    def move(path, t, o):
        where = jax.tree_util.keystr(path)
        t, o = as_array(f"target{where}", t), as_array(f"online{where}", o)
        if t.shape != o.shape:
            raise ValueError(f"target{where} has shape {t.shape} and online{where} {o.shape}; they must agree.")
        for name, leaf in (("target", t), ("online", o)):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise TypeError(f"{name}{where} has dtype {leaf.dtype}; it must be a floating-point array.")
        # As a step towards `online`, equal trees stay bitwise equal. In float32 at least, because bfloat16 rounds away
        # relative changes below 1/256.
        wide = at_least_float32(t)
        return (wide + (1 - decay) * (at_least_float32(o) - wide)).astype(t.dtype)

    return jax.tree_util.tree_map_with_path(move, target, online)
