"""Bytes that a training step communicates, counted in its compiled program, on 1 to 8 devices.

`python -m experiments.benchmarks.collectives [--configs NAME …]`. The program is compiled for that number of CPU devices on
this machine, but not run. The bytes of an operation are those of its whole array on one device: the array that is reduced, or
the gathered array. Inside a loop they count once per trip.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping

import jax
import numpy as np
import tyro
from jax.extend.backend import clear_backends

from experiments.benchmarks.timing import report
from sslax.cli import terminal
from sslax.config import Config
from sslax.data import Images
from sslax.errors import InputError
from sslax.recipes import CONFIGS
from sslax.training import build_for, init_state, training_program

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "c64": 64, "c128": 128}
_OPERATION = re.compile(
    r"\s(all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|collective-broadcast|ragged-all-to-all)"
    r"(-start)?\("
)
_NAMED = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_CALLED = re.compile(r"(?:body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Options:
    """Bytes that a training step communicates."""

    configs: tuple[str, ...] = ("simclr-digits", "byol-digits", "dino-digits")
    """Configurations, by name."""
    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of devices."""


def collective_bytes(program: str) -> dict[str, int]:
    """Bytes of each kind of collective operation in a compiled program, on one device.

    Args:
      program: the text of the compiled HLO, from `compiled.as_text()`.

    Returns:
      A dictionary such as "all-reduce f32" -> bytes; empty if the program communicates nothing.

    Raises:
      ValueError: if a collective is inside a loop with an unknown number of trips.
    """
    own: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    calls: dict[str, list[tuple[str, int | None]]] = collections.defaultdict(list)
    sizes: dict[str, int] = {}
    here = entry = ""
    for line in program.splitlines():
        if found := _COMPUTATION.match(line):
            here = found[2]
            entry = here if found[1] else entry
        elif found := _NAMED.match(line):
            name, rest = found[1], found[2]
            if operation := _OPERATION.search(rest):
                result, operands = rest[: operation.start()], rest[operation.end() :].split(")")[0]
                given = sum(sizes.get(operand, 0) for operand in re.findall(r"%?([\w.-]+)", operands))
                # The result of a -start operation also contains its operands.
                gives = _size(result) - (given if operation[2] else 0)
                own[here][f"{operation[1]} {_types(result)}"] += max(given, gives)
            sizes[name] = _size(re.split(r"\s[a-z][\w-]*\(", rest)[0])
            trips = _TRIPS.search(rest)
            times = (int(trips[1]) if trips else None) if " while(" in rest else 1
            called = _CALLED.findall(rest) + [
                branch.strip(" %") for group in _BRANCHES.findall(rest) for branch in group.split(",")
            ]
            calls[here] += [(other, times) for other in called]

    def total(computation: str) -> collections.Counter[str]:
        found = collections.Counter(own[computation])
        for other, times in calls[computation]:
            inside = total(other)
            if inside and times is None:
                raise ValueError(f"{other} communicates in a loop with an unknown number of trips; it must be known.")
            for kind, nbytes in inside.items():
                found[kind] += nbytes * (times or 0)
        return found

    return dict(total(entry))


def _shapes(text: str) -> list[tuple[str, str]]:
    return re.findall(r"\b([a-z]+\d*\w*)\[([\d,]*)\]", text)


def _size(text: str) -> int:
    """Bytes of an HLO type, including tuples."""
    return sum(_bits(kind) * math.prod(map(int, filter(None, shape.split(",")))) // 8 for kind, shape in _shapes(text))


def _bits(kind: str) -> int:
    return _BITS.get(kind) or int((re.findall(r"\d+", kind) or ["0"])[0])


def _types(text: str) -> str:
    return "+".join(sorted({kind for kind, _ in _shapes(text)}))


def step_bytes(config: Config, *, images: int, canvas: int, devices: int) -> tuple[dict[str, int], int]:
    """`collective_bytes` of a configuration's training step on resident images, and the bytes of its gradient.

    Args:
      config: a configuration that has passed `check`.
      images: number of images in the set.
      canvas: side of the canvases in pixels.
      devices: number of devices to use.
    """
    built = build_for(config, images=images, canvas=canvas, devices=jax.devices()[:devices])
    state = init_state(built.method, built.tx, jax.random.key(config.seed), built.image_shape, built.mesh)
    n = config.batch_size
    batch = Images(np.zeros((n, canvas, canvas, 3), np.uint8), np.ones(n, np.float32), np.zeros(n, np.int32))
    program = training_program(config, built, state, batch, "resident")
    gradient = sum(x.nbytes for x in jax.tree.leaves(state.params))
    return collective_bytes(program.step.as_text() or ""), gradient


def run(options: Options, configs: Mapping[str, Config] = CONFIGS) -> None:
    """Print a line for each configuration and number of devices."""
    for name in options.configs:
        if name not in configs:
            raise InputError(f"configs has {name}, which does not exist; it must be one of {', '.join(configs)}.")
    if max(options.devices) > jax.device_count() or min(options.devices) < 1:
        raise InputError(f"devices is {options.devices}; each must lie between 1 and {jax.device_count()}.")
    for name in options.configs:
        config = configs[name]
        canvas = config.canvas or config.method.views.size
        for count in options.devices:
            kinds, gradient = step_bytes(config, images=config.batch_size, canvas=canvas, devices=count)
            report(
                f"bytes a step communicates, {name}",
                sum(kinds.values()) / 1e6,
                "MB",
                rival="the gradient alone",
                rival_figure=gradient / 1e6,
                devices=count,
                batch=config.batch_size,
                kinds=kinds,
            )


def main() -> None:
    """The command line, with eight CPU devices."""
    options = tyro.cli(Options, prog="python -m experiments.benchmarks.collectives")
    # Imported libraries have already initialised the devices.
    clear_backends()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
