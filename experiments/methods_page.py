"""Writes docs/methods.md, how the methods differ and what they cost: `python -m experiments.methods_page`.

The properties are data in `experiments.methods_properties`; the figures come from the lines that `experiments.methods` wrote.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from experiments.benchmarks.tables import table
from experiments.methods import COMPARED
from experiments.methods_properties import PROPERTIES
from sslax.cli import terminal
from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.methods import METHODS

HEAD = """# The methods beside each other

All methods share the backbone, the data and the training loop; they differ in the loss and in what prevents collapse, the
state in which all images have the same features. z₁ and z₂ are the projections of two views of an image, p the predictions, t
and k the outputs of a target network, n the batch size. `sslax configs` lists the recipes of each method, and
[recipes.md](recipes.md) compares each with its source.

To choose: SimCLR and MoCo v3 are the simplest to train and need large batches. BYOL, SimSiam, Barlow Twins and VICReg work with
small batches and have no negatives. DINO, SwAV and LeJEPA also use small crops (multi-crop); DINO is made for ViTs. NNCLR uses
neighbours as positives and depends less on colour distortions. LeJEPA has one weight to choose and trains without a target
network. iBOT, DINOv2 and MAE need a ViT. iBOT and DINOv2 add to DINO a loss of masked patches, which makes the features of
patches useful too. MAE takes one crop without colour distortions and encodes a quarter of its patches; its paper evaluates it
by fine-tuning.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """The page on the methods."""

    results: tuple[str, ...] = ("results/methods-digits-cpu.jsonl", "results/methods-cifar10-cpu.jsonl")
    """Files that `experiments.methods` wrote."""
    page: str = "docs/methods.md"
    """The page."""


def properties_table() -> str:
    """The properties of all methods."""
    columns = (
        "method",
        "loss",
        "negatives",
        "target network",
        "stop-gradient on",
        "batch size",
        "what prevents collapse",
    )
    rows = []
    for name in METHODS:
        p = PROPERTIES[name]
        link = f"[{p.name}](https://arxiv.org/abs/{p.paper.split()[-1]})"
        rows.append((link, p.loss, p.negatives, p.target, p.stop, p.batch, p.prevents))
    return table(columns, rows).replace("---:", "---")


def figures_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Cost and accuracy of all methods in one file."""
    first = next(line for line in lines if line["method"] == "simclr")
    columns = ("method", "ms per step", "time", "memory", "epochs", "kNN k=20", "untrained", "linear", "untrained")
    rows = []
    for line in lines:
        memory = (x["state_bytes"] + (x["temporary_bytes"] or 0) for x in (line, first))
        ours, simclr = memory
        accuracies = [
            f"{100 * line[which][figure]:.1f}" for figure in ("knn20", "linear") for which in ("trained", "untrained")
        ]
        rows.append(
            (
                PROPERTIES[line["method"]].name,
                f"{1000 * line['step_seconds']:.0f}",
                f"{line['step_seconds'] / first['step_seconds']:.2f}",
                f"{ours / simclr:.2f}",
                str(line["epochs"]),
                *accuracies,
            )
        )
    return table(columns, rows)


def section(lines: Sequence[Mapping[str, Any]]) -> str:
    """The figures of one file with what they were measured on."""
    first = lines[0]
    raw, loads = first["raw_pixels"], [line["load"] for line in lines]
    seeds = sorted({line["method"] for line in lines})
    assert len(seeds) == len(lines), "one line for each method"
    missing = [PROPERTIES[name].name for name in COMPARED if name not in seeds]
    load = f"at a load of {min(loads)} to {max(loads)}"
    beside = f"{load}, so beside other programs, and times are noisy" if max(loads) > first["cores"] else load
    versions = f"jax {first['versions']['jax']}, optax {first['versions']['optax']}"
    return (
        f"### {first['data']}: {first['images']:,} training images\n\n"
        f"`{first['command']}`\n\n"
        f"{first['cores']} CPU cores, {versions}, one seed, {first['budget']:.0f} seconds each, {beside}. "
        f"Raw pixels: kNN {100 * raw['knn20']:.1f}, "
        f"linear {100 * raw['linear']:.1f}.{' Not measured: ' + ', '.join(missing) + '.' if missing else ''}\n\n"
        f"{figures_table(lines)}\n"
    )


def page(results: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """The whole page."""
    if missing := METHODS.keys() - PROPERTIES.keys():
        raise InputError(f"experiments/methods_properties.py has no properties of {', '.join(sorted(missing))}.")
    parts = [HEAD, properties_table() + "\n"]
    if results:
        parts += [
            "## The same time for each\n",
            "Each method trains on the same images with the same network (a patch-resnet of width 32), AdamW at 3e-3 and the "
            'same seconds of steps; no option is tuned for this. "time" and "memory" are those of a step relative to '
            'SimCLR\'s; memory is the state and the temporary arrays of the compiled step. "untrained" is the network at its '
            "start. Such short runs on small images do not rank the methods: they show that each learns, and what it costs. "
            "Methods that need a ViT are left out. LeJEPA, DINO and SwAV take four crops of two sizes; DINO and SwAV need the "
            "longest time to leave uniform targets.\n",
            *map(section, results),
        ]
    return "\n".join(parts)


def run(options: Options) -> None:
    """Write the page."""
    results = []
    for name in options.results:
        path = expanded(name)
        if path.exists():
            results.append([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    write_atomically(pathlib.Path(options.page), page(results).encode())
    terminal.say(f"The page is {options.page}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.methods_page")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
