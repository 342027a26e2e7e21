"""Timing things beside each other, and printing what was seen as JSON lines."""

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

# Read by OpenMP when a rival first loads it. Its threads wait in a loop otherwise, which on a shared machine takes the cores
# from the very threads that they wait for, and would make PyTorch slower than it is.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def alternate(functions: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each function, called in turn `rounds` times after one call to warm up.

    In turn, because the speed of a shared machine drifts: what is compared has to meet the same minutes. The pause before each
    call lets the threads of the library before it fall asleep: OpenMP's keep a core busy for 0.2 s after their work.
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
    """Print one JSON line: the figure, the rival's and their ratio (above 1: the figure is the larger).

    A value that is unknown or not a finite number is null. `more` stands in the line too, in place of what has the same name:
    the device of another process, say.
    """
    line = {"name": name, "figure": figure, "unit": unit, "rival": rival, "rival_figure": rival_figure}
    line["ratio"] = None if figure is None or not rival_figure else figure / rival_figure
    print(json.dumps(_finite({**line, **more, **where(), **more}), allow_nan=False), flush=True)


def torch_device() -> str | None:
    """Where PyTorch can work on the same kind of device as jax: cpu, cuda, or None where it is not installed for that."""
    try:
        import torch
    except ImportError:
        return None
    if jax.default_backend() == "cpu":
        return "cpu"
    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else None


def finished(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """PyTorch's function of the arguments, that returns when a GPU has done its work."""

    def call() -> Any:
        import torch

        result = function(*arguments)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return call


def temporary_mb(compiled: Any) -> float | None:
    """Temporary memory of a compiled program, MB; None where the backend does not tell."""
    memory = compiled.memory_analysis()
    return None if memory is None else memory.temp_size_in_bytes / 1e6


def _finite(value: Any) -> Any:
    """The value with None for each number in it that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def where() -> dict[str, Any]:
    """The device and the versions that a figure belongs to."""
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
        # Of the whole machine over the last minute; what is measured is a part of it.
        "load": round(os.getloadavg()[0], 1),
        "command": shlex.join(["python", "-m", *_module(), *sys.argv[1:]]),
        "python": platform.python_version(),
        "versions": versions,
    }


def _module() -> list[str]:
    """The name of the script that runs, as `python -m` takes it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [spec.name if spec is not None else pathlib.Path(sys.argv[0]).name]
