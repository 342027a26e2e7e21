"""Test the collapse watch on broken and healthy runs: `python -m experiments.collapses`.

Some runs on digits are broken on purpose, in ways that collapse according to the papers; ten healthy runs differ in method and
seed. Each run takes 300 steps. The table shows the mode and step of the watch's alarm, and the kNN accuracy of the features
beside that of the untrained network: a broken run need not collapse at this scale, and then there is nothing to detect.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import tyro
from rich.table import Table

from sslax.cli import terminal
from sslax.config import Config, check, to_dict
from sslax.data import open_dataset
from sslax.files import expanded
from sslax.recipes import CONFIGS
from sslax.runs import RunDir
from sslax.training import Embedder, build, fit, measure, start_state
from sslax.training.watch import WINDOW

STEPS = 300
# Metrics that show collapse: their last value, and their range in the lines that the watch reads.
KEPT = (
    "loss",
    "feature_std",
    "projection_std",
    "largest_share",
    "target_entropy",
    "kl",
    "target_largest",
    "patch_target_entropy",
    "patch_kl",
    "patch_target_largest",
    "positive_cosine",
    "negative_cosine",
    "shared_direction",
    "on_diagonal",
    "off_diagonal",
    "invariance",
    "variance",
    "covariance",
    "prototype_usage",
    "neighbour_share",
    "sigreg",
    "sigreg_share",
)
# iBOT with DINO's head and temperatures.
DEEP = {"head_layers": 3, "head_hidden": 256, "head_batch_norm": True, "decay": 0.97}
DEEP |= {"teacher_temperature": 0.04, "patch_temperature": 0.04}


@dataclasses.dataclass(frozen=True)
class Options:
    """Broken and healthy runs on digits under the collapse watch."""

    out: str = "runs/collapses"
    """Folder for the runs, and for the summary collapses.json."""
    seeds: int = 10
    """Number of healthy runs, which alternate between the methods."""
    only: tuple[str, ...] = ()
    """Parts of names: run only those with one of them in their names; empty means all runs."""


def broken() -> dict[str, tuple[Config, str]]:
    """The broken runs by name, each with the mode of collapse that the papers predict."""
    dino, byol = CONFIGS["dino-digits"], CONFIGS["byol-digits"]
    simsiam, barlow_twins, vicreg = (CONFIGS[f"{name}-digits"] for name in ("simsiam", "barlow-twins", "vicreg"))

    def changed(config: Config, **options: Any) -> Config:
        return dataclasses.replace(config, method=dataclasses.replace(config.method, **options))

    return {
        "DINO without centring": (changed(dino, centering=False), "one dimension dominating"),
        "DINO without sharpening, τ_t = 1": (changed(dino, teacher_temperature=1.0), "uniform output"),
        "BYOL without predictor": (changed(byol, predictor_hidden=0), "constant features"),
        "BYOL with decay 0": (changed(byol, decay=0.0, decay_schedule="constant"), "constant features"),
        "BYOL without predictor, decay 0": (
            changed(byol, predictor_hidden=0, decay=0.0, decay_schedule="constant"),
            "constant features",
        ),
        "SimSiam without stop-gradient": (changed(simsiam, stop_gradient=False), "constant features"),
        "SimSiam without predictor": (changed(simsiam, predictor_hidden=0), "constant features"),
        "Barlow Twins, λ = 0": (changed(barlow_twins, off_diagonal=0.0), "redundant dimensions"),
        "VICReg without variance": (changed(vicreg, variance=0.0), "constant features"),
        "SwAV without Sinkhorn-Knopp": (
            changed(CONFIGS["swav-digits"], sinkhorn_iterations=0),
            "one dimension dominating",
        ),
        "iBOT without centring": (
            changed(CONFIGS["ibot-digits"], sinkhorn=0, centering=False, **DEEP),
            "one dimension dominating",
        ),
        "LeJEPA, λ = 0": (changed(CONFIGS["lejepa-digits"], sigreg=0.0), "constant features"),
    }


def healthy(count: int) -> dict[str, Config]:
    """`count` healthy runs, which alternate between the methods, each with a different seed."""
    names = [name for name in CONFIGS if name.endswith("-digits")]
    return {
        f"{names[seed % len(names)]}, seed {seed}": dataclasses.replace(CONFIGS[names[seed % len(names)]], seed=seed)
        for seed in range(count)
    }


def watch(config: Config, folder: pathlib.Path) -> dict[str, Any]:
    """Run `config` for 300 steps; return the mode and step of the alarm, and the kNN accuracy of the features."""
    data = open_dataset(config.data)
    epochs = -(-STEPS // (len(data.train) // config.batch_size))
    config = dataclasses.replace(config, epochs=epochs, log_every=10, eval_every=0)
    check(config)
    built = build(config, data)
    run = RunDir(folder, to_dict(config))
    state = fit(config, built, data, run)
    embedder = Embedder(built.method, built.mesh)
    worth = {
        name: measure(functools.partial(embedder, s), data)["knn20"]
        for name, s in (("untrained", start_state(config, built)), ("trained", state))
    }
    lines = run.metrics()
    alarms = [line for line in lines if "collapse" in line]
    kept = [name for name in KEPT if name in lines[-1]]
    watched = [line for line in lines if line["step"] >= WINDOW]
    return {
        "mode": alarms[0]["collapse"] if alarms else None,
        "step": alarms[0]["step"] if alarms else None,
        "knn20": worth,
        "last": {name: lines[-1][name] for name in kept},
        "range": {name: extremes(line[name] for line in watched) for name in kept},
    }


def extremes(values: Iterable[float]) -> list[float]:
    """The least and the largest of some numbers."""
    numbers = list(values)
    return [min(numbers), max(numbers)]


def run(options: Options) -> None:
    """Run all runs, print the table and write the summary."""
    out = expanded(options.out)
    rows: list[dict[str, Any]] = []
    runs = {name: (config, expected) for name, (config, expected) in broken().items()}
    table = Table(title=f"the collapse watch over {STEPS} steps of digits")
    for title in ("run", "predicted", "alarm", "at step", "kNN k=20", "untrained"):
        table.add_column(title)
    chosen = [*runs.items(), *((n, (c, None)) for n, c in healthy(options.seeds).items())]
    chosen = [(n, pair) for n, pair in chosen if not options.only or any(part in n for part in options.only)]
    for name, (config, expected) in chosen:
        found = watch(config, out / name.replace(" ", "-").replace(",", ""))
        rows.append({"run": name, "foretold": expected, **found})
        numbers = [f"{100 * found['knn20'][key]:.1f}" for key in ("trained", "untrained")]
        table.add_row(name, expected or "", found["mode"] or "", str(found["step"] or ""), *numbers)
        terminal.say(f"{name}: {found['mode'] or 'no'} alarm.")
    terminal.console.print(table)
    summary = {"steps": STEPS, "device": jax.devices()[0].device_kind, "jax": jax.__version__, "runs": rows}
    (out / "collapses.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    terminal.say(f"The figures are in {out / 'collapses.json'}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.collapses")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
