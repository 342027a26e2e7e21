"""Several seeds of one configuration, each of split and run, and the paired gains: `python -m experiments.seeds [CONFIG] …`.

One split of a small set is noise of a point. Here every seed holds out other images and starts another run; the gain of
the pretrained features over each baseline is taken seed by seed, by identical probes, and its standard error shown. Runs
that are done are not run again.
"""

import dataclasses
import json
import statistics

import tyro
from rich.table import Table

from sslax.cli import terminal
from sslax.cli.pretrain import pretrain
from sslax.errors import InputError
from sslax.files import expanded


@dataclasses.dataclass(frozen=True)
class Options:
    """Paired gains over seeds of split and run."""

    config: tyro.conf.Positional[str] = "simclr-digits"
    """Configuration, as for `sslax pretrain`."""
    seeds: int = 5
    """How many seeds, from 0."""
    out: str = "runs/seeds"
    """Folder of the runs, and of the summary CONFIG.json."""


def gains(results: list[dict[str, dict[str, float]]]) -> list[dict[str, str | float]]:
    """Mean and standard error of the paired gains of `pretrained`, for each baseline and each figure."""
    rows: list[dict[str, str | float]] = []
    for baseline in ("raw_pixels", "untrained"):
        for figure in results[0]["pretrained"]:
            paired = [r["pretrained"][figure] - r[baseline][figure] for r in results]
            rows.append(
                {
                    "baseline": baseline,
                    "figure": figure,
                    "baseline_mean": statistics.mean(r[baseline][figure] for r in results),
                    "pretrained_mean": statistics.mean(r["pretrained"][figure] for r in results),
                    "gain": statistics.mean(paired),
                    "standard_error": statistics.stdev(paired) / len(paired) ** 0.5,
                }
            )
    return rows


def run(options: Options) -> None:
    """Run what is not done yet, and print the table."""
    if options.seeds < 2:
        raise InputError(f"seeds is {options.seeds}; a standard error needs at least 2.")
    out = expanded(options.out)
    results = []
    for seed in range(options.seeds):
        run_dir = out / options.config / f"seed{seed}"
        pretrain([options.config, "--seed", str(seed), "--split-seed", str(seed), "--run-dir", str(run_dir)])
        results.append(json.loads((run_dir / "result.json").read_text(encoding="utf-8")))
    if not results[0]:
        raise InputError(f"CONFIG is {options.config}, whose data has no labels; gains need them.")

    rows = gains(results)
    table = Table(title=f"{options.config}: {options.seeds} seeds of split and run, accuracy in %")
    for title in ("figure", "baseline", "its mean", "pretrained", "gain", "standard error", "gain / error"):
        table.add_column(title, justify="left" if title in ("figure", "baseline") else "right")
    for row in rows:
        mean, error = float(row["gain"]), float(row["standard_error"])
        numbers = [
            f"{100 * float(row[key]):.2f}" for key in ("baseline_mean", "pretrained_mean", "gain", "standard_error")
        ]
        table.add_row(str(row["figure"]), str(row["baseline"]), *numbers, f"{mean / error:.1f}" if error else "")
    terminal.console.print(table)
    summary = out / f"{options.config}.json"
    summary.write_text(json.dumps({"seeds": results, "gains": rows}, indent=2) + "\n", encoding="utf-8")
    terminal.say(f"The figures are in {summary}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.seeds")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
