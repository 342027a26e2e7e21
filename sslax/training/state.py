"""All that a run is at one moment, as one pytree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key, PyTree

from sslax.methods import Method
from sslax.training.sharding import spread


class Faults(NamedTuple):
    """What the run has met of losses and gradients that are not finite.

    Attributes:
      total: steps whose loss or gradient was not finite.
      since: the first of them, counted from 0, -1 where there was none; in a run that skips them, the first of those that have
        come one after another up to now.
    """

    total: Int[Array, ""]
    since: Int[Array, ""]


class TrainState(NamedTuple):
    """The state of a run: saved whole, donated whole.

    Attributes:
      step: how many steps have been taken.
      params: what gradients reach.
      opt_state: the optimiser's.
      aux: the method's other state.
      key: the run's key; the randomness of step k is `fold_in(key, k)`, so nothing random has to be carried along.
      faults: steps that were not finite.
    """

    step: Int[Array, ""]
    params: PyTree
    opt_state: PyTree
    aux: PyTree
    key: Key[Array, ""]
    faults: Faults


def init_state(
    method: Method,
    tx: optax.GradientTransformation,
    key: Key[Array, ""],
    image_shape: tuple[int, int, int],
    mesh: Mesh,
    *,
    fsdp: bool = False,
) -> TrainState:
    """The state before the first step, for views of `image_shape` [h, w, c], on every device or spread over them."""
    return initial_state(method, tx, image_shape, mesh, fsdp=fsdp)(key)


def initial_state(
    method: Method,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    mesh: Mesh,
    *,
    fsdp: bool = False,
) -> jax.stages.Wrapped:
    """The compiled program from a key to the state that `init_state` gives."""

    # XLA spends ten seconds of a CPU on optimising random numbers that are drawn once.
    unhurried = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}

    def init(key):
        init_key, run_key = jax.random.split(key)
        params, aux = method.init(init_key, image_shape)
        faults = Faults(jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32))
        return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), aux, run_key, faults)

    # Placed as the step will give it back: another placement would compile the step a second time.
    placed = spread(jax.eval_shape(init, jax.random.key(0)), mesh) if fsdp else NamedSharding(mesh, PartitionSpec())
    return jax.jit(init, out_shardings=placed, compiler_options=unhurried)
