"""Terminal output of the commands: progress, tables, and errors as one sentence with an exit code."""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sslax import compilation, processes
from sslax.errors import InputError
from sslax.training import Collapsed, DamagedCheckpoint, Interrupted, NonFinite

DONE, INPUT, COLLAPSE, NON_FINITE, INTERRUPTED = 0, 2, 3, 4, 75
# Seconds between lines of progress if stdout is not a terminal.
_PLAIN_INTERVAL = 10.0
# Seconds after which a SIGTERM is sent again if the process has not ended.
_AGAIN = 5.0

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line of plain text. Brackets are printed as they are, not as rich markup."""
    console.print(text, markup=False)


def exit_code(script: Callable[[], None]) -> int:
    """Run a command. Print an error that the user can fix as one sentence on stderr, and return the exit code."""
    try:
        with _plain_warnings():
            script()
    except InputError as error:
        errors.print(f"error: {error}", markup=False)
        return INPUT
    except Collapsed as error:
        errors.print(f"{error}", markup=False)
        return COLLAPSE
    except NonFinite as error:
        errors.print(f"stopped: {error}", markup=False)
        return NON_FINITE
    except Interrupted as error:
        errors.print(f"{error} Run the same command again to go on.", markup=False)
        return INTERRUPTED
    except jax.errors.JaxRuntimeError as error:
        if not processes.lost(error):
            raise
        errors.print(
            "Another process of the run has ended. Run the same command again to go on from the last checkpoint.",
            markup=False,
        )
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Python's own flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        errors.print(f"error: {where}{error.strerror}; make room, and run the same command again.", markup=False)
        return INPUT
    except KeyboardInterrupt as error:
        said = str(error) or "Interrupted. Run the same command again to go on from the last checkpoint."
        errors.print(said, markup=False)
        return INTERRUPTED
    return DONE


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings about damaged checkpoints and the compilation cache as plain sentences, without a line of code."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, DamagedCheckpoint):
            errors.print(f"{message}", markup=False)
            return
        of_cache, said = compilation.failed(str(message))
        if said is not None:
            errors.print(said, markup=False)
        elif not of_cache:
            shown(message, category, *rest, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedCheckpoint)
        warnings.filterwarnings("always", message=compilation.WARNING)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def training_progress(total: int, epochs: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a progress bar over `total` steps with loss, kNN, images/s and remaining time.

    If stdout is not a terminal, print plain lines instead. Yields a function to call with each line of metrics.
    """
    if not console.is_terminal:
        yield _plain_lines(total, epochs)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("compiling", total=total, numbers="")
        seen: dict[str, float] = {}

        def follow(line: Mapping[str, Any]) -> None:
            if "step" not in line:
                _tell(line, total)
                if "resumed_at" in line:
                    progress.update(task, completed=line["resumed_at"])
                return
            if "collapse" in line:
                say(_collapsed(line))
            seen.update(line)
            progress.update(
                task, description=f"epoch {line['epoch']:.0f}/{epochs}", completed=line["step"], numbers=_numbers(seen)
            )

        yield follow


def _plain_lines(total: int, epochs: int) -> Callable[[Mapping[str, Any]], None]:
    last = -_PLAIN_INTERVAL

    def follow(line: Mapping[str, Any]) -> None:
        nonlocal last
        if "step" not in line:
            _tell(line, total)
            return
        if "collapse" in line:
            say(_collapsed(line))
        now = time.monotonic()
        if now - last >= _PLAIN_INTERVAL or "knn20" in line or line["step"] == total:
            last = now
            say(f"epoch {line['epoch']:.1f}/{epochs}  step {line['step']}/{total}  {_numbers(line)}")

    return follow


def _tell(event: Mapping[str, Any], total: int) -> None:
    """Print the events of resuming a run, which `sslax.training.fit` reports, as sentences."""
    for sentence in event.get("passed_over", ()):
        say(sentence)
    if "resumed_at" in event:
        say(f"Going on from step {event['resumed_at']} of {total}, where the run stopped.")
    if "restarted" in event:
        reached = event["restarted"]
        say(f"The run had come to step {reached} and ended before its first checkpoint, so it starts from step 0.")
    if "extended" in event:
        (before, epochs), (rate, new), step = (event["extended"][name] for name in ("epochs", "lr", "step"))
        say(
            f"Extended from {before} to {epochs} epochs: every schedule is stretched to the new length, so at step {step} the "
            f"learning rate goes from {rate:.4g} to {new:.4g}."
        )


def _collapsed(line: Mapping[str, Any]) -> str:
    return f"Collapse at step {line['step']}: {line['collapse']}; {line['collapse_sign']}"


def _numbers(line: Mapping[str, Any]) -> str:
    parts = [f"loss {line['loss']:.4f}"]
    shown = ("knn1", "knn20", "knn200", "probe", "validation")
    parts += [f"{name} {100 * line[name]:.1f} %" for name in shown if name in line]
    parts += [f"{line['images_per_s']:,.0f} images/s"] if "images_per_s" in line else []
    parts += [f"{line['skipped']} skipped"] if line.get("skipped") else []
    return "  ".join(parts)


@contextlib.contextmanager
def reading_progress() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar over the files being decoded; show nothing if stdout is not a terminal."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading images")
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def images_progress(total: int, done: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar over `total` images, of which `done` were done before; plain lines if stdout is not a terminal.

    Yields a function to call with the number of images done.
    """
    begun, before, last = time.monotonic(), done, time.monotonic()

    def rate(now: int) -> str:
        return f"{(now - before) / max(time.monotonic() - begun, 1e-9):,.0f} images/s"

    def lines(now: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _PLAIN_INTERVAL:
            last = time.monotonic()
            say(f"{now:,} of {total:,} images  {rate(now)}")

    if not console.is_terminal:
        yield lines
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("images", total=total, completed=done, numbers="")
        yield lambda now: progress.update(task, completed=now, numbers=rate(now))


def result_table(result: Mapping[str, Mapping[str, float]], method_name: str) -> Table:
    """A table of accuracies in per cent: raw pixels, the network before and after training, by kNN and linear probe."""
    table = Table(title="accuracy on the test images, %")
    table.add_column("features")
    names = {"knn1": "kNN k=1", "knn20": "kNN k=20", "knn200": "kNN k=200", "linear": "linear probe"}
    columns = [key for key in names if any(key in row for row in result.values())]
    for key in columns:
        table.add_column(names[key], justify="right")
    before = {"untrained": "untrained network", "initial": "initial weights"}
    rows = {"raw_pixels": "raw pixels", **before, "pretrained": method_name}
    for row in [name for name in rows if name in result]:
        title = rows[row]
        table.add_row(title, *(f"{100 * result[row][key]:.1f}" if key in result[row] else "" for key in columns))
    return table


def keep_programs(place: str | None = None) -> None:
    """Turn on the compilation cache (see `compilation.keep_programs`); print a sentence if that fails."""
    said = compilation.keep_programs(place)
    if said is not None:
        errors.print(said, markup=False)


def run_script(script: Callable[[], None], *, compiles: bool = True, compilation_cache: str | None = None) -> None:
    """Run a command and exit with its code.

    Args:
      script: the command.
      compiles: turn on the compilation cache. False if the command does that itself, or compiles nothing.
      compilation_cache: folder of the cache, as for `compilation.keep_programs`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Otherwise a pipe would receive lines only when the buffer is full.
        sys.stdout.reconfigure(line_buffering=True)
    if compiles:
        keep_programs(compilation_cache)

    def terminate(number: int, frame: Any) -> None:
        # Python drops an exception that is raised while it finalises an object, so the signal is sent again.
        again = threading.Timer(_AGAIN, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()
        raise KeyboardInterrupt("Asked to end. Run the same command again to go on from the last checkpoint.")

    # During training the loop handles signals itself and saves. Before and after training, exiting is enough.
    signal.signal(signal.SIGTERM, terminate)
    try:
        code = exit_code(script)
    except Exception:
        if not processes.several():
            raise
        # A normal exit would wait for the other processes, which wait for this one.
        traceback.print_exc()
        code = 1
    processes.leave(code)
