"""Gradient accumulation: process a batch as sequential micro-batches, with the memory of one micro-batch.

The result is exact if the loss of each image is independent of the rest of the batch, because the gradient of a mean over
equal parts is the mean of their gradients. These parts depend on the batch:

- A centre (`Method.means`): each micro-batch starts from the step's initial centre, and the updated centres are averaged. A
  moving average is linear in its input, so this equals the centre of the whole batch exactly.
- BatchNorm: its statistics are those of the micro-batch, and each micro-batch updates the running statistics in turn.
- Negatives, and targets assigned over the batch (`Method.crosses`), come from the micro-batch only.
- A queue takes the rows of one micro-batch after the other, so a later one meets those of an earlier one.
- Stochastic depth draws different masks than for the whole batch, from the same distribution.

Views are made before the batch is split, so they do not depend on the number of micro-batches.
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
      method: the method.
      accumulate: number of micro-batches; it must divide the batch. Micro-batch k takes rows k, k + accumulate, …, so each
        device keeps its own rows and no images are transferred.
      scan: True compiles a loop over the micro-batches, False unrolls it. XLA's convolutions on CPU are slow inside a loop,
        so None unrolls on CPU and loops elsewhere.

    Returns:
      The function. Its loss and metrics are means over the micro-batches; its features are in the order of the batch.
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
                # The barrier makes the micro-batches sequential; in parallel they would need the memory of all of them.
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
    """A sentence on what gradient accumulation changes in a run on views of `image_shape` [h, w, c]; None if nothing."""
    if config.accumulate == 1:
        return None
    _, aux = jax.eval_shape(lambda key: method.init(key, image_shape), jax.random.key(0))
    changed = [method.crosses] if method.crosses else []
    if any(_name(path) == "var" for path, _ in jax.tree_util.tree_leaves_with_path(aux)):
        changed.append(f"BatchNorm's statistics (with {config.accumulate} updates of the running averages per step)")
    if not changed:
        return None
    return (
        f"accumulate is {config.accumulate}, so training differs from a whole batch of {config.batch_size}: "
        f"{' and '.join(changed)} come from each micro-batch of {config.batch_size // config.accumulate} images alone."
    )


def _name(path: tuple[Any, ...]) -> Any:
    return getattr(path[-1], "key", None)
