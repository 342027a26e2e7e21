"""What a run's features are worth, with few labels and with all: `python -m experiments.evaluate RUN`.

For each number of labels, over seeds of which ones: kNN and a linear probe on frozen features of the pretrained network, the
same network untrained and raw pixels; fine-tuning of the pretrained weights, and the same network trained from scratch on the
same labels; and chance. The table goes to the terminal and, with every seed's figures, to RUN/evaluation.json.
"""

import dataclasses
import functools
import json
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich import box
from rich.table import Table

from experiments import terminal
from experiments.runs import open_labelled
from sslax.data import Dataset
from sslax.errors import InputError
from sslax.evaluation import balanced_subset, knn_scores, linear_probe
from sslax.files import write_atomically
from sslax.training import FinetuneOptions, Finetuner, Loaded, load, raw_pixels

# (k, temperature): DINO's protocol at 1 and 20, lightly's at 200.
KNN = {"knn1": (1, 0.07), "knn20": (20, 0.07), "knn200": (200, 0.1)}
TITLES = {
    "knn1": "kNN\nk=1",
    "knn20": "kNN\nk=20",
    "knn200": "kNN\nk=200",
    "linear": "linear\nprobe",
    "finetuned": "all\nweights",
}
ROWS = {"pretrained": "pretrained", "untrained": "untrained", "raw_pixels": "raw pixels", "chance": "chance"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Few-label and full evaluation of a finished run."""

    run: tyro.conf.Positional[str]
    """Folder of the run."""
    data: str | None = None
    """Labelled images; None takes the run's own."""
    labels: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Shares of the training labels, the same of each class and at least one of it."""
    labels_per_class: tuple[int, ...] = ()
    """Numbers of labels a class, in place of shares."""
    seeds: int = 3
    """Seeds of which labels, and of each training."""
    finetune: bool = True
    """Train all weights as well, from the pretrained ones and from scratch."""
    steps: int = 200
    """Steps of that training."""
    lr: float = 1e-3
    """Its peak learning rate (AdamW)."""


def check(options: Options) -> None:
    """Raise InputError on values that cannot work."""
    if options.seeds < 1:
        raise InputError(f"seeds is {options.seeds}; it must be at least 1.")
    for fraction in options.labels:
        if not 0 < fraction <= 1:
            raise InputError(f"labels has {fraction}; every share must lie in (0, 1].")
    for count in options.labels_per_class:
        if count < 1:
            raise InputError(f"labels_per_class has {count}; every number must be at least 1.")
    FinetuneOptions(steps=options.steps, lr=options.lr).check()


def evaluate(options: Options, network: Loaded, data: Dataset) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Accuracies in [0, 1] by labels, features and protocol, one for each seed."""
    test_split = data.test
    assert test_split is not None, "open_labelled has seen to it"
    labels, test_labels = np.asarray(data.train.labels), np.asarray(test_split.labels)
    classes = len(data.classes)
    untrained = network.untrained()
    sources: dict[str, Callable[..., np.ndarray]] = {
        "pretrained": functools.partial(network.embedder, network.state),
        "untrained": functools.partial(network.embedder, untrained),
        "raw_pixels": raw_pixels,
    }
    features = {
        name: tuple(source(split.images, split.aspects) for split in (data.train, test_split))
        for name, source in sources.items()
    }
    budgets: dict[str, dict[str, Any]] = {f"{100 * share:g} %": {"fraction": share} for share in options.labels}
    if options.labels_per_class:
        budgets = {f"{count} a class": {"per_class": count} for count in options.labels_per_class}

    tuner, starts = None, {}
    if options.finetune and network.built.method.evaluated is not None:
        views = network.config.method.views
        area = getattr(views, "crop_area", None) or views.global_area
        tuning = FinetuneOptions(steps=options.steps, lr=options.lr, crop_area=area, flip=views.flip)
        tuner = Finetuner(network.built.backbone, views, data.train, num_classes=classes, options=tuning)
        starts = {
            name: network.built.method.evaluated(state.params, state.aux)
            for name, state in (("pretrained", network.state), ("untrained", untrained))
        }

    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for budget, wanted in budgets.items():
        rows = found[budget] = {name: {} for name in (*sources, "chance")}
        for seed in range(options.seeds):
            index = balanced_subset(labels, seed=seed, **wanted)
            for name, (train, test) in features.items():
                figures = frozen(seed, train[index], labels[index], test, test_labels, num_classes=classes)
                for figure, value in figures.items():
                    rows[name].setdefault(figure, []).append(value)
            for name, start in starts.items():
                assert tuner is not None, "there are starts only where there is a tuner"
                classifier = tuner.train(jax.random.key(seed), *start, index)
                rows[name].setdefault("finetuned", []).append(tuner.accuracy(classifier, test_split))
        most = float(np.bincount(test_labels).max() / len(test_labels))
        # Always the test set's most frequent class: what is right without looking.
        rows["chance"] = {figure: [most] for figure in rows["pretrained"]}
        terminal.say(f"{budget} of the labels: done.")
    return found


def frozen(
    seed: int, train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, *, num_classes: int
) -> dict[str, float]:
    """kNN, as far as there are k labels, and the linear probe, on frozen features."""
    figures = {}
    for name, (k, temperature) in KNN.items():
        if k <= len(labels):
            arrays = (jnp.asarray(test), jnp.asarray(train), jnp.asarray(labels))
            votes = knn_scores(*arrays, num_classes=num_classes, k=k, temperature=temperature)
            figures[name] = float((np.asarray(votes).argmax(1) == test_labels).mean())
    probe = linear_probe(
        jax.random.key(seed), train, labels, test, test_labels, num_classes=num_classes, steps=1000, batch_size=256
    )
    return figures | {"linear": probe.accuracy}


def show(found: dict[str, dict[str, dict[str, list[float]]]], seeds: int) -> Table:
    """The table: a row for each number of labels and each features, mean ± standard deviation over seeds in per cent."""
    title = f"accuracy on the test images, %, mean ± deviation over {seeds} seeds"
    # Without vertical rules all seven columns fit a terminal of 80.
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("labels", no_wrap=True)
    table.add_column("features", no_wrap=True)
    columns = [name for name in TITLES if any(name in row for rows in found.values() for row in rows.values())]
    for name in columns:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    for budget, rows in found.items():
        for place, (name, figures) in enumerate(rows.items()):
            cells = []
            for column in columns:
                values = [100 * value for value in figures.get(column, [])]
                spread = f"±{statistics.stdev(values):.1f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.1f}{spread}" if values else "")
            table.add_row("" if place else budget, ROWS[name], *cells, end_section=place + 1 == len(rows))
    return table


def run(options: Options) -> None:
    """Evaluate, show, and write RUN/evaluation.json."""
    check(options)
    network = load(options.run)
    data = open_labelled(network, options.data)
    found = evaluate(options, network, data)
    terminal.console.print(show(found, options.seeds))
    terminal.say('"all weights": fine-tuned, and for the untrained network trained from scratch on the same labels.')
    path = pathlib.Path(options.run) / "evaluation.json"
    summary = {"data": data.name, "seeds": options.seeds, "steps": options.steps, "lr": options.lr, "accuracies": found}
    try:
        write_atomically(path, json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"RUN is {options.run}, whose evaluation.json cannot be written: {error.strerror}.") from error
    terminal.say(f"The figures are in {path}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.evaluate")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
