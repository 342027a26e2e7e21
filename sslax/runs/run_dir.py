"""A run's folder: its configuration, metrics and result, all written atomically.

With several processes, only process 0 writes.
"""

import json
import math
import os
import pathlib
from typing import Any

from sslax import processes
from sslax.config import differences
from sslax.data import Dataset, LazyDataset
from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.runs.stored import completed


class RunDir:
    """The folder of one run. Nothing is written before `begin`, so that a command with a mistake leaves no files.

    Args:
      path: a folder that is missing, empty, or holds a run with the same configuration.
      config: the configuration, from `sslax.config.to_dict`.
      flag: the option that names the folder, for error messages.
      extendable: also accept a run whose configuration differs only in a smaller number of `epochs`, to extend it.

    Attributes:
      extends: the number of epochs of the existing run if `config` extends it; None otherwise, and after `extend`.

    Raises:
      InputError: if the folder holds a run with another configuration, or other files.
    """

    def __init__(self, path: pathlib.Path, config: dict[str, Any], *, flag: str = "run_dir", extendable: bool = False):
        path = expanded(path)
        self.path, self._flag = path, flag
        self._extendable, self.extends = extendable, None
        self._option = f"--{flag.replace('_', '-')}"
        self.checkpoints = path / "checkpoints"
        self.report = path / "report.html"
        self._config, self._data, self._metrics, self._result, self._extensions = (
            path / name for name in ("config.json", "data.json", "metrics.jsonl", "result.json", "extensions.json")
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
        """Create the folder and write the configuration and the facts about the data, unless a run exists already.

        Args:
          data: facts about the data, from `facts`.

        Raises:
          InputError: if the folder cannot be created or written to, or the data has changed since the run began.
        """
        # Process 0 must not write before every process has looked at the folder.
        processes.together("run folder seen")
        try:
            if processes.first():
                self.path.mkdir(parents=True, exist_ok=True)
            if processes.first() and not self._config.exists():
                write_atomically(self._config, json.dumps(self.settings, indent=2) + "\n")
            if processes.first() and not self._data.exists():
                write_atomically(self._data, json.dumps(data, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"{self._flag} is {self.path}, which cannot be written to: {error.strerror}.") from error

        found = differences(processes.from_first(self.data), json.loads(json.dumps(data)))
        if found:
            raise InputError(
                f"data is {data['name']}, which has changed since this run began ({'; '.join(found)}); "
                f"restore the original data, or give another {self._option}."
            )

    def data(self) -> dict[str, Any]:
        """The facts about the data that the run began with."""
        return self._read(self._data)

    def _read(self, path: pathlib.Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read as JSON; repair this file, or give another {self._option}."
            ) from error

    def _check_same(self, config: dict[str, Any]) -> None:
        there = completed(self._read(self._config))
        found = differences(there, config)
        if self._extendable and len(found) == 1 and there.get("epochs", math.inf) < config.get("epochs", 0):
            self.extends = there["epochs"]
            return
        if found:
            listed = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
            raise InputError(
                f"{self._flag} is {self.path}, which holds a run of another configuration ({listed}); "
                f"give the same values, or another {self._option}."
            )

    def extend(self, step: int) -> None:
        """Store the larger number of epochs. `result.json` stays until the longer run has finished.

        `extensions.json` records each extension: the old and new number of epochs, the step, and whether it has finished.

        Raises:
          InputError: if the folder cannot be written to.
        """
        if processes.first():
            done = [entry for entry in self._extended() if entry["done"]]
            new = {"from": self.extends, "to": self.settings["epochs"], "step": step, "done": False}
            self._write(self._extensions, [*done, new])
            self._write(self._config, self.settings)
        self.extends = None

    def _extended(self) -> list[dict[str, Any]]:
        return self._read(self._extensions) if self._extensions.exists() else []

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None if the run is unfinished or being extended."""
        last = (self._extended() or [{"done": True}])[-1]
        begun = not last["done"] and last["to"] == self.settings["epochs"]
        if self.extends is not None or begun or not self._result.exists():
            return None
        return self._read(self._result)

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the result, which marks the run as finished.

        Raises:
          InputError: if the folder cannot be written to.
        """
        if not processes.first():
            return
        self._write(self._result, result)
        if extended := self._extended():
            self._write(self._extensions, [*extended[:-1], {**extended[-1], "done": True}])

    def _write(self, path: pathlib.Path, content: Any) -> None:
        try:
            write_atomically(path, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise self._unwritable(path, error) from error

    def _unwritable(self, path: pathlib.Path, error: OSError) -> InputError:
        return InputError(
            f"{path} cannot be written: {error.strerror}; its old content is intact. Fix this, and run the same command again."
        )

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics so far, without an incomplete last line from a killed process."""
        if not self._metrics.exists():
            return []
        lines = []
        for line in self._metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines

    def append(self, line: dict[str, Any]) -> None:
        """Append a line of metrics. NaN and infinities become null, because JSON has no such numbers."""
        if not processes.first():
            return
        known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        text = (json.dumps(known) + "\n").encode("utf-8")
        try:
            with open(self._metrics, "ab", buffering=0) as file:
                before = file.tell()
                try:
                    # On a full disk, write() may store only part of the line without an error; the next call then fails.
                    while text := text[file.write(text) :]:
                        pass
                except OSError:
                    file.truncate(before)
                    raise
        except OSError as error:
            raise self._unwritable(self._metrics, error) from error

    def settle(self) -> None:
        """Sync the metrics to disk. Call this before saving a checkpoint, which relies on them.

        Raises:
          InputError: if they cannot be written.
        """
        try:
            if processes.first() and self._metrics.exists():
                with open(self._metrics, "ab") as file:
                    os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(self._metrics, error) from error

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`: the run resumes from there and writes them again.

        Raises:
          InputError: if the folder cannot be written to.
        """
        if not processes.first():
            return
        kept = [line for line in self.metrics() if line["step"] <= step]
        try:
            write_atomically(self._metrics, "".join(json.dumps(line) + "\n" for line in kept))
        except OSError as error:
            raise self._unwritable(self._metrics, error) from error


def facts(data: Dataset | LazyDataset) -> dict[str, Any]:
    """The facts about the data that a run depends on: name, number of training images, canvas size, and classes."""
    return {
        "name": data.name,
        "images": len(data.train),
        "canvas": data.train.canvas,
        "classes": list(data.classes),
    }
