"""Several processes that train as one: how they find each other, agree, and leave.

Each has devices of its own and all of them run the same program, so what one decides from its own clock, disk or signals
has to be agreed on before the others can follow. With a single process everything here is the identity.
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

# What the runtimes say when they have lost a process: gloo, NCCL, and the service by which the processes know each other.
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
# Seconds to wait for the others in leaving; those that are in the middle of a step will not come.
_FAREWELL = 5.0


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """Several processes, on one machine or many, that train one run; each is given the same command but for `process`."""

    coordinator: str | None = None
    """HOST:PORT on which process 0 will listen; all processes must reach it."""
    processes: int | None = None
    """How many processes there are."""
    process: int | None = None
    """Which of them this is, from 0."""
    auto: bool = False
    """Take all three from the cluster's environment: SLURM, Open MPI, Kubernetes, Cloud TPU."""
    heartbeat: int = 20
    """Seconds without a sign of life after which a process is taken for dead, and the run ends."""


def check(options: DistributedConfig) -> None:
    """Raise InputError, one sentence, on options that cannot work."""
    if options.heartbeat < 1:
        raise InputError(f"distributed.heartbeat is {options.heartbeat}; it must be at least 1.")
    given = {name: getattr(options, name) for name in ("coordinator", "processes", "process")}
    named = [name for name, value in given.items() if value is not None]
    if options.auto and named:
        raise InputError(f"distributed.auto is True, which finds distributed.{named[0]} itself; leave one of them out.")
    missing = [name for name, value in given.items() if value is None]
    if named and missing:
        raise InputError(
            f"distributed.{missing[0]} is None, but distributed.{named[0]} is given; coordinator, processes and process go "
            "together."
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
    """Find the other processes; before anything has touched a device. Nothing where the options name none.

    Raises:
      InputError: where they cannot be found.
    """
    if not (options.auto or options.coordinator) or jax.distributed.is_initialized():
        return
    # It would take SIGTERM away from the loop.
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
        raise InputError(f"{what}, but the processes did not find each other ({said}).") from error
    if several() and jax.default_backend() == "cpu":
        # On CPU jax's keys differ from process to process and the first alone writes, so it alone would find its programs.
        # It would then wait for the others in the first step, and gloo gives them up while they still compile.
        jax.config.update("jax_enable_compilation_cache", False)


def several() -> bool:
    """Whether there is more than this process."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def together(what: str) -> None:
    """Wait until every process has come here."""
    if several():
        multihost_utils.sync_global_devices(what)


def any_of(flag: bool) -> bool:
    """Whether any process says so; all of them have to ask."""
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag)))) if several() else flag


def least_of(value: float) -> float:
    """The smallest of the processes' numbers, as float32; all of them have to ask."""
    return float(np.min(multihost_utils.process_allgather(np.float32(value)))) if several() else value


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, in every one; it has to be plain JSON, and all processes have to ask."""
    if not several():
        return make()
    told = json.dumps(make()).encode() if first() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
    # Few sizes, as each is a program to compile.
    text = np.zeros(max(1024, 1 << (length - 1).bit_length()), np.uint8)
    text[: len(told)] = np.frombuffer(told, np.uint8)
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(text)))[:length])


@contextlib.contextmanager
def first_before_others(what: str) -> Iterator[None]:
    """The first process goes through the block before the others do, which then find what it has made."""
    if not first():
        together(what)
    yield
    if first():
        together(what)


def lost(error: BaseException) -> bool:
    """Whether an error means that another process is gone."""
    said = str(error).lower()
    return several() and isinstance(error, jax.errors.JaxRuntimeError) and any(sign in said for sign in _SIGNS)


def leave(code: int) -> NoReturn:
    """End this process with an exit code, without waiting long for others that may be in the middle of a step."""
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
