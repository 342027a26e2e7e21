"""The training step: images a second beside a plain Python loop, utilisation, memory, and the host's share of the time.

`python -m experiments.benchmarks.step [--configs NAME … --batch-size N]`. Images are noise of the configuration's canvas, as
speed does not depend on what they show. The rival is the same step as users write the loop around it: a batch is indexed on
the host, put on the device, and the loss is waited for. The host's share is what the profiler finds of the time of the
library's own training loop, metrics and watch included, in which no compiled program runs.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import terminal
from experiments.benchmarks.timing import alternate, report
from experiments.configs import CONFIGS
from sslax.config import Config, check, to_dict
from sslax.data import Dataset, Split
from sslax.data.feed import Placed
from sslax.errors import InputError
from sslax.training import (
    Built,
    Program,
    RunDir,
    TrainState,
    build,
    fit,
    make_update,
    start_state,
    training_program,
)

# Dense matrix products of bfloat16, FLOP/s, from the vendor's data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
# Side of the matrices whose product tells a CPU's peak.
_SIDE = 2048


@dataclasses.dataclass(frozen=True)
class Options:
    """Speed and memory of the training step."""

    configs: tuple[str, ...] = ("simclr-digits", "byol-digits", "dino-digits")
    """Configurations, by name."""
    batch_size: int | None = None
    """Images a step; None is the configuration's."""
    precision: str | None = None
    """Type of the networks' arithmetic, as for pretraining; None is the configuration's."""
    remat: bool = False
    """Compute the blocks of the backbone again for the gradient."""
    accumulate: int = 1
    """Micro-batches of a batch."""
    images: int = 4096
    """Images that the plain loop takes its batches from."""
    steps: int = 10
    """Steps of a timed round."""
    rounds: int = 7
    """Timed rounds of each, in turn; the median counts."""
    traced: int = 60
    """Steps that the profiler looks at; 0 is none."""


def noise(config: Config, images: int) -> Dataset:
    """Unlabelled images of the configuration's canvas."""
    side = config.canvas or config.method.views.size
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    names = tuple(f"{i:06d}" for i in range(images))
    return Dataset("noise", Split(pixels, None, np.ones(images, np.float32), names), None, (), ())


class Ours:
    """Rounds of steps as a run takes them: the batch is in the program, and the host waits at the end."""

    def __init__(self, program: Program, state: TrainState, steps: int):
        self._program, self._state, self._calls = program, state, max(1, steps // program.steps)

    def __call__(self) -> float:
        for _ in range(self._calls):
            self._state, metrics, _ = self._program.step(self._state, *self._program.inputs)
        return float(metrics["loss"])


class Plain:
    """Rounds of steps as users write them."""

    def __init__(self, config: Config, built: Built, data: Dataset, state: TrainState, steps: int):
        self._update = jax.jit(make_update(built.method, built.tx, accumulate=config.accumulate))
        self._split, self._batch_size = data.train, config.batch_size
        self._state, self._steps = state, steps
        self._rng = np.random.default_rng(0)

    def __call__(self) -> float:
        loss = 0.0
        for _ in range(self._steps):
            index = self._rng.choice(len(self._split), self._batch_size, replace=False)
            batch = Placed(jax.device_put(self._split.images[index]), jax.device_put(self._split.aspects[index]), None)
            self._state, metrics, _ = self._update(self._state, batch)
            loss = float(metrics["loss"])
        return loss


def product() -> jax.Array:
    """The product of two large matrices, by which a CPU's peak is measured."""
    return _product(jnp.ones((_SIDE, _SIDE)))


@jax.jit
def _product(x):
    return x @ x


def device_peak(product_seconds: float) -> tuple[float | None, str]:
    """FLOP/s that the device can do at most, and where that is known from; None for one that is not in the table."""
    if jax.default_backend() == "cpu":
        return 2 * _SIDE**3 / product_seconds, f"float32 product of side {_SIDE} in the same run"
    kind = jax.devices()[0].device_kind
    found = [peak for name, peak in PEAKS.items() if name in kind]
    return (found[0], "bfloat16, dense, data sheet") if found else (None, f"not known of {kind}")


def peak_memory(state: TrainState, program: Program) -> tuple[int | None, str]:
    """Bytes that the device held at most, or those that the program was compiled for."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"], "peak of the device"
    if program.temporaries is None:
        return None, "not told"
    return sum(x.nbytes for x in jax.tree.leaves(state)) + program.temporaries, "state and temporaries as compiled"


class _Enough(Exception):
    """The training loop has shown what was to be seen."""


def host_share(config: Config, built: Built, data: Dataset, steps: int) -> float | None:
    """Share of the training loop's time in which no compiled program runs, over about so many steps; None if not told."""
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder) / "trace"
        run = RunDir(pathlib.Path(folder) / "run", to_dict(config))
        first = 2 * config.log_every
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        marks = contextlib.ExitStack()

        def follow(line: Mapping[str, Any]) -> None:
            if line["step"] == first:
                jax.profiler.start_trace(trace, profiler_options=options)
                marks.enter_context(jax.profiler.TraceAnnotation("traced steps"))
            elif line["step"] >= first + steps:
                marks.close()
                jax.profiler.stop_trace()
                raise _Enough

        with contextlib.suppress(_Enough):
            fit(config, built, data, run, follow=follow)
        return outside(next(trace.rglob("*.xplane.pb")))


def outside(trace: pathlib.Path) -> float | None:
    """Share of the marked time in which nothing compiled runs, from a profile; None where it does not tell."""
    planes = list(jax.profiler.ProfileData.from_file(str(trace)).planes)
    events = [
        (plane.name, event.name, event.start_ns, event.start_ns + event.duration_ns)
        for plane in planes
        for line in plane.lines
        for event in line.events
    ]
    marked = [(start, end) for _, name, start, end in events if name == "traced steps"]
    devices = [(start, end) for plane, _, start, end in events if plane.startswith("/device:")]
    host = [(start, end) for _, name, start, end in events if name.startswith("ThunkExecutor::Execute")]
    busy = devices or host
    if not marked or not busy:
        return None
    (start, end), covered, at = marked[0], 0.0, marked[0][0]
    for begins, ends in sorted(busy):
        covered += max(0.0, min(ends, end) - max(begins, at))
        at = max(at, min(ends, end))
    return 1 - covered / (end - start)


def measure(name: str, config: Config, options: Options) -> None:
    """Print the line of one configuration."""
    data = noise(config, max(options.images, config.batch_size))
    built = build(config, data)
    state = start_state(config, built)
    per_call = config.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    batch = data.train.read(np.arange(config.batch_size))
    program = training_program(config, built, state, batch, "resident", steps=min(per_call, options.steps))
    memory, memory_from = peak_memory(state, program)
    functions: dict[str, Callable[[], Any]] = {
        "ours": Ours(program, state, options.steps),
        "plain": Plain(config, built, data, start_state(config, built), options.steps),
        "product": product,
    }
    seconds = alternate(functions, rounds=options.rounds)
    steps = max(1, options.steps // program.steps) * program.steps
    peak, peak_from = device_peak(seconds["product"])
    one = seconds["ours"] / steps
    report(
        f"training step, {name}",
        config.batch_size / one,
        "images/s",
        rival="plain Python loop",
        rival_figure=options.steps * config.batch_size / seconds["plain"],
        batch=config.batch_size,
        gflops=program.flops / 1e9,
        utilisation=None if peak is None else program.flops / one / (peak * built.mesh.size),
        peak_gflops_per_s=None if peak is None else peak / 1e9,
        peak_from=peak_from,
        memory_mb=None if memory is None else memory / 1e6,
        memory_from=memory_from,
        host_share=host_share(config, built, data, options.traced) if options.traced else None,
        remat=config.remat,
        accumulate=config.accumulate,
    )


def configured(name: str, options: Options, configs: Mapping[str, Config]) -> Config:
    """A configuration by name with the options' changes, long enough for the loop to be looked at."""
    if name not in configs:
        raise InputError(f"configs has {name}, which does not exist; it must be one of {', '.join(configs)}.")
    base = configs[name]
    changes: dict[str, Any] = {"remat": options.remat, "accumulate": options.accumulate, "feed": "resident"}
    changes |= {"batch_size": options.batch_size or base.batch_size, "precision": options.precision or base.precision}
    changes |= {"epochs": 10_000, "eval_every": 0, "checkpoint_every": 10_000}
    config = dataclasses.replace(base, **changes)
    check(config)
    return config


def run(options: Options, configs: Mapping[str, Config] = CONFIGS) -> None:
    """Print a line for each configuration."""
    for field in ("images", "steps", "rounds"):
        if getattr(options, field) < 1:
            raise InputError(f"{field} is {getattr(options, field)}; it must be at least 1.")
    for name, config in [(name, configured(name, options, configs)) for name in options.configs]:
        measure(name, config, options)


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.benchmarks.step")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
