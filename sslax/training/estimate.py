"""What a run would take, before it is begun: the compiled step's needs, and its speed on a batch of the real images."""

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

# Steps that are timed take about so many seconds, and are at least so many.
_SECONDS, _LEAST = 2.0, 3
# Besides the newest: the best, and one that is being written.
_MORE_CHECKPOINTS = 2


class Program(NamedTuple):
    """A compiled training step.

    Attributes:
      step: `(state, *inputs) -> (state, metrics, seen)`, compiled; takes the state for its own.
      inputs: a batch, again and again.
      steps: that one call takes.
      flops: of a step on all devices, as `step_flops` counts them.
      compile_s: seconds of tracing, lowering and compiling it.
      temporaries: bytes on each device while it runs, beside its arguments and results; None where the device does not tell.
    """

    step: jax.stages.Compiled
    inputs: tuple[Any, ...]
    steps: int
    flops: int
    compile_s: float
    temporaries: int | None


class Estimate(NamedTuple):
    """What a run would take. Bytes are those of one device, where they are not on the disk.

    Attributes:
      parameters: how many are learnt, by the part of the network.
      steps: of the run.
      batch_size: images of a step.
      devices: that share a batch.
      flops: of a step's matrix products and convolutions on all devices, as `step_flops` counts them.
      state: bytes of parameters, optimiser, targets and statistics.
      temporaries: bytes that a step needs beside; None where the device does not tell.
      images: bytes of the images that live on the device; 0 where they are streamed.
      step_rate: images a second of the compiled step.
      decoding_rate: images a second that are decoded; None where none are.
      feed: where its images would be.
      hours: of all steps, without evaluation and checkpoints.
      checkpoints: bytes on the disk of all checkpoints that are there at once.
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
    """The step that a run of `config` compiles, with a batch for it.

    Args:
      config: a configuration that `check` has passed.
      built: what it became.
      state: the one at the start.
      images: `batch_size` of the set.
      feed: of the run; a resident step takes its batch out of a set, which here is the batch.
      steps: of resident images that one call takes.
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
        # The last is the count of steps that a call takes.
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

    They are counted in the jaxpr of one step, traced without `remat`: the number depends neither on the backend nor on what is
    computed twice to save memory.

    Args:
      config: a configuration that `check` has passed.
      built: what it became.
      state: any of its states.
      images: a batch of the run's.
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

    The body of a loop counts once where its number of trips is not in the program.
    """
    return count_flops(jax.make_jaxpr(function)(*arguments), trips=1)


def step_seconds(program: Program, state: TrainState) -> float:
    """Seconds of a step, as `seconds_of`; `state` is used up."""
    return seconds_of(lambda state: program.step(state, *program.inputs)[:2], state) / program.steps


def seconds_of(call: Callable[[Any], tuple[Any, PyTree]], state: Any) -> float:
    """Seconds of a call, the mean of some that follow each other as in a run, at least three; the first is left out.

    Args:
      call: gives the next state, and something small that the device has when it is done.
      state: that it begins with.
    """

    def calls(count: int, state: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        before = None
        for _ in range(count):
            state, shown = call(state)
            # The device may be a step ahead; with hundreds of them waiting, several devices of one CPU lock each other out.
            jax.block_until_ready(before)
            before = shown
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / count, state

    _, state = calls(1, state)
    once, state = calls(1, state)
    return calls(max(_LEAST, round(_SECONDS / once)), state)[0]


def estimate(config: Config, *, progress: Callable[[int, int], None] | None = None) -> Estimate:
    """What a run of `config` would take on these devices; writes nothing.

    Of a set of files only one batch is decoded, in threads, which also tells how fast that goes.

    Args:
      config: a configuration that `check` has passed.
      progress: called with the images decoded and their number.

    Raises:
      InputError: where the images cannot be opened, or configuration, data and devices do not fit each other.
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
    # What is decoded before the first step, or comes from a cache, is not decoded in each epoch.
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
    """These images, and how many a second were decoded; those that cannot be are replaced by others, as a run would."""
    start = time.perf_counter()
    decoded = decode_all(lambda i: split.fetch(int(index[i])), len(index), side, progress, reading=split.reading)
    rate = len(index) / (time.perf_counter() - start)
    good = np.setdiff1d(np.arange(len(index)), list(decoded.failures))
    if not len(good):
        reason = next(iter(decoded.failures.values()))
        raise InputError(
            f"data is {split.source}, of which {len(index)} images were tried and none can be decoded ({reason})."
        )
    rows = np.resize(good, len(index))
    labels = decoded.labels[rows] if split.labelled else None
    return Images(decoded.images[rows], decoded.aspects[rows], labels), rate


def _parts(params: PyTree) -> Mapping[str, PyTree]:
    return params if isinstance(params, Mapping) else {"network": params}


def _count(tree: PyTree) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def _on_each(leaf: jax.Array) -> int:
    """Bytes of an array on one device, all of it or the piece that is there."""
    return leaf.nbytes * math.prod(leaf.sharding.shard_shape(leaf.shape)) // max(leaf.size, 1)
