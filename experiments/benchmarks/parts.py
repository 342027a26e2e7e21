"""The time of a step's parts, each compiled separately: views, forward and backward pass, and update.

Their sum can differ from the step's time: inside the step the compiler fuses across the parts, while separate parts write
their results to memory.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PyTree

from sslax.config import Config
from sslax.data import Images
from sslax.data.feed import Placed
from sslax.methods import Batch, Method
from sslax.training import Built, TrainState, loss_and_gradient


def parts_ms(
    config: Config, built: Built, state: TrainState, images: Images, *, steps: int, rounds: int
) -> dict[str, float]:
    """Milliseconds of `views_ms`, `gradient_ms` and `update_ms`: the median of `rounds` rounds of `steps` calls in a row.

    Args:
      config: a configuration that has passed `check`.
      built: the objects built from it.
      state: any state of the run; it is not modified.
      images: a batch.
      steps: number of calls per round, queued without waiting.
      rounds: number of rounds.
    """
    method = built.method
    rows = jax.NamedSharding(built.mesh, jax.P("data"))
    placed = Placed(*jax.device_put(tuple(images), rows))
    views_key, loss_key = jax.random.split(jax.random.key(0))

    make_views = jax.jit(method.views)
    views = make_views(views_key, placed.images, placed.aspects)
    batch = Batch(views, placed.labels)
    differentiate = jax.jit(loss_and_gradient(method, accumulate=config.accumulate))
    (_, output), gradient = differentiate(state.params, state.aux, batch, loss_key, state.step)
    update = jax.jit(functools.partial(_update, method, built.tx), donate_argnums=0)
    # The update donates its arguments, as the step does.
    own = copied((state.params, state.opt_state, output.aux))

    def again(_: Any) -> Any:
        return make_views(views_key, placed.images, placed.aspects)

    def differentiated(_: Any) -> Any:
        return differentiate(state.params, state.aux, batch, loss_key, state.step)

    def updated(now: PyTree) -> PyTree:
        return update(now, gradient, state.step)

    timed = functools.partial(_milliseconds, steps=steps, rounds=rounds)
    return {
        "views_ms": timed(again, views),
        "gradient_ms": timed(differentiated, gradient),
        "update_ms": timed(updated, own),
    }


def copied(tree: PyTree) -> PyTree:
    """Copies of arrays with the same sharding, which a program may donate; this compiles nothing."""
    return jax.device_put(tree, jax.tree.map(lambda x: x.sharding, tree), may_alias=False)


def _update(method: Method, tx: optax.GradientTransformation, own: PyTree, gradient: PyTree, step: jax.Array) -> PyTree:
    params, opt_state, aux = own
    updates, opt_state = tx.update(gradient, opt_state, params)
    params, aux = method.after_update(optax.apply_updates(params, updates), aux, step)
    return params, opt_state, aux


def _milliseconds(call: Callable[[Any], Any], value: Any, *, steps: int, rounds: int) -> float:
    """Milliseconds of a call on the output of the previous call, after a first call that compiles."""
    value = jax.block_until_ready(call(value))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(steps):
            value = call(value)
        jax.block_until_ready(value)
        taken.append((time.perf_counter() - start) / steps)
    return 1e3 * float(np.median(taken))
