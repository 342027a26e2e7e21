"""The training step: images per second compared with a plain Python loop, utilisation, memory, and a breakdown of the time.

`python -m experiments.benchmarks.step [--configs NAME … --batch-size N]`. Images are noise of the configuration's canvas,
because the speed does not depend on their content. The plain loop runs the same step as users would write it: it indexes a
batch on the host, puts it on the device, and waits for the loss. The host's share is the share of time, from the profiler, in
which no compiled program runs during the library's own training loop, including metrics and collapse watch.

Compilation takes most of the time on a GPU. The plain loop (`--no-plain` skips it), the host's share (`--traced 0` skips it)
and the step's parts (`--parts` adds them) compile additional programs; `--kernels N` profiles the step itself.
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
    """Images per step; None uses the configuration's."""
    network: str | None = None
    """Backbone, by name, such as vit-base; None uses the configuration's."""
    precision: str | None = None
    """Dtype of the networks' arithmetic, as for pretraining; None uses the configuration's."""
    remat: bool = False
    """Recompute the blocks of the backbone for the gradient."""
    accumulate: int = 1
    """Number of micro-batches per batch."""
    images: int = 4096
    """Number of images from which the plain loop draws its batches."""
    steps: int = 10
    """Steps per timed round."""
    rounds: int = 7
    """Timed rounds of each, alternating; the median counts."""
    plain: bool = True
    """Also time the plain loop."""
    traced: int = 60
    """Steps of the training loop to profile for the host's share; 0 skips it."""
    parts: bool = False
    """Also time the views, the forward and backward pass, and the update separately, each as its own program."""
    kernels: int = 0
    """Print this many of the step's slowest kernels, from the profiler, with their share of the time of all; 0 skips it."""


def noise(config: Config, images: int) -> Dataset:
    """Unlabelled images of the configuration's canvas."""
    side = config.canvas or config.method.views.size
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    names = tuple(f"{i:06d}" for i in range(images))
    return Dataset("noise", Split(pixels, None, np.ones(images, np.float32), names), None, (), ())


class Ours:
    """Rounds of steps as in a run: the program gathers the batch, and the host waits only at the end."""

    def __init__(self, program: Program, state: TrainState, steps: int):
        self._program, self.state, self._calls = program, state, max(1, steps // program.steps)

    def __call__(self) -> float:
        for _ in range(self._calls):
            self.state, metrics, _ = self._program.step(self.state, *self._program.inputs)
        return float(metrics["loss"])


class Plain:
    """Rounds of steps in a plain loop, as users would write it."""

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
    """Peak bytes on the device while the step ran, or the bytes that the compiled program needs.

    Args:
      state: the state of the step.
      program: the step, which has already run.
      before: the device's peak before `state` was created; a peak that has not grown belongs to an earlier program.
    """
    peak = device_peak_bytes()
    if peak is not None and before is not None and peak > before:
        return peak, "peak of the device"
    if program.temporaries is None:
        return None, "not told"
    return sum(x.nbytes for x in jax.tree.leaves(state)) + program.temporaries, "state and temporaries as compiled"


def device_peak_bytes() -> int | None:
    """Peak bytes on the first device since the process started; None if the device does not report it."""
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
        network=config.network.name,
        remat=config.remat,
        accumulate=config.accumulate,
        **parts,
        **({"busy_ms": busy_ms, "kernels": [dataclasses.asdict(kernel) for kernel in kernels]} if kernels else {}),
    )


def show(name: str, kernels: Sequence[Kernel]) -> None:
    """Print the kernels to standard error for reading; standard output has only the JSON lines."""
    for kernel in kernels:
        print(
            f"{name} {kernel.share:6.1%} {kernel.ms:9.3f} ms {kernel.calls:7.1f} x  {kernel.name[:90]}", file=sys.stderr
        )


def configured(name: str, options: Options, configs: Mapping[str, Config]) -> Config:
    """A configuration by name with the options' changes, long enough to profile the loop."""
    if name not in configs:
        raise InputError(f"configs has {name}, which does not exist; it must be one of {', '.join(configs)}.")
    base = configs[name]
    changes: dict[str, Any] = {"remat": options.remat, "accumulate": options.accumulate, "feed": "resident"}
    changes |= {"batch_size": options.batch_size or base.batch_size, "precision": options.precision or base.precision}
    network: Any = options.network or base.network.name
    changes |= {"network": dataclasses.replace(base.network, name=network)}
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
