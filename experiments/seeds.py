"""Train several seeds of one configuration and show the paired gains: `python -m experiments.seeds [CONFIG] …`.

On a small set, the choice of the split changes accuracies by about a point. Here each seed selects both the held-out images
and the run. The gain of the pretrained features over each baseline is computed per seed, with identical probes, and shown
with its standard error. Finished runs are not repeated.
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
    """Paired gains over several seeds of split and run."""

    config: tyro.conf.Positional[str] = "simclr-digits"
    """Configuration, as for `sslax pretrain`."""
    seeds: int = 5
    """Number of seeds, starting from 0."""
    out: str = "runs/seeds"
    """Folder for the runs, and for the summary CONFIG.json."""


def gains(results: list[dict[str, dict[str, float]]]) -> list[dict[str, str | float]]:
    """Mean and standard error of the paired gains of `pretrained`, for each baseline and figure."""
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
    """Train the seeds that are not finished, and print the table."""
    if options.seeds < 2:
        raise InputError(f"seeds is {options.seeds}; it must be at least 2, for a standard error.")
    out = expanded(options.out)
    results = []
    for seed in range(options.seeds):
        run_dir = out / options.config / f"seed{seed}"
        pretrain([options.config, "--seed", str(seed), "--split-seed", str(seed), "--run-dir", str(run_dir)])
        results.append(json.loads((run_dir / "result.json").read_text(encoding="utf-8")))
    if not results[0]:
        raise InputError(
            f"CONFIG is {options.config}, but its data has no labels; it must have labels to compute gains."
        )

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
