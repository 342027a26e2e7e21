"""The training step: images a second beside a plain Python loop, utilisation, memory, and where the time goes.

`python -m experiments.benchmarks.step [--configs NAME … --batch-size N]`. Images are noise of the configuration's canvas, as
speed does not depend on what they show. The rival is the same step as users write the loop around it: a batch is indexed on
the host, put on the device, and the loss is waited for. The host's share is what the profiler finds of the time of the
library's own training loop, metrics and watch included, in which no compiled program runs.

Compilation takes most of the time on a GPU. The plain loop (`--no-plain` leaves it out), the host's share (`--traced 0` leaves
it out) and the step's parts (`--parts` adds them) compile programs of their own; `--kernels N` profiles the step itself.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tyro

from experiments.benchmarks.parts import copied, parts_ms
from experiments.benchmarks.peaks import device_peak, product
from experiments.benchmarks.timing import alternate, report
from experiments.benchmarks.trace import Kernel, host_share, largest_kernels
from sslax.cli import terminal
from sslax.config import Config, check
from sslax.data import Dataset, Split
from sslax.data.feed import Placed
from sslax.errors import InputError
from sslax.recipes import CONFIGS
from sslax.training import Built, Program, TrainState, build, make_update, start_state, training_program
from sslax.training.build import compute_dtype

FLOPS_FROM = "matrix products and convolutions of the traced step"


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
    plain: bool = True
    """Time the plain loop beside the step."""
    traced: int = 60
    """Steps of the training loop that the profiler looks at for the host's share; 0 is none."""
    parts: bool = False
    """Time the views, the forward and backward pass, and the update apart, each as a program of its own."""
    kernels: int = 0
    """Print so many of the step's largest kernels, from the profiler, with their share of the time of all; 0 is none."""


def noise(config: Config, images: int) -> Dataset:
    """Unlabelled images of the configuration's canvas."""
    side = config.canvas or config.method.views.size
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    names = tuple(f"{i:06d}" for i in range(images))
    return Dataset("noise", Split(pixels, None, np.ones(images, np.float32), names), None, (), ())


class Ours:
    """Rounds of steps as a run takes them: the batch is in the program, and the host waits at the end."""

    def __init__(self, program: Program, state: TrainState, steps: int):
        self._program, self.state, self._calls = program, state, max(1, steps // program.steps)

    def __call__(self) -> float:
        for _ in range(self._calls):
            self.state, metrics, _ = self._program.step(self.state, *self._program.inputs)
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


def peak_memory(state: TrainState, program: Program, before: int | None) -> tuple[int | None, str]:
    """Bytes that the device held at most while the step ran, or those that the program was compiled for.

    Args:
      state: of the step.
      program: the step, which has run.
      before: the device's peak before `state` was there; a peak that has not grown belongs to an earlier program.
    """
    peak = device_peak_bytes()
    if peak is not None and before is not None and peak > before:
        return peak, "peak of the device"
    if program.temporaries is None:
        return None, "not told"
    return sum(x.nbytes for x in jax.tree.leaves(state)) + program.temporaries, "state and temporaries as compiled"


def device_peak_bytes() -> int | None:
    """Bytes that the first device held at most since the process began; None where it does not tell."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def measure(name: str, config: Config, options: Options) -> None:
    """Print the line of one configuration."""
    data = noise(config, max(options.images, config.batch_size))
    built = build(config, data)
    before = device_peak_bytes()
    state = start_state(config, built)
    per_call = config.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    batch = data.train.read(np.arange(config.batch_size))
    program = training_program(config, built, state, batch, "resident", steps=min(per_call, options.steps))
    ours = Ours(program, state, options.steps)
    ours()
    memory, memory_from = peak_memory(state, program, before)
    functions: dict[str, Callable[[], Any]] = {"ours": ours, "product": product}
    if options.plain:
        functions["plain"] = Plain(config, built, data, copied(ours.state), options.steps)
    seconds = alternate(functions, rounds=options.rounds)
    steps = max(1, options.steps // program.steps) * program.steps
    peak, peak_from = device_peak(seconds["product"])
    one = seconds["ours"] / steps
    kernels, busy_ms = largest_kernels(ours, steps=steps, most=options.kernels) if options.kernels else ([], None)
    show(name, kernels)
    parts = (
        parts_ms(config, built, ours.state, batch, steps=options.steps, rounds=options.rounds) if options.parts else {}
    )
    report(
        f"training step, {name}",
        config.batch_size / one,
        "images/s",
        rival="plain Python loop",
        rival_figure=options.steps * config.batch_size / seconds["plain"] if options.plain else None,
        batch=config.batch_size,
        precision=str(compute_dtype(config.precision)),
        devices=built.mesh.size,
        step_ms=1e3 * one,
        compile_s=program.compile_s,
        gflops=program.flops / 1e9,
        flops_from=FLOPS_FROM,
        utilisation=None if peak is None else program.flops / one / (peak * built.mesh.size),
        peak_gflops_per_s=None if peak is None else peak / 1e9,
        peak_from=peak_from,
        memory_mb=None if memory is None else memory / 1e6,
        memory_from=memory_from,
        host_share=host_share(config, built, data, options.traced) if options.traced else None,
        remat=config.remat,
        accumulate=config.accumulate,
        **parts,
        **({"busy_ms": busy_ms, "kernels": [dataclasses.asdict(kernel) for kernel in kernels]} if kernels else {}),
    )


def show(name: str, kernels: Sequence[Kernel]) -> None:
    """Print the kernels for people; standard output is for the JSON lines."""
    for kernel in kernels:
        print(
            f"{name} {kernel.share:6.1%} {kernel.ms:9.3f} ms {kernel.calls:7.1f} x  {kernel.name[:90]}", file=sys.stderr
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
    for field, least in (("images", 1), ("steps", 1), ("rounds", 1), ("traced", 0), ("kernels", 0)):
        if getattr(options, field) < least:
            raise InputError(f"{field} is {getattr(options, field)}; it must be at least {least}.")
    for name, config in [(name, configured(name, options, configs)) for name in options.configs]:
        measure(name, config, options)


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.benchmarks.step")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
