"""The compiled programs of a run: its training step and its features."""

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
    """What observers get of a step: the batch's features, without gradient, and its labels where the data has them."""

    features: Float[Array, "n d"]
    labels: Int[Array, "n"] | None


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """One axis, `data`, over the devices (None: all); Auto, so that the compiler places what nobody placed."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def make_update(
    method: Method, tx: optax.GradientTransformation, *, accumulate: int = 1
) -> Callable[[TrainState, Placed], tuple[TrainState, dict[str, Array], Seen]]:
    """The training step as a pure function `(state, images) -> (state, metrics, seen)`, not yet compiled.

    `images` are the batch, uint8, spread over the devices: what both feeds end in. It is taken in `accumulate` micro-batches.
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

    `data` is the resident set and `order` the epoch's permutation of it; the step takes its own batch out of them.
    """
    update = make_update(method, tx, accumulate=accumulate)

    def step(state: TrainState, data: Resident, order: Int[Array, "n"]):
        start = state.step % steps_per_epoch * batch_size
        index = jax.lax.dynamic_slice_in_dim(order, start, batch_size)
        return update(state, take(data, index, mesh))

    return step


def compile_update(update: Callable[..., Any], mesh: Mesh, *, placed: Any = None) -> jax.stages.Wrapped:
    """`run(state, images)`: one step on a batch that was streamed, the state donated; `placed` as in `compile_steps`."""
    everywhere, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    out = placed or everywhere, everywhere, rows
    return jax.jit(update, donate_argnums=0, out_shardings=out, compiler_options=step_options())


def steps_at_most(steps_per_call: int | None) -> int:
    """Most steps that one call of a resident run takes: what the configuration says, or 1 on CPU and 10 elsewhere."""
    return steps_per_call or (1 if jax.default_backend() == "cpu" else 10)


def compile_steps(step: Callable[..., Any], mesh: Mesh, *, placed: Any = None, at_most: int = 1) -> jax.stages.Wrapped:
    """`run(state, data, order, count)`: `count` steps in one call, the state donated; metrics and seen are the last step's.

    One program serves every count from 1 to `at_most`, so a run compiles once. A loop of steps spares an accelerator the wait
    for the host. On CPU keep `at_most` at 1, which is the step without a loop: XLA's convolutions leave their fast path inside
    a loop.

    Args:
      step: (state, data, order) -> (state, metrics, seen).
      mesh: the devices.
      placed: shardings of the state; None is a copy on each device.
      at_most: largest count that a call may ask for.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec("data"))
    # Traced once, for the shapes below and for the loop.
    one = jax.jit(step)

    def run(state, data, order, count):
        if at_most == 1:
            return step(state, data, order)
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, state, data, order)[1:])
        # The count is traced, so that a call that ends at a line of metrics or at an epoch needs no program of its own.
        return jax.lax.fori_loop(0, count, lambda _, carry: one(carry[0], data, order), (state, *blank))

    out = placed or everywhere, everywhere, rows
    return jax.jit(run, donate_argnums=0, out_shardings=out, compiler_options=step_options())


def step_options() -> dict[str, str]:
    """XLA's options for a step: on CPU it drops the barriers by which rematerialisation and accumulation save memory."""
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else {}


# Batches that a device may be behind: enough to hide the transfers, few enough for its memory.
_IN_FLIGHT = 4


class Embedder:
    """Features of any number of images, in batches of one compiled shape.

    Args:
      method: whose `embed` is called.
      mesh: a batch is spread over its devices.
      batch_size: images at a time, rounded up to a multiple of the devices; None is 500, or on an accelerator 2,000 of up to 64
        pixels.
    """

    def __init__(self, method: Method, mesh: Mesh, *, batch_size: int | None = None):
        self._batch_size, self._devices = batch_size, mesh.size
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        # On every device, so that each process of several can read all of it.
        self._embed = jax.jit(method.embed, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(
        self,
        state: TrainState,
        images: UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"],
        aspects: Float[np.ndarray, "n"],
    ) -> Float[np.ndarray, "n d"]:
        """Features [n, d] of images, uint8 or in [0, 1], and the aspects that they had, on the host."""
        waiting: collections.deque[jax.Array] = collections.deque()
        features = []
        for out in self._batches(state, images, aspects):
            # On its way to the host while the next batches are computed.
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
        """The same features, left on the device for what works on them there."""
        outputs = []
        for out in self._batches(state, images, aspects):
            outputs.append(out)
            # Several devices of one CPU lock each other out with many programs waiting.
            jax.block_until_ready(outputs[-1 - _IN_FLIGHT :][0])
        return jnp.concatenate(outputs)[: len(images)].astype(jnp.float32)

    def _batches(self, state: TrainState, images: np.ndarray, aspects: np.ndarray) -> Iterator[jax.Array]:
        """Features of one batch after another, the last one filled up."""
        # Images that nobody squashed need no geometry, and at the views' size no resizing at all.
        squashed = bool((aspects != 1).any())
        size = self._at_once(images.shape[1])
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            shown = self._padded(aspects[rows], 1, size) if squashed else None
            yield self._embed(state.params, state.aux, self._padded(images[rows], 0, size), shown)

    def _at_once(self, side: int) -> int:
        """Images of this side in a batch."""
        usual = 2000 if jax.default_backend() != "cpu" and side <= 64 else 500
        return -(-(self._batch_size or usual) // self._devices) * self._devices

    def _padded(self, x: np.ndarray, fill: int, size: int) -> jax.Array:
        """`x` filled up to `size` rows and spread over the devices."""
        if len(x) == size:
            return jax.make_array_from_callback(x.shape, self._rows, x.__getitem__)
        whole = np.full((size, *x.shape[1:]), fill, x.dtype)
        whole[: len(x)] = x
        return jax.make_array_from_callback(whole.shape, self._rows, whole.__getitem__)
