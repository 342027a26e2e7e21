"""Estimate a run before it starts: the memory and FLOPs of the compiled step, and its speed on a batch of real images."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, PyTree

from sslax.checks import parse_colour
from sslax.config import Config
from sslax.data import Dataset, Images, LazySplit, open_lazily
from sslax.data.decode import decode_all
from sslax.data.feed import Placed, resident
from sslax.data.memory import Feed, choose_feed
from sslax.errors import InputError
from sslax.training.build import Built, build_for
from sslax.training.flops import count_flops
from sslax.training.loop import start_state
from sslax.training.nonfinite import guarded
from sslax.training.state import TrainState
from sslax.training.step import compile_steps, compile_update, make_step, make_update

# Approximate duration of the timed steps in seconds, and their minimum number.
_SECONDS, _LEAST = 2.0, 3
# Besides the newest checkpoints: the best one, and one that is being written.
_MORE_CHECKPOINTS = 2


class Program(NamedTuple):
    """A compiled training step.

    Attributes:
      step: `(state, *inputs) -> (state, metrics, seen)`, compiled; it donates the state.
      inputs: a batch, used for every call.
      steps: number of steps per call.
      flops: FLOPs of a step on all devices, as `step_flops` counts them.
      compile_s: seconds of tracing, lowering and compiling.
      temporaries: temporary bytes on each device while it runs, besides arguments and results; None if unknown.
    """

    step: jax.stages.Compiled
    inputs: tuple[Any, ...]
    steps: int
    flops: int
    compile_s: float
    temporaries: int | None


class Estimate(NamedTuple):
    """The estimated cost of a run. Bytes are per device, except those on disk.

    Attributes:
      parameters: number of trained parameters of each part of the network.
      steps: steps of the run.
      batch_size: images per step.
      devices: number of devices that share a batch.
      flops: FLOPs of a step's matrix products and convolutions on all devices, as `step_flops` counts them.
      state: bytes of parameters, optimiser state, targets and statistics.
      temporaries: additional bytes that a step needs; None if unknown.
      images: bytes of the images on the device; 0 if they are streamed.
      step_rate: images per second of the compiled step.
      decoding_rate: images decoded per second; None if no image is decoded.
      feed: the feed that the run would use.
      hours: duration of all steps, without evaluation and checkpoints.
      checkpoints: bytes on disk of all checkpoints that exist at the same time.
    """

    parameters: dict[str, int]
    steps: int
    batch_size: int
    devices: int
    flops: int
    state: int
    temporaries: int | None
    images: int
    step_rate: float
    decoding_rate: float | None
    feed: Feed
    hours: float
    checkpoints: int


def training_program(
    config: Config, built: Built, state: TrainState, images: Images, feed: Feed, *, steps: int = 1
) -> Program:
    """The compiled step of a run of `config`, with a batch for it.

    Args:
      config: a configuration that has passed `check`.
      built: the objects built from it.
      state: the initial state.
      images: `batch_size` images of the set.
      feed: the feed of the run; a resident step gathers its batch from a set, which here is only the batch.
      steps: number of steps per call with a resident feed.
    """
    placed = jax.tree.map(lambda leaf: leaf.sharding, state)
    start = time.perf_counter()
    if feed == "streamed":
        rows = jax.NamedSharding(built.mesh, jax.P("data"))
        inputs: tuple[Any, ...] = (Placed(*jax.device_put(images, rows)),)
        update = guarded(make_update(built.method, built.tx, accumulate=config.accumulate), config.on_nan)
        lowered = compile_update(update, built.mesh, placed=placed).lower(state, *inputs)
    else:
        order = jax.device_put(np.arange(config.batch_size, dtype=np.int32), jax.NamedSharding(built.mesh, jax.P()))
        # The last input is the number of steps per call.
        inputs = (resident(*images, built.mesh), order, steps)
        sizes = {"batch_size": config.batch_size, "steps_per_epoch": 1, "accumulate": config.accumulate}
        take = make_step(built.method, built.tx, built.mesh, **sizes)
        whole = compile_steps(guarded(take, config.on_nan), built.mesh, placed=placed, at_most=steps)
        lowered = whole.lower(state, *inputs)
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    temporaries = None if memory is None else memory.temp_size_in_bytes
    flops = step_flops(config, built, state, images)
    return Program(compiled, inputs, steps if feed == "resident" else 1, flops, seconds, temporaries)


def step_flops(config: Config, built: Built, state: TrainState, images: Images) -> int:
    """Model FLOPs of a training step on all devices, as `sslax.training.flops` counts them.

    They are counted in the jaxpr of one step, traced without `remat`, so the number depends neither on the backend nor on
    recomputation.

    Args:
      config: a configuration that has passed `check`.
      built: the objects built from it.
      state: any state of the run.
      images: a batch of the run.
    """
    method = built.method
    if config.remat:
        plain = dataclasses.replace(config, remat=False, init_from=None)
        seen, canvas = built.steps_per_epoch * config.batch_size, images.images.shape[1]
        method = build_for(plain, images=seen, canvas=canvas, devices=list(built.mesh.devices.flat)).method
    update = make_update(method, built.tx, accumulate=config.accumulate)
    batch: tuple[Any, ...] = images
    return flops_of(update, state, Placed(*batch))


def flops_of(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of the matrix products and convolutions of a call.

    The body of a loop counts once if the program does not contain its number of trips.
    """
    return count_flops(jax.make_jaxpr(function)(*arguments), trips=1)


def step_seconds(program: Program, state: TrainState) -> float:
    """Seconds per step, measured by `seconds_of`; `state` is donated."""
    return seconds_of(lambda state: program.step(state, *program.inputs)[:2], state) / program.steps


def seconds_of(call: Callable[[Any], tuple[Any, PyTree]], state: Any) -> float:
    """Seconds per call: the mean of at least three consecutive calls, as in a run, after a warmup.

    Args:
      call: returns the next state, and a small output that is ready when the call is done.
      state: the initial state.
    """

    def calls(count: int, state: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        before = None
        for _ in range(count):
            state, shown = call(state)
            # Queue at most one call ahead: with hundreds of queued programs, several devices of one CPU can deadlock.
            jax.block_until_ready(before)
            before = shown
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / count, state

    _, state = calls(1, state)
    once, state = calls(1, state)
    return calls(max(_LEAST, round(_SECONDS / once)), state)[0]


def estimate(config: Config, *, progress: Callable[[int, int], None] | None = None) -> Estimate:
    """Estimate the cost of a run of `config` on these devices; it writes no files.

    From a set of files it decodes only one batch, in threads, which also measures the decoding rate.

    Args:
      config: a configuration that has passed `check`.
      progress: called with the number of decoded images and their total.

    Raises:
      InputError: if the images cannot be opened, or configuration, data and devices do not fit together.
    """
    data = open_lazily(
        config.data,
        canvas=config.canvas,
        limit=config.limit,
        split_seed=config.split_seed,
        allow_unreadable=config.allow_unreadable,
        exif=config.exif,
        background=parse_colour("background", config.background),
    )
    side = data.train.canvas if isinstance(data, Dataset) else data.side()
    assert side is not None, "only a listed set may not know its canvas"
    built = build_for(config, images=len(data.train), canvas=side)
    index = np.linspace(0, len(data.train) - 1, config.batch_size).astype(int)
    decoding_rate: float | None = None
    feed: Feed = "streamed"
    if isinstance(data, Dataset):
        images = data.train.read(index)
        feed = choose_feed(config.feed, data.name, data.train.images.nbytes, built.mesh, held="memory")
    else:
        images, decoding_rate = _decoded(data.train, side, index, progress)
        if config.cache is None:
            feed = choose_feed(config.feed, data.name, data.nbytes(), built.mesh)

    state = start_state(config, built)
    parameters = {name: _count(part) for name, part in _parts(state.params).items()}
    leaves = jax.tree.leaves(state)
    state_bytes = sum(x.nbytes for x in leaves)
    program = training_program(config, built, state, images, feed)
    step_rate = rate = config.batch_size / step_seconds(program, state)
    # Images that are decoded before the first step, or come from a cache, are not decoded in every epoch.
    if decoding_rate is not None and feed == "streamed" and config.cache is None:
        rate = min(step_rate, decoding_rate)
    return Estimate(
        parameters,
        built.steps,
        config.batch_size,
        built.mesh.size,
        program.flops,
        sum(_on_each(x) for x in leaves),
        program.temporaries,
        len(data.train) * side**2 * 3 // built.mesh.size if feed == "resident" else 0,
        step_rate,
        decoding_rate,
        feed,
        built.steps * config.batch_size / rate / 3600,
        (config.keep_checkpoints + _MORE_CHECKPOINTS) * state_bytes,
    )


def _decoded(
    split: LazySplit, side: int, index: Int[np.ndarray, "b"], progress: Callable[[int, int], None] | None
) -> tuple[Images, float]:
    """The images at `index`, and the decoding rate in images per second; others replace images that cannot be decoded."""
    start = time.perf_counter()
    decoded = decode_all(lambda i: split.fetch(int(index[i])), len(index), side, progress, reading=split.reading)
    rate = len(index) / (time.perf_counter() - start)
    good = np.setdiff1d(np.arange(len(index)), list(decoded.failures))
    if not len(good):
        reason = next(iter(decoded.failures.values()))
        raise InputError(
            f"data is {split.source}, but none of {len(index)} images tried can be decoded ({reason}); it must hold intact "
            "images."
        )
    rows = np.resize(good, len(index))
    labels = decoded.labels[rows] if split.labelled else None
    return Images(decoded.images[rows], decoded.aspects[rows], labels), rate


def _parts(params: PyTree) -> Mapping[str, PyTree]:
    return params if isinstance(params, Mapping) else {"network": params}


def _count(tree: PyTree) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def _on_each(leaf: jax.Array) -> int:
    """Bytes of an array on one device: the whole array, or its shard."""
    return leaf.nbytes * math.prod(leaf.sharding.shard_shape(leaf.shape)) // max(leaf.size, 1)
