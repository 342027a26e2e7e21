"""Profiler measurements of a step: the host's share of the time, and the slowest kernels."""

import collections
import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from sslax.config import Config, to_dict
from sslax.data import Dataset
from sslax.runs import RunDir
from sslax.training import Built, fit


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of a step, named by the GPU kernel, or on a CPU by its operation in the compiled program.

    Attributes:
      name: name of the kernel.
      share: share of the time of all kernels.
      ms: milliseconds per step.
      calls: calls per step.
    """

    name: str
    share: float
    ms: float
    calls: float


class _Enough(Exception):
    """The training loop has run for as long as the profiler needs."""


def host_share(config: Config, built: Built, data: Dataset, steps: int) -> float | None:
    """Share of the training loop's time in which no compiled program runs, over about `steps` steps; None if unknown."""
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder) / "trace"
        run = RunDir(pathlib.Path(folder) / "run", to_dict(config))
        first = 2 * config.log_every
        marks = contextlib.ExitStack()

        def follow(line: Mapping[str, Any]) -> None:
            if line["step"] == first:
                jax.profiler.start_trace(trace, profiler_options=_options())
                marks.enter_context(jax.profiler.TraceAnnotation("traced steps"))
            elif line["step"] >= first + steps:
                marks.close()
                jax.profiler.stop_trace()
                raise _Enough

        with contextlib.suppress(_Enough):
            fit(config, built, data, run, follow=follow)
        return outside(next(trace.rglob("*.xplane.pb")))


def outside(trace: pathlib.Path) -> float | None:
    """Share of the marked time in which no compiled program runs, from a profile; None if the profile lacks it."""
    events = [
        (plane.name, event.name, event.start_ns, event.start_ns + event.duration_ns)
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
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


def largest_kernels(call: Callable[[], Any], *, steps: int, most: int) -> tuple[list[Kernel], float]:
    """The slowest kernels of a call, and the milliseconds of all kernels per step.

    Args:
      call: runs compiled steps and waits for them; it must have run before.
      steps: number of steps per call.
      most: maximum number of kernels.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=_options()):
            jax.block_until_ready(call())
        times = list(kernel_times(next(pathlib.Path(folder).rglob("*.xplane.pb"))))
    total, calls = collections.Counter[str](), collections.Counter[str]()
    for name, nanoseconds in times:
        total[name] += nanoseconds
        calls[name] += 1
    whole = total.total()
    kernels = [
        Kernel(name, taken / whole, taken / 1e6 / steps, calls[name] / steps) for name, taken in total.most_common(most)
    ]
    return kernels, whole / 1e6 / steps


def kernel_times(trace: pathlib.Path) -> Iterator[tuple[str, int]]:
    """The name and nanoseconds of each kernel that ran, from a profile.

    On a GPU they are the events of its streams, including copies. On a CPU they are the operations of the compiled program,
    without the time of nested operations, summed over the threads.
    """
    planes = list(jax.profiler.ProfileData.from_file(str(trace)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    for plane in devices or planes:
        for line in plane.lines:
            if devices and "Stream" not in line.name and "XLA Ops" not in line.name:
                continue
            events = [event for event in line.events if devices or "hlo_op" in dict(event.stats)]
            spans = [(event.name, round(event.start_ns), round(event.start_ns + event.duration_ns)) for event in events]
            yield from own_times(spans)


def own_times(spans: Sequence[tuple[str, int, int]]) -> Iterator[tuple[str, int]]:
    """Each span's name and its time without that of nested spans.

    Args:
      spans: (name, start, end); any two spans are nested or disjoint.
    """
    inside = [0] * len(spans)
    order = sorted(range(len(spans)), key=lambda i: (spans[i][1], -spans[i][2]))
    open_spans: list[int] = []
    for index in order:
        _, start, end = spans[index]
        while open_spans and spans[open_spans[-1]][2] <= start:
            open_spans.pop()
        if open_spans:
            inside[open_spans[-1]] += end - start
        open_spans.append(index)
    for (name, start, end), nested in zip(spans, inside, strict=True):
        yield name, end - start - nested


def _options() -> jax.profiler.ProfileOptions:
    options = jax.profiler.ProfileOptions()
    # Tracing Python calls would slow the loop and fill the profile.
    options.python_tracer_level = 0
    return options
