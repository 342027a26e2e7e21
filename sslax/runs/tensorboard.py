"""A run's metrics as TensorBoard's scalars; metrics.jsonl is what counts, and they are written again from it."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sslax import processes
from sslax.config import Config
from sslax.errors import InputError
from sslax.runs.run_dir import RunDir

# Marks the files that a run may replace; others in the folder are not its own.
_SUFFIX = ".sslax"


@contextlib.contextmanager
def scalars(
    config: Config, run: RunDir, follow: Callable[[dict[str, Any]], None]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Gives a `follow` for `fit` that also writes to the run's folder `tensorboard`, where the configuration says so.

    A run that goes on begins with what metrics.jsonl holds up to there, so that no step stands there twice, and none is
    missing that was trained without this option.

    Args:
      config: a configuration that `check` has passed.
      run: whose metrics they are.
      follow: called with each line as well.

    Raises:
      InputError: where the folder cannot be written to.
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
    """Write all of a run's metrics, for one that is done.

    Raises:
      InputError: as `scalars`.
    """
    writer = _Writer(run)
    writer.begin(None)
    writer.close()


class _Writer:
    """Opened at the first line, since a run has no folder before it begins."""

    def __init__(self, run: RunDir):
        self.folder = run.path / "tensorboard"
        self._run = run
        self._events: Any = None

    def begin(self, until: int | None) -> None:
        """Replace what is there by the lines of the run's metrics up to a step, or all of them."""
        from tensorboardX import SummaryWriter

        try:
            for old in self.folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
                old.unlink()
            self._events = SummaryWriter(str(self.folder), filename_suffix=_SUFFIX, flush_secs=10)
        except OSError as error:
            raise InputError(f"tensorboard: {self.folder} cannot be written to: {error.strerror}.") from error
        lines = [line for line in self._run.metrics() if until is None or line["step"] <= until]
        # Their time of day is not kept, their distances are.
        start = time.time() - max((line["seconds"] for line in lines), default=0.0)
        for line in lines:
            self.write(line, start + line["seconds"])

    def write(self, line: Mapping[str, Any], now: float) -> None:
        """The finite numbers of a line, at its step."""
        if self._events is None:
            self.begin(0)
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                self._events.add_scalar(name, value, line["step"], walltime=now)

    def close(self) -> None:
        """Have everything on the disk."""
        if self._events is not None:
            self._events.close()
