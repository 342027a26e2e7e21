"""The complete training state of a run, as one pytree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key, PyTree

from sslax.methods import Method
from sslax.training.sharding import spread


class Faults(NamedTuple):
    """Counts of steps with a non-finite loss or gradient.

    Attributes:
      total: number of such steps.
      since: the first such step, counted from 0; -1 if there is none. In a run that skips them, the first step of the
        consecutive ones that reach up to now.
    """

    total: Int[Array, ""]
    since: Int[Array, ""]


class TrainState(NamedTuple):
    """The state of a run; checkpoints save all of it, and each step donates all of it.

    Attributes:
      step: number of steps taken.
      params: the trained parameters.
      opt_state: the optimiser's state.
      aux: the method's other state.
      key: the run's key; step k uses `fold_in(key, k)`, so the key itself never changes.
      faults: counts of non-finite steps.
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
    """The state before the first step, for views of `image_shape` [h, w, c], replicated or, with `fsdp`, sharded."""
    return initial_state(method, tx, image_shape, mesh, fsdp=fsdp)(key)


def initial_state(
    method: Method,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    mesh: Mesh,
    *,
    fsdp: bool = False,
) -> jax.stages.Wrapped:
    """The compiled function from a key to the state of `init_state`."""

    # Otherwise XLA spends ten seconds on a CPU to optimise random numbers that are drawn only once.
    unhurried = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}

    def init(key):
        init_key, run_key = jax.random.split(key)
        params, aux = method.init(init_key, image_shape)
        faults = Faults(jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32))
        return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), aux, run_key, faults)

    # With the sharding that the step returns; a different one would compile the step a second time.
    placed = spread(jax.eval_shape(init, jax.random.key(0)), mesh) if fsdp else NamedSharding(mesh, PartitionSpec())
    return jax.jit(init, out_shardings=placed, compiler_options=unhurried)
