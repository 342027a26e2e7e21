"""A run in several processes of this machine: `sslax launch --processes N [--devices-per-process K] -- …`.

What follows `--` is for `sslax pretrain`. When a process dies, the others are ended and one sentence says which it was;
the same command then goes on from the last checkpoint. Ctrl-C and SIGTERM let all of them save and stop.
"""

import collections
import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, Annotated

import tyro

from sslax.cli import terminal
from sslax.cli.pretrain import parse
from sslax.config import check, to_dict
from sslax.errors import InputError
from sslax.files import expanded
from sslax.recipes import CONFIGS
from sslax.runs import RunDir

# Between looks at the processes, seconds; what one says is shown so much later, when it is known whether another died before.
_LOOK, _HELD_BACK = 0.05, 1.0
# What the others are given to end by themselves, seconds, once one has died with a reason of its own.
_GRACE = 3.0
# Codes by which a script says how it ended; of the others there is nothing to tell but that it did.
_SAID = (terminal.INPUT, terminal.COLLAPSE, terminal.NON_FINITE)
# What C++ prints of its own accord, as gloo does of every connection, and of a peer that is gone.
_NOISE = re.compile(r"\[Gloo\]|[IWEF]\d{4} \d\d:\d\d|[IWEF]0000 |\*\*\* |@ +0x|#\d+ 0x")


@dataclasses.dataclass(frozen=True)
class Options:
    """How the run is spread over processes; give what `sslax pretrain` takes after `--`."""

    processes: int = 2
    """Processes, each with devices of its own."""
    devices_per_process: int | None = None
    """CPU devices of each process, to try things out; None gives each one GPU, or the CPU where there is none."""
    heartbeat: int = 20
    """Seconds without a sign of life after which a process is taken for dead."""
    arguments: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


class Process:
    """One process of the run, what it said last, and what of that is to be shown.

    Args:
      index: of it.
      command: that it runs.
      environment: that it runs in.
    """

    def __init__(self, index: int, command: Sequence[str], environment: dict[str, str]):
        self.index = index
        # Ctrl-C is for the launcher, which passes it on; and what it starts itself goes with it.
        self._popen = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._said: collections.deque[tuple[float, IO[str], str]] = collections.deque()
        streams = (self._popen.stdout, sys.stdout), (self._popen.stderr, sys.stderr)
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], to: IO[str]) -> None:
        with stream:
            for line in stream:
                if not _NOISE.match(line):
                    self._said.append((time.monotonic(), to, line))

    def ended(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._popen.poll()

    def end(self, number: signal.Signals) -> None:
        """Send a signal: SIGTERM to the process, which ends its own, SIGKILL to all that it has started as well."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGKILL else os.kill)(self._popen.pid, number)

    def show(self, *, until: float) -> None:
        """Pass on what was said up to a moment."""
        while self._said and self._said[0][0] <= until:
            _, to, line = self._said.popleft()
            to.write(line)
            to.flush()

    def drain(self) -> None:
        """Wait for the end of one that is ending, and read what is left."""
        self._popen.wait()
        for reader in self._readers:
            reader.join(1.0)


def start(options: Options) -> list[Process]:
    """All the processes, which find each other at a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = []
    for index in range(options.processes):
        environment = dict(os.environ, JAX_COORDINATOR_BIND_ADDRESS=address, PYTHONUNBUFFERED="1")
        if options.devices_per_process is None:
            environment["JAX_LOCAL_DEVICE_IDS"] = str(index)
        else:
            devices = f"--xla_force_host_platform_device_count={options.devices_per_process}"
            xla = f"{environment.get('XLA_FLAGS', '')} {devices}".strip()
            environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla}
        flags = {
            "coordinator": address,
            "processes": options.processes,
            "process": index,
            "heartbeat": options.heartbeat,
        }
        given = [word for name, value in flags.items() for word in (f"--distributed.{name}", str(value))]
        command = [sys.executable, "-m", "sslax", "pretrain", *options.arguments, *given]
        processes.append(Process(index, command, environment))
    return processes


def watch(processes: Sequence[Process], run: RunDir) -> int:
    """Wait for the processes, say what ends them, and give the exit code of it all."""
    asked = threading.Event()
    previous = {}

    def stop(number, frame):
        # Once, they save and stop; twice, they are ended.
        for process in processes:
            process.end(signal.SIGKILL if asked.is_set() else signal.SIGTERM)
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, stop)
    try:
        return _watch(processes, run, asked)
    finally:
        for process in processes:
            process.end(signal.SIGKILL)
            process.drain()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _watch(processes: Sequence[Process], run: RunDir, asked: threading.Event) -> int:
    while True:
        now = time.monotonic()
        codes = {process: process.ended() for process in processes}
        failed = [process for process, code in codes.items() if code]
        if failed:
            break
        processes[0].show(until=now - _HELD_BACK)
        if all(code == 0 for code in codes.values()):
            processes[0].drain()
            processes[0].show(until=float("inf"))
            return terminal.DONE
        time.sleep(_LOOK)
    # Those that ended in the same moment: one was the first, and it is none of those that only lost another.
    culprit = min(failed, key=lambda process: _rank(codes[process] or 0))
    code = codes[culprit] or 0
    processes[0].show(until=now - _HELD_BACK)
    if asked.is_set() or code in (*_SAID, terminal.INTERRUPTED):
        # All come to the same end, or to none.
        _wait(processes, time.monotonic() + (600 if asked.is_set() else _GRACE))
    silent = []
    if code == -signal.SIGABRT:
        # JAX ends a process by this when another has been silent for too long; which is still there, and does not notice.
        _wait(processes, time.monotonic() + _GRACE)
        silent = [process for process in processes if process.ended() is None]
        culprit = silent[0] if silent else culprit
    for process in processes:
        if process.ended() is None:
            process.end(signal.SIGKILL)
    culprit.drain()
    if code in _SAID:
        culprit.show(until=float("inf"))
        return code
    if code == terminal.INTERRUPTED:
        speaker = processes[0] if processes[0].ended() == code else culprit
        speaker.drain()
        speaker.show(until=float("inf"))
        return code
    if code > 0:
        culprit.show(until=float("inf"))
    lines = run.metrics()
    seen = f"the last step seen is {lines[-1]['step']}" if lines else "no step was seen"
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    how = "gave no sign of life any more" if silent else how
    role = "" if culprit.index else ", the coordinator,"
    terminal.errors.print(
        f"Process {culprit.index} of {len(processes)}{role} {how}, {seen}, and the others were ended. "
        "Run the same command again to go on from the last checkpoint.",
        markup=False,
    )
    return terminal.INTERRUPTED if code < 0 else code


def _rank(code: int) -> int:
    """How likely a process of this exit code was the first to end: by its own word, killed from outside, or of others' end."""
    if code in _SAID:
        return 0
    if code < 0:
        return 1 if code != -signal.SIGABRT else 3
    return 2 if code == terminal.INTERRUPTED else 4


def _wait(processes: Sequence[Process], until: float) -> None:
    while time.monotonic() < until and any(process.ended() is None for process in processes):
        time.sleep(_LOOK)


def launch(options: Options) -> int:
    """Check, start and watch; the exit code of the run.

    Raises:
      InputError: on options that cannot work, and on a configuration that cannot.
    """
    for name, value in (("processes", options.processes), ("devices_per_process", options.devices_per_process)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1.")
    if options.heartbeat < 1:
        raise InputError(f"heartbeat is {options.heartbeat}; it must be at least 1.")
    name, config = parse(list(options.arguments), CONFIGS)
    check(config)
    run = RunDir(expanded(config.run_dir or f"runs/{name}"), to_dict(config), extendable=True)
    return watch(start(options), run)


def main() -> None:
    """The command line."""

    def script() -> None:
        own, arguments = sys.argv[1:], []
        if "--" in own:
            own, arguments = own[: own.index("--")], own[own.index("--") + 1 :]
        options = tyro.cli(Options, args=own, description=__doc__)
        code = launch(dataclasses.replace(options, arguments=tuple(arguments)))
        if code:
            sys.exit(code)

    terminal.run_script(script, compiles=False)


if __name__ == "__main__":
    main()
