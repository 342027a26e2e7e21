"""A run's metrics as TensorBoard scalars. They are copies: metrics.jsonl is the original, and they are rebuilt from it."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sslax import processes
from sslax.config import Config
from sslax.errors import InputError
from sslax.runs.run_dir import RunDir

# Marks the event files that a run may replace. Other files in the folder are left alone.
_SUFFIX = ".sslax"


@contextlib.contextmanager
def scalars(
    config: Config, run: RunDir, follow: Callable[[dict[str, Any]], None]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a `follow` for `fit` that also writes to the folder `tensorboard` of the run, if the configuration asks for it.

    A resumed run first writes the lines of metrics.jsonl up to its step. So every step appears exactly once, also those that
    were trained without this option.

    Args:
      config: a configuration that passed `check`.
      run: the run that the metrics belong to.
      follow: also called with each line.

    Raises:
      InputError: if the folder cannot be written to.
    """
    if not config.tensorboard or not processes.first():
        yield follow
        return
    writer = _Writer(run)

    def both(line: dict[str, Any]) -> None:
        follow(line)
        if "resumed_at" in line:
            writer.begin(line["resumed_at"])
        elif "step" in line:
            writer.write(line, time.time())

    try:
        yield both
    finally:
        writer.close()


def write_scalars(run: RunDir) -> None:
    """Write all metrics of a finished run.

    Raises:
      InputError: if the folder cannot be written to.
    """
    writer = _Writer(run)
    writer.begin(None)
    writer.close()


class _Writer:
    """Writes event files. They are opened at the first line, because a run has no folder before it begins."""

    def __init__(self, run: RunDir):
        self.folder = run.path / "tensorboard"
        self._run = run
        self._events: Any = None

    def begin(self, until: int | None) -> None:
        """Replace existing event files by the lines of the run's metrics, up to step `until`, or all if it is None."""
        from tensorboardX import SummaryWriter

        try:
            for old in self.folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
                old.unlink()
            self._events = SummaryWriter(str(self.folder), filename_suffix=_SUFFIX, flush_secs=10)
        except OSError as error:
            raise InputError(f"tensorboard: {self.folder} cannot be written to: {error.strerror}.") from error
        lines = [line for line in self._run.metrics() if until is None or line["step"] <= until]
        # The metrics have only seconds since the start of training, so the wall-clock times end now and keep the intervals.
        start = time.time() - max((line["seconds"] for line in lines), default=0.0)
        for line in lines:
            self.write(line, start + line["seconds"])

    def write(self, line: Mapping[str, Any], now: float) -> None:
        """Write the finite numbers of a line at its step."""
        if self._events is None:
            self.begin(0)
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                self._events.add_scalar(name, value, line["step"], walltime=now)

    def close(self) -> None:
        """Write everything to disk and close the files."""
        if self._events is not None:
            self._events.close()
