"""Write docs/results.md, our results with the published ones, from results/reproduced: `python -m experiments.results_page`."""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tyro

from experiments.benchmarks.tables import table
from sslax.cli import terminal
from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.recipes.published import PROTOCOLS, PUBLISHED, Figure, Published, Reached

# The key of each protocol's figure in the files.
FIELDS = {"knn200-best": "knn200_best", "knn20": "knn20", "linear": "linear"}

HEAD = """# Published results, reproduced

Each row is a recipe, trained and evaluated by its source's own protocol. [recipes.md](recipes.md) compares the recipe with
its source, number by number. To reproduce a row: `python -m experiments.reproduce NAME --data folder:PATH`. The command
writes this page from the files in `results/reproduced`, which also have the curves, the versions and the command. If you add
a `note` to such a file, it is shown below the table. "not run yet" means that there is no result yet.

Accuracies are in per cent. "kNN k=200" is the protocol of lightly's benchmarks: kNN with temperature .1 on the ℓ2-normalised
features of the backbone after every epoch; the best epoch counts. The column "kNN k=20" is measured at the end of our run,
with temperature .07. Minutes are those of the whole command: reading images, compiling, training and evaluation. Several
seeds are shown as mean ± standard deviation.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """Write the page on published results."""

    results: str = "results/reproduced"
    """Folder with the figures."""
    page: str = "docs/results.md"
    """The page."""


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """All result files of the folder, ordered by name.

    Raises:
      InputError: if a file is not such a result.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append(content | {"seeds": dict(content["seeds"]), "name": content["name"]})
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} was not written by experiments.reproduce; move it away.") from error
    return found


def of(name: str, results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The files of one result."""
    return [found for found in results if found["name"] == name]


def spread(values: Sequence[float], scale: float = 100, digits: int = 1) -> str:
    """The mean, with the standard deviation if there are several values."""
    if not values:
        return "–"
    mean = f"{scale * statistics.mean(values):,.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):,.{digits}f}"


def told(entry: Published, content: Mapping[str, Any]) -> str:
    """One sentence with a result's figures and the published ones."""
    seeds = content["seeds"].values()
    parts = []
    for figure in entry.figures:
        ours = [seed[FIELDS[figure.protocol]] for seed in seeds if seed.get(FIELDS[figure.protocol]) is not None]
        parts.append(f"{PROTOCOLS[figure.protocol]} {spread(ours)} %, published {100 * figure.value:.1f} %")
    return f"{entry.config} on {content['device']}: {'; '.join(parts)}."


def epochs_told(found: Mapping[str, Any]) -> str:
    """How far the runs of a file went: "200", or "185.05 of 200" where the budget ended."""
    epochs = sorted({(seed["epochs"], seed["of"]) for seed in found["seeds"].values()})
    return ", ".join(f"{done:g}" if done == whole else f"{done:g} of {whole}" for done, whole in epochs)


def reached(entry: Published, results: Iterable[Mapping[str, Any]]) -> tuple[Reached, ...]:
    """What `entry.reached` must be: a figure for each published figure that a file has."""
    found = []
    for content in of(entry.config, results):
        for figure in entry.figures:
            field = FIELDS[figure.protocol]
            values = [seed[field] for seed in content["seeds"].values() if seed.get(field) is not None]
            if values:
                value = round(statistics.mean(values), 3)
                found.append(Reached(figure.protocol, value, content["device"], epochs_told(content)))
    return tuple(found)


def row(entry: Published, figure: Figure, found: Mapping[str, Any] | None) -> list[str]:
    """A row of the table: one figure of one result on one device, or a result without a run."""
    name, published = entry.config, f"{100 * figure.value:.1f}"
    protocol = PROTOCOLS[figure.protocol] + (f" ({figure.remark})" if figure.remark else "")
    if found is None:
        return [name, entry.data.title, protocol, published, "not run yet", "", "", "", "", "", ""]
    seeds = list(found["seeds"].values())

    def values(key: str) -> list[float]:
        return [seed[key] for seed in seeds if seed.get(key) is not None]

    ours = spread(values(FIELDS[figure.protocol]))
    minutes = spread(values("seconds"), 1 / 60) if all(seed.get("finished") for seed in seeds) else "not finished"
    return [
        name,
        entry.data.title,
        protocol,
        published,
        ours if ours != "–" else "not measured yet",
        spread(values("knn20")),
        epochs_told(found),
        minutes,
        spread(values("images_per_s"), 1, 0),
        found["device"],
        ", ".join(found["seeds"]),
    ]


COLUMNS = (
    "recipe",
    "images",
    "protocol",
    "published",
    "ours",
    "kNN k=20",
    "epochs",
    "minutes",
    "images/s",
    "device",
    "seeds",
)


def page(results: Sequence[Mapping[str, Any]], published: Mapping[str, Published] = PUBLISHED) -> str:
    """The whole page."""
    nobody: list[Mapping[str, Any] | None] = [None]
    rows = [
        row(entry, figure, found)
        for entry in published.values()
        for found in [*of(entry.config, results)] or nobody
        for figure in entry.figures
    ]
    sources = [
        f"- `{entry.config}`: {entry.source}"
        + (f"; {entry.seconds / 60:,.0f} minutes on one {entry.device}." if entry.seconds else ".")
        for entry in published.values()
    ]
    commands = [
        f"- `{found['name']}` on {found['device']}, seed {seed}: `{content['command']}` "
        f"({content['data']['train']:,} training and {content['data']['test']:,} test images)"
        for found in results
        for seed, content in found["seeds"].items()
    ]
    notes = [f"- `{found['name']}` on {found['device']}: {found['note']}" for found in results if found.get("note")]
    ran = ["## Commands", "", *commands, ""] if commands else []
    said = ["## Notes", "", *notes, ""] if notes else []
    parts = [HEAD, table(COLUMNS, rows), "", *said, "## Sources", "", *sources, "", *ran]
    return "\n".join(parts)


def write(path: pathlib.Path, folder: pathlib.Path, published: Mapping[str, Published] = PUBLISHED) -> None:
    """Update the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(read(folder), published))


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.results_page")
    terminal.run_script(lambda: write(expanded(options.page), expanded(options.results)))


if __name__ == "__main__":
    main()
