"""Training in several processes: how they connect, agree on decisions, and exit.

Each process has its own devices, and all of them run the same program. A decision that depends on the clock, disk or signals
of a single process must therefore be shared with the others first. In a single process, these functions return at once
what they are given.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from sslax.errors import InputError

T = TypeVar("T")

# Words in the errors of gloo, NCCL and JAX's coordination service when they lose the connection to another process.
_SIGNS = (
    "gloo",
    "nccl",
    "unavailable",
    "deadline_exceeded",
    "heartbeat",
    "barrier",
    "coordination",
    "connection",
    "peer",
)
# Seconds that an exiting process waits for the others. A process in the middle of a step does not answer.
_FAREWELL = 5.0


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """Several processes, on one machine or many, that train one run. All have the same command, except for `process`."""

    coordinator: str | None = None
    """HOST:PORT where process 0 listens; all processes must be able to reach it."""
    processes: int | None = None
    """Number of processes."""
    process: int | None = None
    """Index of this process, from 0."""
    auto: bool = False
    """Read coordinator, processes and process from the cluster's environment: SLURM, Open MPI, Kubernetes, Cloud TPU."""
    heartbeat: int = 20
    """Seconds without a heartbeat after which a process counts as dead and the run ends."""


def check(options: DistributedConfig) -> None:
    """Raise InputError for the first option that cannot work."""
    if options.heartbeat < 1:
        raise InputError(f"distributed.heartbeat is {options.heartbeat}; it must be at least 1.")
    given = {name: getattr(options, name) for name in ("coordinator", "processes", "process")}
    named = [name for name, value in given.items() if value is not None]
    if options.auto and named:
        raise InputError(
            f"distributed.auto is True, which sets distributed.{named[0]} automatically; leave out one of the two."
        )
    missing = [name for name, value in given.items() if value is None]
    if named and missing:
        raise InputError(
            f"distributed.{missing[0]} is None, but distributed.{named[0]} is given; set all of coordinator, processes and "
            "process, or none."
        )
    if options.coordinator is None or options.processes is None or options.process is None:
        return
    host, _, port = options.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"distributed.coordinator is {options.coordinator}; it must be HOST:PORT.")
    if options.processes < 1:
        raise InputError(f"distributed.processes is {options.processes}; it must be at least 1.")
    if not 0 <= options.process < options.processes:
        raise InputError(f"distributed.process is {options.process}; it must lie in 0 to {options.processes - 1}.")


def connect(options: DistributedConfig) -> None:
    """Connect to the other processes. Call this before any code uses a device. It does nothing for a single process.

    Raises:
      InputError: if the processes cannot connect.
    """
    if not (options.auto or options.coordinator) or jax.distributed.is_initialized():
        return
    # JAX's preemption service would handle SIGTERM itself, and the training loop would not see it.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            options.coordinator,
            options.processes,
            options.process,
            cluster_detection_method=None if options.auto else "deactivate",
            heartbeat_timeout_seconds=options.heartbeat,
        )
    except (RuntimeError, ValueError, OSError) as error:
        what = "distributed.auto is True" if options.auto else f"distributed.coordinator is {options.coordinator}"
        said = " ".join(str(error).split()).rstrip(".")[:200]
        raise InputError(
            f"{what}, but the processes could not connect to each other ({said}); every process must be able to reach the "
            "coordinator."
        ) from error
    if several() and jax.default_backend() == "cpu":
        # On CPU jax's cache keys differ between processes and only the first process writes, so only it would find its
        # programs. It would then wait for the others in the first step, and gloo times out while they still compile.
        jax.config.update("jax_enable_compilation_cache", False)


def several() -> bool:
    """Whether the run has more than one process."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this is process 0, which alone writes files and prints."""
    return jax.process_index() == 0


def together(what: str) -> None:
    """Wait until every process has reached this call."""
    if several():
        multihost_utils.sync_global_devices(what)


def any_of(flag: bool) -> bool:
    """Whether `flag` is True in any process. All processes must call this."""
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag)))) if several() else flag


def least_of(value: float) -> float:
    """The smallest `value` of all processes, in float32. All processes must call this."""
    return float(np.min(multihost_utils.process_allgather(np.float32(value)))) if several() else value


def from_first(make: Callable[[], T]) -> T:
    """Call `make` in process 0 and return its result in every process.

    The result must consist of plain JSON values. All processes must call this.
    """
    if not several():
        return make()
    told = json.dumps(make()).encode() if first() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
    # Padded to a power of two, because each size is a program to compile.
    text = np.zeros(max(1024, 1 << (length - 1).bit_length()), np.uint8)
    text[: len(told)] = np.frombuffer(told, np.uint8)
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(text)))[:length])


@contextlib.contextmanager
def first_before_others(what: str) -> Iterator[None]:
    """Run the block in process 0 first. The other processes run it afterwards, and find what process 0 has made."""
    if not first():
        together(what)
    yield
    if first():
        together(what)


def lost(error: BaseException) -> bool:
    """Whether an error means that another process has ended."""
    said = str(error).lower()
    return several() and isinstance(error, jax.errors.JaxRuntimeError) and any(sign in said for sign in _SIGNS)


def leave(code: int) -> NoReturn:
    """Exit with a code. If the run failed, wait only briefly for other processes, which may be in the middle of a step."""
    if code and several():
        # Its code is decided. mpirun sends SIGTERM to those that are still leaving, and `run_script` sends its own again.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        farewell = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        farewell.start()
        farewell.join(_FAREWELL)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
