"""A run's folder: its configuration, metrics and result, each file whole at any moment."""

import json
import math
import pathlib
from typing import Any

from sslax.config import differences
from sslax.data import Dataset, LazyDataset
from sslax.errors import InputError
from sslax.files import write_atomically


class RunDir:
    """The folder of one run. Nothing is written before `begin`, so that a command with a mistake leaves nothing behind.

    Args:
      path: may be missing or empty, or hold a run of the same configuration.
      config: as `sslax.config.to_dict` gives it.
      flag: the option that the folder was given by, for what is said of it.

    Raises:
      InputError: where the folder holds another configuration or other things.
    """

    def __init__(self, path: pathlib.Path, config: dict[str, Any], *, flag: str = "run_dir"):
        self.path, self._flag = path, flag
        self._option = f"--{flag.replace('_', '-')}"
        self.checkpoints = path / "checkpoints"
        self.report = path / "report.html"
        self._config, self._data, self._metrics, self._result = (
            path / name for name in ("config.json", "data.json", "metrics.jsonl", "result.json")
        )
        self.settings = config
        if self._config.exists():
            self._check_same(config)
        elif path.is_dir() and any(path.iterdir()):
            raise InputError(
                f"{self._flag} is {path}, which holds files but no run; it must be a new or an empty folder."
            )
        elif path.exists() and not path.is_dir():
            raise InputError(f"{self._flag} is {path}, which is a file; it must be a new or an empty folder.")

    def begin(self, data: dict[str, Any]) -> None:
        """Make the folder and write the configuration and what the data is, unless a run is there already.

        Args:
          data: what a run on these images depends on, as `facts` gives it.

        Raises:
          InputError: where the folder cannot be made or written to, or the data is no longer what the run began with.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._config.exists():
                write_atomically(self._config, json.dumps(self.settings, indent=2) + "\n")
            if not self._data.exists():
                write_atomically(self._data, json.dumps(data, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"{self._flag} is {self.path}, which cannot be written to: {error.strerror}.") from error

        found = differences(self.data(), json.loads(json.dumps(data)))
        if found:
            raise InputError(
                f"data is {data['name']}, which has changed since this run began ({'; '.join(found)}); "
                f"bring back what was there, or take another {self._option}."
            )

    def data(self) -> dict[str, Any]:
        """What the run's data was when it began."""
        return json.loads(self._data.read_text(encoding="utf-8"))

    def _check_same(self, config: dict[str, Any]) -> None:
        try:
            there = json.loads(self._config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self._config} cannot be read as JSON; take another {self._option} or mend it."
            ) from error
        found = differences(there, config)
        if found:
            listed = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
            raise InputError(
                f"{self._flag} is {self.path}, which holds a run of another configuration ({listed}); "
                f"give the same values, or another {self._option}."
            )

    def result(self) -> dict[str, Any] | None:
        """What the finished run came to, or None."""
        return json.loads(self._result.read_text(encoding="utf-8")) if self._result.exists() else None

    def write_result(self, result: dict[str, Any]) -> None:
        """Mark the run as finished."""
        write_atomically(self._result, json.dumps(result, indent=2) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics so far; a half-written last line (of a killed process) is left out."""
        if not self._metrics.exists():
            return []
        lines = []
        for line in self._metrics.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines

    def append(self, line: dict[str, Any]) -> None:
        """Add a line of metrics; a number that JSON does not know becomes null."""
        known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        with open(self._metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(known) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`: the run goes on from there and will write them again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        write_atomically(self._metrics, "".join(json.dumps(line) + "\n" for line in kept))


def facts(data: Dataset | LazyDataset) -> dict[str, Any]:
    """What a run depends on of its data: name, number of training images, their canvas, and the classes."""
    return {
        "name": data.name,
        "images": len(data.train),
        "canvas": data.train.canvas,
        "classes": list(data.classes),
    }
