"""Gradient accumulation: a batch in micro-batches, one after the other, so that the memory of one suffices for all.

Exact where nothing crosses the batch: the gradient of a mean over equal parts is the mean of their gradients. What does
cross it:

- A centre (`Method.means`): each micro-batch starts from the step's own, and what they come to is averaged. As a moving
  average is linear in what it takes in, that is exactly what the whole batch gives.
- BatchNorm: statistics are of the micro-batch, and the running ones move once for each, one after the other.
- Negatives, and targets that are assigned over the batch (`Method.crosses`), are of the micro-batch.
- Stochastic depth draws other masks than it does for the whole batch, of the same distribution.

Views are made before the batch is cut, so they are the same whatever the number of micro-batches.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sslax.config import Config
from sslax.methods import Method, Output

Gradient = Callable[..., tuple[tuple[Array, Output], PyTree]]


def loss_and_gradient(method: Method, *, accumulate: int = 1, scan: bool | None = None) -> Gradient:
    """`(params, aux, batch, key, step) -> ((loss, output), gradient)` of a method's loss.

    Args:
      method: whose loss it is.
      accumulate: how many micro-batches, which divides the batch; the k-th takes rows k, k + accumulate, …, so that each device
        has as many of them as of the batch, and none is sent.
      scan: one compiled loop over them, or one program after the other, as XLA's convolutions on CPU leave their fast path
        inside a loop; None is a loop but on CPU.

    Returns:
      The function; its loss and metrics are means over the micro-batches, its features are in the batch's order.
    """
    whole = jax.value_and_grad(method.loss, has_aux=True)
    if accumulate == 1:
        return whole
    scan = jax.default_backend() != "cpu" if scan is None else scan

    def averaged(params, aux, batch, key, step):
        parts = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]), batch)

        def add(carry, index):
            aux_now, total = carry
            part = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, 1, keepdims=False), parts)
            (loss, output), gradient = whole(params, aux_now, part, jax.random.fold_in(key, index), step)
            moved = {name: output.aux[name] for name in method.means}
            start = {**output.aux, **{name: aux[name] for name in method.means}} if moved else output.aux
            total = jax.tree.map(jnp.add, total, gradient)
            return (start, total), (loss, output.metrics, moved, output.features)

        carry = aux, jax.tree.map(jnp.zeros_like, params)
        if scan:
            carry, seen = jax.lax.scan(add, carry, jnp.arange(accumulate))
        else:
            each = []
            for index in range(accumulate):
                carry, shown = add(carry, index)
                # Not before the last gradient is added: side by side they would need all the memory at once.
                carry, params = jax.lax.optimization_barrier((carry, params))
                each.append(shown)
            seen = jax.tree.map(lambda *x: jnp.stack(x), *each)
        (new_aux, total), (losses, metrics, moved, features) = carry, seen
        loss, metrics, moved = jax.tree.map(lambda x: x.mean(axis=0), (losses, metrics, moved))
        new_aux = {**new_aux, **moved} if moved else new_aux
        features = features.swapaxes(0, 1).reshape(-1, *features.shape[2:])
        return (loss, Output(new_aux, metrics, features)), jax.tree.map(lambda x: x / accumulate, total)

    return averaged


def accumulation_note(config: Config, method: Method, image_shape: tuple[int, int, int]) -> str | None:
    """What gradient accumulation changes in a run on views of `image_shape` [h, w, c], in a sentence; None for nothing."""
    if config.accumulate == 1:
        return None
    _, aux = jax.eval_shape(lambda key: method.init(key, image_shape), jax.random.key(0))
    changed = [method.crosses] if method.crosses else []
    if any(_name(path) == "var" for path, _ in jax.tree_util.tree_leaves_with_path(aux)):
        changed.append(f"BatchNorm's statistics, whose running averages move {config.accumulate} times a step")
    if not changed:
        return None
    return (
        f"accumulate is {config.accumulate}, which trains otherwise than the whole batch of {config.batch_size}: of the "
        f"micro-batch of {config.batch_size // config.accumulate} alone are {' and '.join(changed)}."
    )


def _name(path: tuple[Any, ...]) -> Any:
    return getattr(path[-1], "key", None)
