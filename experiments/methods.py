"""All methods on the same images, network, optimiser and time budget: `python -m experiments.methods [--data folder:PATH]`.

Each method trains for as many epochs as fit into the budget, which excludes compilation and evaluation, so that its schedule
ends with the budget. Accuracies of the features, of the untrained network's and of raw pixels are measured by the same kNN and
linear probe. A line of JSON for each method is appended to `--out`; `python -m experiments.methods_page` makes
docs/methods.md of these files.

The network and the optimiser are those of `simclr-digits`. A method's own options are those of METHOD-digits for the digits,
and of METHOD-cifar10 for other images. No option is tuned for this comparison. Methods that need a ViT are left out.
"""

import dataclasses
import functools
import json
import pathlib
import tempfile
import time
from typing import Any

import jax
import tyro

from experiments.benchmarks.timing import where
from sslax.cli import terminal
from sslax.config import Config, NetworkConfig, check, to_dict
from sslax.data import Dataset, open_dataset
from sslax.data.dataset import Images
from sslax.errors import InputError
from sslax.files import expanded
from sslax.methods import METHODS
from sslax.recipes import CONFIGS
from sslax.runs import RunDir
from sslax.training import Built, Embedder, build, fit, measure, raw_pixels, start_state, step_seconds, training_program

# Methods that need a ViT, and so cannot share this network.
ON_VITS = ("ibot", "dinov2", "mae")
COMPARED = tuple(name for name in METHODS if name not in ON_VITS)


@dataclasses.dataclass(frozen=True)
class Options:
    """All methods with one time budget."""

    data: str = "digits"
    """Images, as for `sslax pretrain`."""
    limit: int | None = None
    """Use only the first N images of each split, with the same number of each class; None uses all."""
    methods: tuple[str, ...] = COMPARED
    """Methods, by name."""
    seconds: float = 40.0
    """Seconds of training for each method."""
    seed: int = 0
    """Seed of every run."""
    out: str = "runs/methods.jsonl"
    """File to which the lines are appended."""


def config_of(method: str, options: Options) -> Config:
    """The run of a method: the network and the optimiser of all, with the method's own options."""
    base = CONFIGS["simclr-digits"]
    digits = options.data == "digits"
    own = CONFIGS[f"{method}-digits" if digits else f"{method}-cifar10"].method
    network = NetworkConfig(name="patch-resnet", width=32, patch_size=2 if digits else 4)
    changed: dict[str, Any] = {"eval_every": 0, "log_every": 50, "checkpoint_every": 10**6, "on_collapse": "ignore"}
    return dataclasses.replace(
        base, method=own, data=options.data, limit=options.limit, network=network, seed=options.seed, **changed
    )


def prepared(config: Config, data: Dataset, seconds: float) -> tuple[Config, Built, dict[str, Any]]:
    """The run with the epochs that fit into `seconds`, and the time and memory of its step."""
    built = build(config, data)
    count = config.batch_size
    first = Images(data.train.images[:count], data.train.aspects[:count], None)
    state = start_state(config, built)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    program = training_program(config, built, state, first, "resident")
    step = step_seconds(program, state)
    epochs = max(1, int(seconds / (step * built.steps_per_epoch)))
    warmup = min(config.optim.warmup_epochs, epochs / 10)
    config = dataclasses.replace(
        config, epochs=epochs, optim=dataclasses.replace(config.optim, warmup_epochs=warmup), eval_every=0
    )
    cost = {"step_seconds": step, "state_bytes": size, "temporary_bytes": program.temporaries, "epochs": epochs}
    return config, build(config, data), cost


def compared(method: str, options: Options, data: Dataset) -> dict[str, Any]:
    """One method's line."""
    config = config_of(method, options)
    check(config)
    config, built, cost = prepared(config, data, options.seconds)
    check(config)
    embedder = Embedder(built.method, built.mesh)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        state = fit(config, built, data, RunDir(pathlib.Path(folder) / "run", to_dict(config)))
        jax.block_until_ready(state.params)
        seconds = time.perf_counter() - start
    accuracies = {
        name: measure(functools.partial(embedder, s), data, probe_key=jax.random.key(options.seed))
        for name, s in (("untrained", start_state(config, built)), ("trained", state))
    }
    return {"method": method, "data": data.name, "images": len(data.train), **cost, "seconds": seconds, **accuracies}


def run(options: Options) -> None:
    """Train all methods and append their lines."""
    for name in options.methods:
        if name not in COMPARED:
            raise InputError(f"methods has {name}; every one must be one of {', '.join(COMPARED)}.")
    if not options.seconds > 0:
        raise InputError(f"seconds is {options.seconds}; it must be above 0.")
    data = open_dataset(options.data, limit=options.limit)
    raw = measure(lambda images, aspects: raw_pixels(images), data, probe_key=jax.random.key(options.seed))
    out = expanded(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.methods:
        line = compared(name, options, data) | {"raw_pixels": raw, "budget": options.seconds, **where()}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        shown = ", ".join(
            f"{key} {100 * line['trained'][key]:.1f} (untrained {100 * line['untrained'][key]:.1f})"
            for key in ("knn20", "linear")
        )
        terminal.say(f"{name}: {line['epochs']} epochs, {shown}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.methods")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
