"""The compiled programs of a run: its training step and its feature extraction."""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt8

from sslax.data.feed import Placed, Resident, take
from sslax.methods import Batch, Method
from sslax.training.accumulate import loss_and_gradient
from sslax.training.state import TrainState


class Seen(NamedTuple):
    """A step's output for observers: the batch's features, without gradient, and its labels, or None without labels."""

    features: Float[Array, "n d"]
    labels: Int[Array, "n"] | None


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with one axis, `data`, over the devices (None: all); type Auto, so that XLA shards intermediate arrays."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def make_update(
    method: Method, tx: optax.GradientTransformation, *, accumulate: int = 1
) -> Callable[[TrainState, Placed], tuple[TrainState, dict[str, Array], Seen]]:
    """The training step as a pure function `(state, images) -> (state, metrics, seen)`, not yet compiled.

    `images` is the uint8 batch, sharded over the devices, from either feed. It is processed in `accumulate` micro-batches.
    """
    differentiate = loss_and_gradient(method, accumulate=accumulate)

    def update(state: TrainState, images: Placed):
        views_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        views = method.views(views_key, images.images, images.aspects)
        batch = Batch(jax.lax.stop_gradient(views), images.labels)

        (loss, output), gradient = differentiate(state.params, state.aux, batch, loss_key, state.step)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, aux = method.after_update(params, output.aux, state.step)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient), **output.metrics}
        seen = Seen(jax.lax.stop_gradient(output.features), batch.labels)
        new = state._replace(step=state.step + 1, params=params, opt_state=opt_state, aux=aux)
        return new, metrics, seen

    return update


def make_step(
    method: Method,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    *,
    batch_size: int,
    steps_per_epoch: int,
    accumulate: int = 1,
) -> Callable[..., tuple[TrainState, dict[str, Array], Seen]]:
    """The training step as a pure function `(state, data, order) -> (state, metrics, seen)`, not yet compiled.

    `data` is the resident set and `order` the epoch's permutation of it; the step gathers its batch from them.
    """
    update = make_update(method, tx, accumulate=accumulate)

    def step(state: TrainState, data: Resident, order: Int[Array, "n"]):
        start = state.step % steps_per_epoch * batch_size
        index = jax.lax.dynamic_slice_in_dim(order, start, batch_size)
        return update(state, take(data, index, mesh))

    return step


def compile_update(update: Callable[..., Any], mesh: Mesh, *, placed: Any = None) -> jax.stages.Wrapped:
    """Compile `run(state, images)`: one step on a streamed batch; it donates the state. `placed` as in `compile_steps`."""
    everywhere, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    out = placed or everywhere, everywhere, rows
    return jax.jit(update, donate_argnums=0, out_shardings=out, compiler_options=step_options())


def steps_at_most(steps_per_call: int | None) -> int:
    """Maximum number of steps per call of a resident run: the configured one, or 1 on CPU and 10 elsewhere."""
    return steps_per_call or (1 if jax.default_backend() == "cpu" else 10)


def compile_steps(step: Callable[..., Any], mesh: Mesh, *, placed: Any = None, at_most: int = 1) -> jax.stages.Wrapped:
    """Compile `run(state, data, order, count)`: `count` steps in one call. It donates the state, and returns the last
    step's metrics and seen.

    One program serves every count from 1 to `at_most`, so a run compiles once. With a loop of steps, an accelerator does not
    wait for the host after each step. On CPU keep `at_most` at 1, which is the step without a loop: XLA's convolutions are
    slow inside a loop.

    Args:
      step: (state, data, order) -> (state, metrics, seen).
      mesh: the device mesh.
      placed: shardings of the state; None replicates it on each device.
      at_most: maximum count of a call.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec("data"))
    # The jit caches the trace, which is used for the shapes below and for the loop.
    one = jax.jit(step)

    def run(state, data, order, count):
        if at_most == 1:
            return step(state, data, order)
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, state, data, order)[1:])
        # The count is traced, so that a shorter call before a line of metrics or at the end of an epoch needs no new program.
        return jax.lax.fori_loop(0, count, lambda _, carry: one(carry[0], data, order), (state, *blank))

    out = placed or everywhere, everywhere, rows
    return jax.jit(run, donate_argnums=0, out_shardings=out, compiler_options=step_options())


def step_options() -> dict[str, str]:
    """XLA options for a step. By default XLA on CPU removes the barriers that remat and accumulation need to save memory."""
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else {}


# Maximum number of queued batches: enough to hide the transfers, few enough for the device's memory.
_IN_FLIGHT = 4


class Embedder:
    """Features of any number of images, in batches of one compiled shape.

    Args:
      method: the method that defines `embed`.
      mesh: each batch is sharded over its devices.
      batch_size: images per batch, rounded up to a multiple of the number of devices. None is 500, or 2,000 on an accelerator
        for images of up to 64 pixels.
    """

    def __init__(self, method: Method, mesh: Mesh, *, batch_size: int | None = None):
        self._batch_size, self._devices = batch_size, mesh.size
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        # Replicated, so that every process can read all features.
        self._embed = jax.jit(method.embed, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(
        self,
        state: TrainState,
        images: UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"],
        aspects: Float[np.ndarray, "n"],
    ) -> Float[np.ndarray, "n d"]:
        """Features [n, d], on the host, of images (uint8 or in [0, 1]) with their original aspects."""
        waiting: collections.deque[jax.Array] = collections.deque()
        features = []
        for out in self._batches(state, images, aspects):
            # Transfer to the host while the next batches are computed.
            out.copy_to_host_async()
            waiting.append(out)
            if len(waiting) > _IN_FLIGHT:
                features.append(np.asarray(waiting.popleft(), np.float32))
        features += [np.asarray(out, np.float32) for out in waiting]
        return np.concatenate(features)[: len(images)]

    def on_device(
        self,
        state: TrainState,
        images: UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"],
        aspects: Float[np.ndarray, "n"],
    ) -> Float[Array, "n d"]:
        """The same features, kept on the device for further computation there."""
        outputs = []
        for out in self._batches(state, images, aspects):
            outputs.append(out)
            # With many queued programs, several devices of one CPU can deadlock.
            jax.block_until_ready(outputs[-1 - _IN_FLIGHT :][0])
        return jnp.concatenate(outputs)[: len(images)].astype(jnp.float32)

    def _batches(self, state: TrainState, images: np.ndarray, aspects: np.ndarray) -> Iterator[jax.Array]:
        """Features of one batch after another; the last batch is padded."""
        # Images with their original aspect ratio need no geometry, and at the views' size no resizing.
        squashed = bool((aspects != 1).any())
        size = self._at_once(images.shape[1])
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            shown = self._padded(aspects[rows], 1, size) if squashed else None
            yield self._embed(state.params, state.aux, self._padded(images[rows], 0, size), shown)

    def _at_once(self, side: int) -> int:
        """Number of images of this side per batch."""
        usual = 2000 if jax.default_backend() != "cpu" and side <= 64 else 500
        return -(-(self._batch_size or usual) // self._devices) * self._devices

    def _padded(self, x: np.ndarray, fill: int, size: int) -> jax.Array:
        """`x` padded to `size` rows and sharded over the devices."""
        if len(x) == size:
            return jax.make_array_from_callback(x.shape, self._rows, x.__getitem__)
        whole = np.full((size, *x.shape[1:]), fill, x.dtype)
        whole[: len(x)] = x
        return jax.make_array_from_callback(whole.shape, self._rows, whole.__getitem__)
