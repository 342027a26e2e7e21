"""Parallel runs of a grid, each in a process pinned to its own cores, because small networks leave the other cores idle."""

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sslax.cli import terminal
from sslax.errors import InputError
from sslax.training import Interrupted

# Seconds between checks that the processes are alive.
_LOOK = 1.0


def side_by_side(work: Callable[[Any], Any], items: Sequence[Any], jobs: int) -> Iterator[tuple[Any, Any]]:
    """Yield pairs of an item and `work(item)` as they finish, computed by `jobs` processes.

    `work` and the items are pickled. Ctrl-C and SIGTERM reach the processes, which save and stop.

    Raises:
      InputError: the first one that an item raises; the other processes are stopped.
      Interrupted: if a run was asked to stop, or a process died.
    """
    context = multiprocessing.get_context("spawn")
    tasks, answers = context.Queue(), context.Queue()
    for index in range(len(items)):
        tasks.put(index)
    cores = _cores(jobs)
    workers = [context.Process(target=_work, args=(work, list(items), tasks, answers, own)) for own in cores]
    for worker in workers:
        worker.start()
    try:
        for _ in items:
            index, result, error = _next(answers, workers)
            if error is not None:
                raise error
            yield items[index], result
    except KeyboardInterrupt:
        raise Interrupted("Stopped; what was running is saved.") from None
    finally:
        # Empty the queue; a process in the middle of a run saves it and exits.
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        for channel in (tasks, answers):
            channel.cancel_join_thread()
            channel.close()


def _next(answers: Any, workers: Sequence[Any]) -> tuple[int, Any, Exception | None]:
    while True:
        try:
            return answers.get(timeout=_LOOK)
        except queue.Empty:
            dead = [worker.exitcode for worker in workers if not worker.is_alive()]
            if dead:
                raise Interrupted(f"A process of the runs has ended by itself, with code {dead[0]}.") from None


def _cores(jobs: int) -> list[list[int]]:
    """The cores of each process; all cores if the system does not support affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(jobs)]
    ours = sorted(os.sched_getaffinity(0))
    return [ours[job::jobs] or ours for job in range(jobs)]


def _work(work: Callable[[Any], Any], items: list[Any], tasks: Any, answers: Any, cores: list[int]) -> None:
    """The loop of a worker process: it processes one item after another until it is terminated."""
    if cores:
        os.sched_setaffinity(0, cores)
    terminal.keep_programs()
    # Ctrl-C reaches the whole process group. Only the training loop has state to save, and it handles both signals itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # If the parent process is killed, nothing else would end this process.
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            index = tasks.get(timeout=_LOOK)
        except queue.Empty:
            continue
        answer: tuple[int, Any, Exception | None]
        try:
            answer = index, work(items[index]), None
        except (InputError, Interrupted) as error:
            answer = index, None, error
        answers.put(answer)
        if answer[2] is not None:
            # Start no further item; the parent process ends the other processes.
            return
