"""Draw the figures of docs/performance.md and fill in its tables, from results/: `python -m experiments.benchmarks.page`.

The page's prose contains no numbers of its own: this script writes the text between `<!-- NAME -->` and `<!-- /NAME -->` from
the lines that the benchmarks printed.
"""

import dataclasses
import io
import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmarks import gpu_page
from experiments.benchmarks.tables import Lines, gflops, number, per_cent, step_options, table, versions_of
from sslax.cli import terminal
from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.report import style

NAMES = ("losses", "augmentation", "knn", "feed", "step", "growth", "collectives")


@dataclasses.dataclass(frozen=True)
class Options:
    """The page on speed and memory."""

    results: str = "results"
    """Folder with the benchmarks' lines, NAME-cpu.jsonl and NAME-gpu.jsonl."""
    page: str = "docs/performance.md"
    """The page; its figures are in the same folder."""


def read(folder: pathlib.Path) -> dict[str, Lines]:
    """The lines of each benchmark on a CPU, and those of all benchmarks on a GPU.

    Raises:
      InputError: if a file is missing or has other content; GPU files may be missing.
    """
    found: dict[str, Lines] = {}
    for name in NAMES:
        path = folder / f"{name}-cpu.jsonl"
        try:
            found[name] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise InputError(
                f"results is {folder}, where {path.name} cannot be read as JSON lines; it must hold those of "
                f"python -m experiments.benchmarks.{name}."
            ) from error
    return {**found, gpu_page.NAME: gpu_page.read(folder)}


def fill(text: str, results: Mapping[str, Lines]) -> str:
    """The page with updated tables.

    Raises:
      InputError: if the page has no place for a table.
    """
    for name, write in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        found = place.search(text)
        if found is None:
            raise InputError(f"page has no place for {name}; it must have <!-- {name} --> and <!-- /{name} -->.")
        text = f"{text[: found.end(1)]}\n{write(results)}\n\n{text[found.start(2) :]}"
    return text


def rivals(results: Mapping[str, Lines]) -> list[Mapping[str, Any]]:
    """The lines with a comparison: another library, or a plain implementation."""
    lines = [line for name in ("losses", "augmentation", "knn", "feed", "step") for line in results[name]]
    return [line for line in lines if line["ratio"] is not None and line["unit"] != "MB" and not _changed(line)]


def _changed(line: Mapping[str, Any]) -> bool:
    return bool(line.get("remat")) or line.get("accumulate", 1) != 1


def _title(line: Mapping[str, Any]) -> str:
    name = line["name"].removeprefix("training ")
    return f"{name}, canvas {line['canvas']}" if "canvas" in line else name


def rivals_table(results: Mapping[str, Lines]) -> str:
    """The table of comparisons with other libraries."""
    return table(
        ["what", "unit", "sslax", "rival", "", "ratio", "load"],
        (
            [
                _title(line),
                line["unit"],
                number(line["figure"]),
                line["rival"],
                number(line["rival_figure"]),
                number(line["ratio"]),
                number(line.get("load")),
            ]
            for line in rivals(results)
        ),
    )


def steps_table(results: Mapping[str, Lines]) -> str:
    """The table of training steps: speed, utilisation, memory and the host's share, with memory-saving options."""

    def row(line: Mapping[str, Any]) -> list[str]:
        return [
            line["name"].removeprefix("training step, "),
            step_options(line),
            number(line["batch"]),
            number(line["figure"]),
            gflops(line),
            per_cent(line["utilisation"]),
            number(line["memory_mb"], " MB"),
            per_cent(line["host_share"], 1),
        ]

    columns = ["configuration", "options", "batch", "images/s", "GFLOP a step", "utilisation", "memory", "host"]
    return table(columns, map(row, results["step"]))


def memory_table(results: Mapping[str, Lines]) -> str:
    """The table of the loss's temporaries, compared with the other library's."""
    lines = [line for line in results["losses"] if line["unit"] == "MB"]
    return table(
        ["what", "sslax", "optax"],
        ([line["name"], number(line["figure"], " MB"), number(line["rival_figure"], " MB")] for line in lines),
    )


def growth_table(results: Mapping[str, Lines]) -> str:
    """The table of time and temporaries by size."""

    def row(line: Mapping[str, Any]) -> list[str]:
        return [line["name"], number(line["figure"], " ms"), number(line["ratio"]), number(line["memory_mb"], " MB")]

    columns = ["what", "time", "times the next smaller", "temporaries"]
    return table(columns, map(row, results["growth"]))


def bytes_table(results: Mapping[str, Lines]) -> str:
    """The table of the bytes that a step communicates."""

    def row(line: Mapping[str, Any]) -> list[str]:
        kinds = "; ".join(f"{kind} {nbytes / 1e3:,.0f}" for kind, nbytes in line["kinds"].items() if nbytes >= 500)
        return [
            line["name"].removeprefix("bytes a step communicates, "),
            str(line["devices"]),
            number(1e3 * line["figure"], " kB"),
            number(1e3 * line["rival_figure"], " kB"),
            kinds or "–",
        ]

    columns = ["configuration", "devices", "bytes of a step", "the gradient alone", "of which, kB"]
    return table(columns, map(row, results["collectives"]))


def where(results: Mapping[str, Lines]) -> str:
    """The machine and the versions."""
    lines = [line for name in NAMES for line in results[name]]
    devices = sorted({f"{line['cores']} cores of a {line['device'].upper()}" for line in lines})
    loads = [line["load"] for line in lines if "load" in line]
    busy = f"The load was {min(loads)} to {max(loads)}." if loads else ""
    return f"Measured on {' and '.join(devices)}: {versions_of(lines)}. {busy}".strip()


TABLES: dict[str, Callable[[Mapping[str, Lines]], str]] = {
    "where": where,
    "rivals": rivals_table,
    "memory": memory_table,
    "steps": steps_table,
    "growth": growth_table,
    "bytes": bytes_table,
    **gpu_page.TABLES,
}


def figures(results: Mapping[str, Lines]) -> dict[str, Figure]:
    """The page's figures, by the suffixes of their file names."""
    with style.matplotlib_style():
        return {"rivals": rivals_figure(results), "growth": growth_figure(results), "bytes": bytes_figure(results)}


def rivals_figure(results: Mapping[str, Lines]) -> Figure:
    """The speedup over each other library, on a logarithmic scale."""
    lines = rivals(results)[::-1]
    figure = Figure(figsize=(8.6, 0.6 + 0.27 * len(lines)), layout="constrained")
    axes = figure.subplots()
    ratios = [line["ratio"] for line in lines]
    axes.barh(range(len(lines)), [ratio - 1 for ratio in ratios], left=1, color=style.BLUE, height=0.6)
    for place, ratio in enumerate(ratios):
        side = {"ha": "left", "x": ratio * 1.05} if ratio >= 1 else {"ha": "right", "x": ratio / 1.05}
        axes.text(side["x"], place, number(ratio), ha=side["ha"], va="center", fontsize=8.5)
    axes.set_yticks(range(len(lines)), [f"{_title(line)}\nbeside {line['rival']}" for line in lines], fontsize=7)
    axes.set_xscale("log")
    powers = [10**power for power in range(4) if 10**power < 1.8 * max(ratios)]
    axes.set_xticks(powers, [f"{power:,}" for power in powers])
    axes.minorticks_off()
    axes.set_xlim(min(0.5, *ratios) / 1.3, 1.8 * max(ratios))
    axes.axvline(1, color=style.DARK, linewidth=0.8)
    axes.grid(False, axis="y")
    axes.set_title("times the rival's rate")
    return figure


def growth_figure(results: Mapping[str, Lines]) -> Figure:
    """Time and temporaries of the loss and of kNN by size."""
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    panels = figure.subplots(2, 2)
    for row, (start, what) in enumerate((("nt_xent", "pairs"), ("kNN", "rows"))):
        lines = [line for line in results["growth"] if line["name"].startswith(start)]
        timed = [line for line in lines if line["figure"] is not None]
        label = "NT-Xent" if start == "nt_xent" else "kNN"
        _curve(panels[row][0], f"{label}: ms", [x["size"] for x in timed], [x["figure"] for x in timed], what)
        _curve(
            panels[row][1],
            f"{label}: temporaries, MB",
            [x["size"] for x in lines],
            [x["memory_mb"] for x in lines],
            what,
        )
    return figure


def _curve(axes: Axes, title: str, sizes: Sequence[float], values: Sequence[float], what: str) -> None:
    axes.plot(sizes, values, marker="o", color=style.BLUE)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel(what)
    axes.set_xticks(sizes[:: max(1, len(sizes) // 5)], [f"{size:,}" for size in sizes[:: max(1, len(sizes) // 5)]])
    axes.minorticks_off()


def bytes_figure(results: Mapping[str, Lines]) -> Figure:
    """The bytes that a step communicates by number of devices, compared with the bytes of the gradient."""
    lines = results["collectives"]
    names = list(dict.fromkeys(line["name"].removeprefix("bytes a step communicates, ") for line in lines))
    figure = Figure(figsize=(8.6, 2.8), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        own = [line for line in lines if line["name"].endswith(f", {name}")]
        axes.bar(
            [str(line["devices"]) for line in own], [line["figure"] for line in own], 0.6, color=style.BLUE, label="all"
        )
        axes.axhline(own[0]["rival_figure"], color=style.VERMILION, linestyle="--", label="the gradient alone")
        axes.set_title(f"{name}, MB a step")
        axes.set_xlabel("devices")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=9)
    return figure


def drawn(figure: Figure) -> bytes:
    """The figure as SVG; the same data and matplotlib version give the same bytes."""
    file = io.BytesIO()
    with style.matplotlib_style():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": f"matplotlib {matplotlib.__version__}"})
    return file.getvalue()


def run(options: Options) -> None:
    """Write the figures, and update the tables of the page."""
    results = read(expanded(options.results))
    page = expanded(options.page)
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"page is {page}, which cannot be read: {error.strerror}.") from error
    filled = fill(text, results)
    for name, figure in figures(results).items():
        write_atomically(page.with_name(f"{page.stem}-{name}.svg"), drawn(figure).decode("utf-8"))
    write_atomically(page, filled)


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.benchmarks.page")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
