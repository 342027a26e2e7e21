"""Compare every named configuration with its source, number by number: `python -m experiments.audit` writes docs/recipes.md.

The sources' numbers are data, in `experiments/sources`; ours are read from the configurations, as a run uses them. A number
that differs without a stated reason, or from the value stated with the reason, is reported and gives exit code 2.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import tyro

from experiments.benchmarks.page import table
from experiments.sources import SOURCES, Row, Source
from experiments.sources.reading import READ
from sslax.cli import terminal
from sslax.config import Config
from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.recipes import CONFIGS

HEAD = """# Comparison of the recipes with their sources

Each named configuration follows one source. This page compares the two number by number. Our numbers are read from the
configuration with the values of a run: the learning rate after scaling, probabilities per view, widths of the heads on their
backbone. `python -m experiments.audit` writes the page. A test fails if a number differs from its source without a reason.

These differences apply to all recipes and have no row:

- Arithmetic is bfloat16 on GPU and TPU, unless you set `--precision float32`. lightly's benchmarks and the releases of SimCLR
  and BYOL request float32, DINO's requests mixed float16. Parameters, BatchNorm statistics and losses are float32.
- Views are computed in float32 from the decoded image. PIL rounds to 256 levels after each operation, and torchvision's
  contrast rounds its mean.
- Random numbers differ from every source, and so does the order of the images.
- BatchNorm updates its running statistics with a weight of a tenth and ε 1e-5, as in every source. Torch's running variance
  is the unbiased estimate.
- lightly updates a target's moving average before the step, with the parameters from the start of the step, and not after it.
  The targets are the same. The heads of BYOL, DINO, VICReg and SwAV have biases before their BatchNorms, and lightly's do not.
  These biases do not change the output. The losses of Barlow Twins and VICReg remove the biases that the last layers of
  lightly's and solo-learn's projectors have for them.
- Truncated normal kernels of haiku have 0.88 times the requested standard deviation. Here, as in TensorFlow, this is
  corrected.
- Evaluation is done by the library itself: `sslax evaluate`.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """The page on the recipes and their sources."""

    page: str = "docs/recipes.md"
    """The page."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A row, our value, and the verdict: "same", or the reason for the difference.

    `wrong` is a sentence if the values differ without a reason or not as the reason states; otherwise it is empty.
    """

    row: Row
    ours: Any
    text: str
    wrong: str


def rows_of(source: Source, sources: Mapping[str, Source] = SOURCES) -> tuple[Row, ...]:
    """The rows of a source; for a derived recipe, the rows of the original recipe with the derived recipe's changes."""
    if not source.like:
        return source.rows
    known = sources[source.like].rows
    assert source.changes.keys() <= {row.what for row in known}, source.changes.keys() - {row.what for row in known}
    return tuple(
        dataclasses.replace(row, ours=source.changes[row.what][0], why=source.changes[row.what][1])
        if row.what in source.changes
        else row
        for row in known
    )


def judge(config: Config, row: Row) -> Verdict:
    """Compare our value of that row with the expected one."""
    ours = READ[row.what](config)
    wanted = row.ours if row.why else row.theirs
    wrong = "" if equal(ours, wanted) else f"{row.what} is {shown(ours)}; it must be {shown(wanted)}"
    if row.why and equal(row.ours, row.theirs):
        wrong = f"{row.what} has a reason to differ, but is {shown(row.theirs)} in the source too"
    return Verdict(row, ours, row.why or "same", wrong)


def audit(
    configs: Mapping[str, Config] = CONFIGS, sources: Mapping[str, Source] = SOURCES
) -> tuple[dict[str, list[Verdict]], list[str]]:
    """The verdicts on each configuration, and a sentence for each wrong one.

    Raises:
      InputError: on a configuration without an entry in the sources; one that follows no source needs an entry too.
    """
    if missing := sorted(configs.keys() - sources.keys()):
        raise InputError(
            f"{missing[0]} has no source; experiments/sources must have an entry with its source, or with the reason why "
            "there is none."
        )
    verdicts = {
        name: [judge(config, row) for row in rows_of(sources[name], sources)] for name, config in configs.items()
    }
    return verdicts, [f"{name}: {v.wrong}." for name, found in verdicts.items() for v in found if v.wrong]


def equal(ours: Any, theirs: Any) -> bool:
    """Whether two values are equal; numbers up to rounding."""
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    numbers = (int, float)
    if (
        isinstance(ours, bool)
        or isinstance(theirs, bool)
        or not (isinstance(ours, numbers) and isinstance(theirs, numbers))
    ):
        return type(ours) is type(theirs) and ours == theirs
    return math.isclose(ours, theirs, rel_tol=1e-9)


def shown(value: Any) -> str:
    """A value as text for the page."""
    if isinstance(value, tuple):
        # "6 x 64" for long runs of equal values.
        return "none" if not value else ", ".join(_runs(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _runs(values: tuple[Any, ...]) -> list[str]:
    texts = [f"({shown(value)})" if isinstance(value, tuple) else shown(value) for value in values]
    runs: list[tuple[str, int]] = []
    for text in texts:
        runs = [*runs[:-1], (text, runs[-1][1] + 1)] if runs and runs[-1][0] == text else [*runs, (text, 1)]
    return [part for text, count in runs for part in ([f"{count} x {text}"] if count > 3 else [text] * count)]


def page(verdicts: Mapping[str, list[Verdict]], sources: Mapping[str, Source] = SOURCES) -> str:
    """The page."""
    return HEAD + "".join(f"\n{_section(name, found, sources[name])}" for name, found in verdicts.items())


def _section(name: str, verdicts: list[Verdict], source: Source) -> str:
    lines = [f"## {name}", ""]
    if not verdicts:
        return "\n".join([*lines, source.text, ""])
    changed = [v for v in verdicts if v.row.what in source.changes]
    if source.like:
        others = len(verdicts) - len(changed)
        lines += [
            f"This recipe has no source: it is {source.like} on other images. The other {others} rows are the same as there."
        ]
    else:
        lines += [f"Source: {source.text}.", "", f"Result: {source.reports}."]
    told = changed if source.like else verdicts
    cells = [(v.row.what, shown(v.row.theirs), v.row.where, shown(v.ours), v.text) for v in told]
    columns = ("number", f"{source.like}'s source" if source.like else "source", "where", "ours", "difference")
    return "\n".join(
        [*lines, "", table(columns, [[_cell(text) for text in row] for row in cells]).replace("---:", "---"), ""]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def run(options: Options) -> None:
    """Write the page.

    Raises:
      InputError: if a configuration differs from its source without a reason.
    """
    verdicts, wrong = audit()
    if wrong:
        raise InputError("\n".join(wrong))
    write_atomically(expanded(options.page), page(verdicts))


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.audit")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
