"""The GPU tables of docs/performance.md, from the lines in results/*-gpu.jsonl.

A file holds the output of a benchmark on a GPU, or lines of whole runs and of other libraries; the fields of a line identify
its kind. A row without a measurement says so.
"""

import itertools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmarks.tables import Lines, gflops, number, per_cent, step_options, table, versions_of
from sslax.errors import InputError

NAME = "gpu"
UNMEASURED = "not measured"
# The steps that the page shows, with their batch sizes.
STEPS = {
    "simclr-cifar10": 512,
    "byol-cifar10": 512,
    "dino-cifar10": 512,
    "simclr-imagenet": 256,
    "dino-imagenet": 64,
}
# The other benchmarks, by the prefix of the names of their lines.
OTHERS = {"losses": "nt_xent", "augmentation": "SimCLR view", "knn": "kNN"}
# Number of rows per step in the table of kernels.
_KERNELS = 10


def read(folder: pathlib.Path) -> Lines:
    """The lines of all GPU files; there may be none.

    Raises:
      InputError: if a file has other content.
    """
    lines: list[Mapping[str, Any]] = []
    for path in sorted(folder.glob("*-gpu.jsonl")):
        try:
            lines += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise InputError(
                f"results is {folder}, where {path.name} cannot be read; it must hold JSON lines."
            ) from error
    return lines


def where(results: Mapping[str, Lines]) -> str:
    """The devices, the versions, and the revision if a line has one."""

    def key(line: Mapping[str, Any]) -> tuple[str, str, str]:
        return line["device"], line.get("revision", ""), line.get("date", "")

    said = []
    for (device, revision, date), group in itertools.groupby(sorted(results[NAME], key=key), key):
        lines = list(group)
        at = f", revision {revision}" if revision else ""
        said.append(f"- {device}{at}{f', {date}' if date else ''}, {len(lines)} lines: {versions_of(lines)}.")
    return "\n".join(said) or "Nothing here has been measured yet."


def runs_table(results: Mapping[str, Lines]) -> str:
    """The table of whole runs: their time and accuracy."""

    def row(line: Mapping[str, Any]) -> list[str]:
        reached = line["result"]["pretrained"]
        return [
            f"`{line['command']}`",
            line["device"],
            number(line["images_per_s_median"]),
            number(line["training_s"], " s"),
            number(line["command_s"], " s"),
            f"{number(line['compiling_s'], ' s')} ({line['compilations']})",
            per_cent(reached["knn20"], 1),
            per_cent(reached["linear"], 1),
            line.get("note", "–"),
        ]

    columns = ["command", "device", "images/s", "training", "whole", "compiling (programs)", "kNN", "linear", "note"]
    rows = [row(line) for line in results[NAME] if "images_per_s_median" in line]
    return table(columns, rows or [_unmeasured("–", columns)])


def steps_table(results: Mapping[str, Lines]) -> str:
    """The table of training steps: speed, utilisation, memory, the host's share and compilation."""

    def row(name: str, line: Mapping[str, Any]) -> list[str]:
        return [
            name,
            number(line["batch"]),
            step_options(line),
            line["device"],
            number(line["figure"]),
            number(line["rival_figure"]),
            gflops(line),
            per_cent(line["utilisation"]),
            number(line["memory_mb"], " MB"),
            per_cent(line["host_share"], 1),
            number(line.get("compile_s"), " s"),
        ]

    columns = ["configuration", "batch", "options", "device", "images/s", "plain loop", "GFLOP a step"]
    columns += ["utilisation", "memory", "host", "compilation"]
    return _by_step(results, columns, row, lambda line: True)


def parts_table(results: Mapping[str, Lines]) -> str:
    """The table of the time of a step and of its separate parts."""

    def row(name: str, line: Mapping[str, Any]) -> list[str]:
        times = [number(line[part], " ms") for part in ("step_ms", "views_ms", "gradient_ms", "update_ms")]
        return [name, number(line["batch"]), line["device"], *times]

    columns = ["configuration", "batch", "device", "step", "views alone", "forward and backward alone", "update alone"]
    return _by_step(results, columns, row, lambda line: "views_ms" in line)


def kernels_table(results: Mapping[str, Lines]) -> str:
    """The table of the slowest kernels of each step."""
    columns = ["configuration", "device", "kernel", "share", "time", "calls"]
    rows = []
    for name in _names(results):
        lines = [line for line in _steps(results, name) if line.get("kernels")]
        for line in lines:
            rows += [
                [
                    f"{name}, {line['batch']}",
                    line["device"],
                    f"`{kernel['name'][:60].replace('|', '/').replace('`', '')}`",
                    per_cent(kernel["share"], 1),
                    number(kernel["ms"], " ms"),
                    number(kernel["calls"]),
                ]
                for kernel in line["kernels"][:_KERNELS]
            ]
        rows += [] if lines else [_unmeasured(name, columns)]
    return table(columns, rows)


def rivals_table(results: Mapping[str, Lines]) -> str:
    """The table of losses, views and kNN, compared with other libraries."""
    columns = ["what", "device", "unit", "sslax", "rival", "", "ratio"]
    rows = []
    for benchmark, start in OTHERS.items():
        lines = [line for line in results[NAME] if "figure" in line and line["name"].startswith(start)]
        for line in lines:
            figures = number(line["figure"]), line["rival"], number(line["rival_figure"]), number(line["ratio"])
            rows.append([line["name"], line["device"], line["unit"], *figures])
        rows += [] if lines else [_unmeasured(f"`benchmarks.{benchmark}`", columns)]
    return table(columns, rows)


def lightly_table(results: Mapping[str, Lines]) -> str:
    """The table of another library's step and epoch."""

    def row(line: Mapping[str, Any]) -> list[str]:
        rate = line["images_per_s"]
        shown = " to ".join(map(number, rate)) if isinstance(rate, list) else number(rate)
        return [line["name"], line["device"], shown, number(line.get("peak_gb"), " GB"), line.get("note", "–")]

    columns = ["what", "device", "images/s", "memory", "note"]
    rows = [row(line) for line in results[NAME] if "images_per_s" in line]
    return table(columns, rows or [_unmeasured("–", columns)])


def _by_step(
    results: Mapping[str, Lines],
    columns: list[str],
    row: Callable[[str, Mapping[str, Any]], list[str]],
    wanted: Callable[[Mapping[str, Any]], bool],
) -> str:
    """A table with rows for each step; a step without a line gets a row that says so."""
    rows = []
    for name in _names(results):
        found = [row(name, line) for line in _steps(results, name) if wanted(line)]
        rows += found or [_unmeasured(name, columns, STEPS.get(name))]
    return table(columns, rows)


def _names(results: Mapping[str, Lines]) -> list[str]:
    """The page's configurations, then all other measured ones."""
    found = [line["name"].removeprefix(_STEP) for line in results[NAME] if line["name"].startswith(_STEP)]
    return list(dict.fromkeys([*STEPS, *found]))


def _steps(results: Mapping[str, Lines], name: str) -> Lines:
    return [line for line in results[NAME] if line["name"] == _STEP + name]


def _unmeasured(name: str, columns: list[str], batch: int | None = None) -> list[str]:
    first = [name] if batch is None else [name, number(batch)]
    return [*first, UNMEASURED, *["–"] * (len(columns) - len(first) - 1)]


_STEP = "training step, "

TABLES: dict[str, Callable[[Mapping[str, Lines]], str]] = {
    "gpu_where": where,
    "gpu_steps": steps_table,
    "gpu_parts": parts_table,
    "gpu_kernels": kernels_table,
    "gpu_rivals": rivals_table,
    "gpu_runs": runs_table,
    "gpu_lightly": lightly_table,
}
