"""Pretrain in several processes on this machine: `sslax launch --processes N [--devices-per-process K] -- …`.

The arguments after `--` are those of `sslax pretrain`. If a process dies, the launcher ends the others and says which one
died; run the same command again to resume from the last checkpoint. On Ctrl-C or SIGTERM all processes save and stop.
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

# Seconds between checks of the processes, and seconds by which their output is delayed. The delay lets the launcher find out
# whether another process died first, before it shows the output that this death has caused.
_LOOK, _HELD_BACK = 0.05, 1.0
# Seconds that the other processes get to end by themselves after one has died for a reason of its own.
_GRACE = 3.0
# Exit codes after which a process has already printed its reason.
_SAID = (terminal.INPUT, terminal.COLLAPSE, terminal.NON_FINITE)
# Lines that C++ libraries print, such as gloo's about every connection and every lost peer.
_NOISE = re.compile(r"\[Gloo\]|[IWEF]\d{4} \d\d:\d\d|[IWEF]0000 |\*\*\* |@ +0x|#\d+ 0x")


@dataclasses.dataclass(frozen=True)
class Options:
    """Pretrain in several processes; put the arguments of `sslax pretrain` after `--`."""

    processes: int = 2
    """Number of processes; each has its own devices."""
    devices_per_process: int | None = None
    """Number of simulated CPU devices per process, for tests; None gives each process one GPU, or the CPU if there is no
    GPU."""
    heartbeat: int = 20
    """Seconds without a heartbeat after which a process counts as dead."""
    arguments: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


class Process:
    """One process of the run, and its output that has not been shown yet.

    Args:
      index: index of the process.
      command: command line of the process.
      environment: environment variables of the process.
    """

    def __init__(self, index: int, command: Sequence[str], environment: dict[str, str]):
        self.index = index
        # In a new session Ctrl-C reaches only the launcher, which passes it on. The process and its own children form one
        # process group, so that one signal can end them all.
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
        """The exit code, negative if a signal ended the process, or None while it runs."""
        return self._popen.poll()

    def end(self, number: signal.Signals) -> None:
        """Send a signal: SIGTERM only to the process, which ends its children; SIGKILL also to its children."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGKILL else os.kill)(self._popen.pid, number)

    def show(self, *, until: float) -> None:
        """Show the output that the process printed up to a time."""
        while self._said and self._said[0][0] <= until:
            _, to, line = self._said.popleft()
            to.write(line)
            to.flush()

    def drain(self) -> None:
        """Wait until the process has ended, and read the rest of its output."""
        self._popen.wait()
        for reader in self._readers:
            reader.join(1.0)


def start(options: Options) -> list[Process]:
    """Start all processes. They connect through a free port of this machine."""
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
    """Wait for the processes, print why they ended, and return the exit code of the run."""
    asked = threading.Event()
    previous = {}

    def stop(number, frame):
        # After the first signal the processes save and stop; a second signal kills them.
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
    # Several processes may have ended since the last check. The culprit is the one that did not just lose another process.
    culprit = min(failed, key=lambda process: _rank(codes[process] or 0))
    code = codes[culprit] or 0
    processes[0].show(until=now - _HELD_BACK)
    if asked.is_set() or code in (*_SAID, terminal.INTERRUPTED):
        # The others end with the same code, or do not end by themselves.
        _wait(processes, time.monotonic() + (600 if asked.is_set() else _GRACE))
    silent = []
    if code == -signal.SIGABRT:
        # JAX aborts a process if another one has been silent for too long. The silent process still runs: it is the culprit.
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
    seen = f"the last logged step is {lines[-1]['step']}" if lines else "no step was logged"
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    how = "stopped responding" if silent else how
    role = "" if culprit.index else ", the coordinator,"
    terminal.errors.print(
        f"Process {culprit.index} of {len(processes)}{role} {how}; {seen}. The other processes were ended. "
        "Run the same command again to go on from the last checkpoint.",
        markup=False,
    )
    return terminal.INTERRUPTED if code < 0 else code


def _rank(code: int) -> int:
    """Rank by exit code of how likely a process failed first, most likely first.

    In order: it reported a reason itself, it was killed from outside, it was interrupted, JAX aborted it because another
    process was lost, any other code.
    """
    if code in _SAID:
        return 0
    if code < 0:
        return 1 if code != -signal.SIGABRT else 3
    return 2 if code == terminal.INTERRUPTED else 4


def _wait(processes: Sequence[Process], until: float) -> None:
    while time.monotonic() < until and any(process.ended() is None for process in processes):
        time.sleep(_LOOK)


def launch(options: Options) -> int:
    """Check the options, start the processes, and watch them.

    Returns:
      The exit code of the run.

    Raises:
      InputError: if the options or the configuration cannot work.
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
