"""The files of results/reproduced: the measurements of one result on one device, by seed."""

import json
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any

import jax

from experiments.benchmarks.timing import where
from sslax.config import Config
from sslax.data import Dataset, LazyDataset
from sslax.errors import InputError
from sslax.files import write_atomically
from sslax.recipes.published import Published


class Record:
    """The file of one result on one device, with its figures so far, by seed."""

    def __init__(self, folder: pathlib.Path, entry: Published):
        self.device = jax.devices()[0].device_kind
        self.path = folder / f"{entry.config}-{slug(self.device)}.json"
        self.content: dict[str, Any] = {"name": entry.config, "device": self.device, "seeds": {}}
        if self.path.exists():
            try:
                self.content = json.loads(self.path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{self.path} cannot be read as JSON; repair it or move it away.") from error

    def seed(self, seed: int) -> dict[str, Any]:
        """The stored figures of this seed; empty if there are none."""
        return self.content["seeds"].get(str(seed), {})

    def write(self, seed: int, found: Mapping[str, Any]) -> None:
        """Store the figures of a seed."""
        self.content["seeds"][str(seed)] = dict(found)
        self.content |= {key: value for key, value in where().items() if key in ("cores", "python", "versions")}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.content, indent=1) + "\n")


def slug(device: str) -> str:
    """The device's name as part of a file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in device.lower()).split())


def from_metrics(lines: list[dict[str, Any]], config: Config, steps_per_epoch: int) -> dict[str, Any]:
    """Figures from the metrics of a run: kNN during training, seconds, and images per second."""
    looked = [line for line in lines if "knn20" in line]
    found: dict[str, Any] = {"epochs": round(lines[-1]["step"] / steps_per_epoch, 2), "of": config.epochs}
    found["training_seconds"] = round(max(line["seconds"] for line in lines), 1)
    rates = [line["images_per_s"] for line in lines if "images_per_s" in line]
    found["images_per_s"] = round(statistics.median(rates)) if rates else None
    if looked:
        found["knn20"], found["knn_epochs"] = looked[-1]["knn20"], [round(line["epoch"]) for line in looked]
        for name in ("knn20", "knn200"):
            if all(name in line for line in looked):
                found[f"{name}_curve"] = [round(line[name], 5) for line in looked]
                found[f"{name}_best"] = max(line[name] for line in looked)
    return found


def data_told(config: Config, data: Dataset | LazyDataset) -> dict[str, Any]:
    """A description of the images without this machine's path."""
    return {"kind": config.data.partition(":")[0], "train": len(data.train), "test": len(data.test or ())}
