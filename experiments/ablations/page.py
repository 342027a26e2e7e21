"""Write docs/ablations.md and its figures from the published tables: `python -m experiments.ablations.page`.

This script writes the whole page. The prose comes from the tables' modules, and every figure from results/ablations.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import tyro

from experiments.ablations import figures, show
from experiments.ablations.analysis import CONFIRMED, CONTRADICTED, UNSEEN, analyse, ranks
from experiments.ablations.catalogue import TABLES
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Table
from experiments.benchmarks.page import drawn
from experiments.benchmarks.tables import table as markdown
from sslax.cli import terminal
from sslax.errors import InputError
from sslax.files import expanded, write_atomically

Published = Mapping[tuple[str, str], Mapping[str, Any]]

HEAD = """# The papers' ablations

One command computes each table and shows it next to the paper's column. The experiments are small enough for a single
person's machine. So compare the order of the rows and the sign of each effect, not the figures. One rule decides the
verdict of every row, by the 95 % interval of its difference from the baseline (Student's t over seeds; each seed is
paired with the baseline of the same seed). A row is **confirmed** if the interval excludes 0 with the paper's sign,
**contradicted** if it excludes 0 with the opposite sign, and otherwise *not seen at this scale*. Tables that contradict
their paper are kept.

`python -m experiments.ablations` lists the tables and their cost. `--scale` runs a table on other images, and
`--shard I/N` distributes it over machines. After Ctrl-C, run the same command again to resume.
`python -m experiments.ablations.page` writes this page from `results/ablations`.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """The page on the papers' ablations."""

    results: str = "results/ablations"
    """Folder with published figures, TABLE-SCALE.json."""
    page: str = "docs/ablations.md"
    """The page; its figures are in a folder with the page's name."""


def read(folder: pathlib.Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The published summaries, by table and scale, in the order of the tables.

    Raises:
      InputError: if a file is not such a summary.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in TABLES:
        for scale in SCALES:
            path = folder / f"{name}-{scale}.json"
            if not path.exists():
                continue
            try:
                summary = json.loads(path.read_text(encoding="utf-8"))
                if summary["table"] != name or summary["scale"] != scale:
                    raise ValueError
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"results is {folder}, where {path.name} is not what python -m experiments.ablations.{name} saves; "
                    "run that again, or move the file away."
                ) from error
            found[name, scale] = summary
    return found


def write(published: Published, folder: str) -> str:
    """The page, with its figures in `folder` beside it."""
    parts = [HEAD, _overview(published)]
    for name, table in TABLES.items():
        own = {scale: published[name, scale] for scale in SCALES if (name, scale) in published}
        parts.append(f"## {table.title}\n\n{table.source}.\n\n> {table.claim}\n")
        if not own:
            parts.append(f"Not run yet: `python -m experiments.ablations.{name}`.\n")
        for scale, summary in own.items():
            parts.append(_section(table, scale, summary, folder))
    return "\n".join(parts)


def _overview(published: Published) -> str:
    rows = []
    for (name, scale), summary in published.items():
        table = TABLES[name]
        found = analyse(table, scale, summary["runs"])
        told = [sum(row.verdict == verdict for row in found) for verdict in (CONFIRMED, CONTRADICTED, UNSEEN)]
        correlations = ", ".join(f"{rank.rho:.2f}" for rank in ranks(found)) or show.DASH
        minutes = f"{show.cost(summary) / 60:.1f} min"
        link = f"[{table.title}](#{_anchor(table.title)})"
        rows.append([link, scale, *map(str, told), correlations, _seeds(summary), minutes])
    columns = ["table", "scale", "confirmed", "contradicted", "not seen", "ρ", "seeds", "cost"]
    return markdown(columns, rows) + "\n"


def _anchor(title: str) -> str:
    """The anchor of a heading, as GitHub and GitLab generate it."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _seeds(summary: Mapping[str, Any]) -> str:
    counts = sorted({len(alike) for alike in summary["runs"].values()})
    return "–".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "0"


def _section(table: Table, scale: str, summary: Mapping[str, Any], folder: str) -> str:
    rows = analyse(table, scale, summary["runs"])
    bases = "; ".join(
        f"{method}: {base['network']}, {base['optimizer']}, batch {base['batch_size']}, {base['epochs']} epochs"
        for method, base in summary["base"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    lines = [
        f"### {table.title}: {scale}\n",
        f"`python -m experiments.ablations.{table.name} --scale {scale}`: {_seeds(summary)} seeds, "
        f"{show.cost(summary) / 60:.1f} minutes for all runs in sequence on {summary['device']} ({summary['cores']} cores), "
        f"{versions}. {SCALES[scale].about[0].upper() + SCALES[scale].about[1:]}. Base configurations: {bases}.\n",
    ]
    for group, own in show.groups(rows).items():
        title = f"{show.measured(own)}, %"
        lines.append(f"**{group}** ({title})\n" if group else f"{title[0].upper()}{title[1:]}:\n")
        lines.append(markdown(show.columns(table), [show.cells(table, row) for row in own]) + "\n")
    lines += [f"{sentence}\n" for sentence in show.sentences(table, rows)]
    if told := show.context(summary, rows):
        lines.append(f"For comparison: {told}.\n")
    lines.append(f"![{table.title}]({folder}/{table.name}-{scale}.svg)\n")
    if scale in table.discussion:
        lines.append(f"{table.discussion[scale]}\n")
    return "\n".join(lines)


def drawings(published: Published) -> dict[str, bytes]:
    """The figures by file name."""
    return {
        f"{name}-{scale}.svg": drawn(figures.draw(TABLES[name], scale, summary))
        for (name, scale), summary in published.items()
    }


def run(options: Options) -> None:
    """Write the page and its figures."""
    page = expanded(options.page)
    published = read(expanded(options.results))
    if not published:
        raise InputError(
            f"results is {options.results}, which has no tables; run one with --publish {options.results}."
        )
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in drawings(published).items():
        write_atomically(folder / name, image.decode("utf-8"))
    write_atomically(page, write(published, folder.name))


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.ablations.page")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
