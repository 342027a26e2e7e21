"""One compiled program for many runs that differ only in numbers and seeds; the numbers are inputs of the program.

A grid over temperatures or decays compiles once; each further run takes only the time of its steps.
"""

import copy
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from sslax.config import Config
from sslax.data import Dataset, LazyDataset
from sslax.processes import DistributedConfig
from sslax.training.build import Built, Programs, build, build_for
from sslax.training.nonfinite import guarded
from sslax.training.sharding import spread
from sslax.training.state import initial_state
from sslax.training.step import Embedder, compile_steps, compile_update, make_step, make_update, steps_at_most

NUMBERS = (
    "method.temperature",
    "method.decay",
    "method.center_momentum",
    "method.teacher_temperature",
    "optim.lr",
    "optim.weight_decay",
)
"""Fields that become inputs: the programs use them only as numbers, never for Python control flow."""
# Placeholder for a number that was removed from a configuration; its value does not matter.
_PLACE = 0.5
# Fields that identify or monitor a run and do not affect the compiled programs.
_APART = (
    "data",
    "seed",
    "split_seed",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
    "run_dir",
    "limit",
)


class _Split(NamedTuple):
    """A configuration with placeholders for its numbers, which determines the programs, and the numbers."""

    rest: Config
    numbers: dict[str, float]


def build_shared(config: Config, data: Dataset | LazyDataset) -> Built:
    """As `build`, with programs compiled once for all configurations that differ only in `NUMBERS` and seeds.

    Raises:
      InputError: as `build`.
    """
    built = build(config, data)
    rest, numbers = _split(config)
    canvas = data.train.canvas if isinstance(data, Dataset) else data.side()
    common = _programs(rest, len(data.train), canvas)
    inputs = {name: np.float32(value) for name, value in numbers.items()}

    def steps(state, images, order, count):
        return common.steps(state, (inputs, images), order, count)

    def update(state, images):
        return common.update(state, (inputs, images))

    return built._replace(programs=Programs(common.start, steps, update, common.features))


def _split(config: Config) -> _Split:
    numbers = {}
    for name in NUMBERS:
        room, field = name.split(".")
        value = getattr(getattr(config, room), field, None)
        if isinstance(value, int | float):
            numbers[name] = float(value)
    defaults: dict[str, Any] = {
        field.name: field.default for field in dataclasses.fields(Config) if field.name in _APART
    }
    rest = dataclasses.replace(config, distributed=DistributedConfig(), **defaults)
    return _Split(_with(rest, dict.fromkeys(numbers, _PLACE)), numbers)


def _with(config: Config, numbers: dict[str, Any]) -> Config:
    """`config` with these fields replaced; the values may be traced."""
    parts = {"method": copy.copy(config.method), "optim": copy.copy(config.optim)}
    for name, value in numbers.items():
        room, field = name.split(".")
        # Bypass the constructor, which accepts only the types of a user's configuration.
        object.__setattr__(parts[room], field, value)
    return dataclasses.replace(config, **parts)


@functools.lru_cache(maxsize=8)
def _programs(rest: Config, images: int, canvas: int) -> Programs:
    """The shared programs; their batches are pairs of the numbers and the images."""
    like = build_for(rest, images=images, canvas=canvas)
    # Neither the initial state nor the features depend on the numbers.
    start = initial_state(like.method, like.tx, like.image_shape, like.mesh, fsdp=rest.fsdp)
    placed = spread(jax.eval_shape(start, jax.random.key(0)), like.mesh) if rest.fsdp else None

    def of(numbers: dict[str, Float[Array, ""]]) -> Built:
        return build_for(_with(rest, numbers), images=images, canvas=canvas)

    def step(state, batch, order):
        numbers, resident = batch
        built = of(numbers)
        sizes = {"batch_size": rest.batch_size, "steps_per_epoch": built.steps_per_epoch}
        take = make_step(built.method, built.tx, built.mesh, accumulate=rest.accumulate, **sizes)
        return take(state, resident, order)

    def update(state, batch):
        numbers, placed_images = batch
        built = of(numbers)
        return make_update(built.method, built.tx, accumulate=rest.accumulate)(state, placed_images)

    return Programs(
        start,
        compile_steps(guarded(step, rest.on_nan), like.mesh, placed=placed, at_most=steps_at_most(rest.steps_per_call)),
        compile_update(guarded(update, rest.on_nan), like.mesh, placed=placed),
        Embedder(like.method, like.mesh),
    )
