"""Time functions in alternation, and print the results as JSON lines."""

import json
import math
import os
import pathlib
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import jax

# OpenMP reads this when PyTorch first loads it. By default its threads wait in a busy loop. On a shared machine they then take
# the cores from the threads for which they wait, and PyTorch would look slower than it is.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def alternate(functions: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each function, called alternately `rounds` times after one warmup call.

    The calls alternate because the speed of a shared machine drifts, so all functions must be measured in the same minutes.
    The pause before each call lets the threads of the previous library go to sleep: OpenMP's keep a core busy for 0.2 s.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for index in range(rounds + 1):
        for name, function in functions.items():
            time.sleep(0.3)
            start = time.perf_counter()
            jax.block_until_ready(function())
            if index > 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def report(name: str, figure: float | None, unit: str, *, rival: str, rival_figure: float | None, **more: Any) -> None:
    """Print one JSON line: the figure, the other library's figure, and their ratio (above 1 if the first is larger).

    An unknown or non-finite value is null. `more` is added to the line and replaces fields of the same name, for example the
    device of another process.
    """
    line = {"name": name, "figure": figure, "unit": unit, "rival": rival, "rival_figure": rival_figure}
    line["ratio"] = None if figure is None or not rival_figure else figure / rival_figure
    print(json.dumps(_finite({**line, **more, **where(), **more}), allow_nan=False), flush=True)


def torch_device() -> str | None:
    """PyTorch's name, cpu or cuda, for the kind of device that jax uses; None if PyTorch is not installed for it."""
    try:
        import torch
    except ImportError:
        return None
    if jax.default_backend() == "cpu":
        return "cpu"
    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else None


def finished(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Wrap a PyTorch function of the arguments, to return only when the GPU has finished."""

    def call() -> Any:
        import torch

        result = function(*arguments)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return call


def temporary_mb(compiled: Any) -> float | None:
    """Temporary memory of a compiled program in MB; None if the backend does not report it."""
    memory = compiled.memory_analysis()
    return None if memory is None else memory.temp_size_in_bytes / 1e6


def _finite(value: Any) -> Any:
    """The value with None for each number in it that JSON cannot represent."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def where() -> dict[str, Any]:
    """The device and the package versions of a figure."""
    packages = ("jax", "dm_pix", "optax", "grain", "pillow", "torch", "kornia")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        # Load of the whole machine over the last minute, including the measured process.
        "load": round(os.getloadavg()[0], 1),
        "command": shlex.join(["python", "-m", *_module(), *sys.argv[1:]]),
        "python": platform.python_version(),
        "versions": versions,
    }


def _module() -> list[str]:
    """The module name of the running script, for `python -m`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [spec.name if spec is not None else pathlib.Path(sys.argv[0]).name]
