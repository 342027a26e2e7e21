"""What a run's features are worth, with few labels and with all: `sslax evaluate RUN`.

For each number of labels, over seeds of which ones: kNN and a linear probe on frozen features of the pretrained network, the
same network untrained and raw pixels; fine-tuning of the pretrained weights, and the same network trained from scratch on the
same labels; and chance. The table goes to the terminal, with figures to RUN/evaluation.html, and with every seed's figures to
RUN/evaluation.json.
"""

import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import tyro
from rich import box
from rich.table import Table

from sslax.cli import terminal
from sslax.cli.evaluation_report import TITLES, Accuracies, Evaluation, mean_and_deviation, write_evaluation_report
from sslax.cli.runs import open_labelled
from sslax.data import Dataset
from sslax.errors import InputError
from sslax.evaluation import balanced_subset, confusion_matrix, linear_probe
from sslax.evaluation.knn import knn_accuracies
from sslax.files import expanded, write_atomically
from sslax.finetuning import FinetuneOptions, Finetuner
from sslax.networks import ViT
from sslax.training import Embedder, Loaded, load, raw_pixels

ROWS = {"pretrained": "pretrained", "untrained": "untrained", "raw_pixels": "raw pixels", "chance": "chance"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Few-label and full evaluation of a finished run."""

    run: tyro.conf.Positional[str]
    """Folder of the run."""
    data: str | None = None
    """Labelled images; None takes the run's own."""
    exif: bool = True
    """Turn photographs upright by their EXIF orientation, unless the run did not; --no-exif takes the stored pixels."""
    background: str | None = None
    """Colour that shows where an image is transparent, R,G,B from 0 to 255; None takes the run's."""
    labels: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Shares of the training labels, the same of each class and at least one of it."""
    labels_per_class: tuple[int, ...] = ()
    """Numbers of labels a class, in place of shares."""
    seeds: int = 3
    """Seeds of which labels, and of each training, from 0."""
    last_blocks: int = 1
    """[CLS] tokens of a ViT's last blocks that the linear probe sees side by side; DINO takes 4 of a ViT-S."""
    finetune: bool = True
    """Train all weights as well, from the pretrained ones and from scratch."""
    steps: int = 200
    """Steps of that training."""
    lr: float = 1e-3
    """Its peak learning rate (AdamW)."""
    compilation_cache: str | None = None
    """Folder of compiled programs, or off; None takes SSLAX_COMPILATION_CACHE, or $XDG_CACHE_HOME/sslax."""


def check(options: Options) -> None:
    """Raise InputError on values that cannot work."""
    for name in ("seeds", "last_blocks"):
        if getattr(options, name) < 1:
            raise InputError(f"{name} is {getattr(options, name)}; it must be at least 1.")
    for fraction in options.labels:
        if not 0 < fraction <= 1:
            raise InputError(f"labels has {fraction}; every share must lie in (0, 1].")
    for count in options.labels_per_class:
        if count < 1:
            raise InputError(f"labels_per_class has {count}; every number must be at least 1.")
    if not options.labels and not options.labels_per_class:
        raise InputError("labels is empty; it must have at least one share, or labels_per_class one number.")
    FinetuneOptions(steps=options.steps, lr=options.lr).check()


def check_against_run(options: Options, network: Loaded) -> None:
    """Raise InputError where the options do not fit the run's network."""
    backbone = network.built.backbone
    if options.last_blocks == 1:
        return
    if not isinstance(backbone, ViT):
        raise InputError(
            f"last_blocks is {options.last_blocks}, but the network is {network.config.network.name}, which has no [CLS] "
            "tokens; it must be 1."
        )
    if options.last_blocks > backbone.depth:
        raise InputError(f"last_blocks is {options.last_blocks}; the network has {backbone.depth} blocks.")


def budgets(options: Options) -> dict[str, dict[str, Any]]:
    """How many labels, as shown -> as `balanced_subset` takes it."""
    if options.labels_per_class:
        return {f"{count} a class": {"per_class": count} for count in options.labels_per_class}
    return {f"{100 * share:g} %": {"fraction": share} for share in options.labels}


def evaluate(options: Options, network: Loaded, data: Dataset) -> Evaluation:
    """All figures of a run on labelled images."""
    assert data.test is not None, "open_labelled has seen to it"
    labels, test_labels = np.asarray(data.train.labels), np.asarray(data.test.labels)
    classes = len(data.classes)
    untrained = network.untrained()
    features = {
        "pretrained": _features(functools.partial(network.embedder, network.state), data),
        "untrained": _features(functools.partial(network.embedder, untrained), data),
        "raw_pixels": _features(raw_pixels, data),
    }
    probed = features
    if options.last_blocks > 1:
        method = network.built.method
        deep = Embedder(
            method._replace(embed=functools.partial(method.embed, last_blocks=options.last_blocks)), network.built.mesh
        )
        states = {"pretrained": network.state, "untrained": untrained}
        probed = features | {name: _features(functools.partial(deep, s), data) for name, s in states.items()}

    trainers = _trainers(options, network, data, untrained) if options.finetune else {}
    accuracies: Accuracies = {}
    counts = {}
    confusion = np.zeros((classes, classes), int)
    # Always the test set's most frequent class: what is right without looking.
    most = float(np.bincount(test_labels).max() / len(test_labels))
    for budget, wanted in budgets(options).items():
        rows = accuracies[budget] = {name: {} for name in features}
        for seed in range(options.seeds):
            index = balanced_subset(labels, seed=seed, **wanted)
            counts[budget] = len(index)
            for name, (train, test) in features.items():
                figures = knn_accuracies(train[index], labels[index], test, test_labels, num_classes=classes)
                probe = linear_probe(
                    jax.random.key(seed),
                    probed[name][0][index],
                    labels[index],
                    probed[name][1],
                    test_labels,
                    num_classes=classes,
                    steps=1000,
                    batch_size=256,
                )
                for figure, value in (figures | {"linear": probe.accuracy}).items():
                    rows[name].setdefault(figure, []).append(value)
                if name == "pretrained" and seed == 0:
                    confusion = confusion_matrix(test_labels, probe.predictions, num_classes=classes)
            for name, train_all in trainers.items():
                rows[name].setdefault("finetuned", []).append(train_all(jax.random.key(seed), index))
        rows["chance"] = {figure: [most] for figure in rows["pretrained"]}
        terminal.say(f"{counts[budget]:,} labels ({budget}): done.")
    return Evaluation(accuracies, counts, features["pretrained"], confusion)


def _features(source: Callable[..., np.ndarray], data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    assert data.test is not None
    return source(data.train.images, data.train.aspects), source(data.test.images, data.test.aspects)


def _trainers(options: Options, network: Loaded, data: Dataset, untrained: Any) -> dict[str, Callable[..., float]]:
    """For the pretrained and the untrained weights: (key, index) -> test accuracy of a classifier trained from them."""
    method, test = network.built.method, data.test
    assert test is not None, "open_labelled has seen to it"
    if method.evaluated is None:
        return {}
    tuning = FinetuneOptions(steps=options.steps, lr=options.lr)
    tuner = Finetuner(
        network.built.backbone,
        network.config.method.views,
        data.train,
        num_classes=len(data.classes),
        options=tuning,
    )

    def train(start, key, index):
        params, statistics = start
        return tuner.accuracy(tuner.train(key, params, statistics, index), test)

    states = {"pretrained": network.state, "untrained": untrained}
    return {name: functools.partial(train, method.evaluated(s.params, s.aux)) for name, s in states.items()}


def show(accuracies: Mapping[str, Mapping[str, Mapping[str, list[float]]]], seeds: int) -> Table:
    """The table: a row for each number of labels and each features, mean ± standard deviation over seeds in per cent."""
    title = f"accuracy on the test images, %, mean ± deviation over {seeds} seeds"
    # Without vertical rules all seven columns fit a terminal of 80.
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("labels", no_wrap=True)
    table.add_column("features", no_wrap=True)
    columns = [name for name in TITLES if any(name in row for rows in accuracies.values() for row in rows.values())]
    for name in columns:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    for budget, rows in accuracies.items():
        for place, (name, figures) in enumerate(rows.items()):
            cells = [mean_and_deviation(figures.get(column, [])) for column in columns]
            table.add_row("" if place else budget, ROWS[name], *cells, end_section=place + 1 == len(rows))
    return table


def run(options: Options) -> None:
    """Evaluate, show, and write RUN/evaluation.json and RUN/evaluation.html."""
    check(options)
    network = load(options.run)
    check_against_run(options, network)
    data = open_labelled(network, options.data, exif=options.exif, background=options.background)
    found = evaluate(options, network, data)
    terminal.console.print(show(found.accuracies, options.seeds))
    terminal.say('"all weights": fine-tuned, and for the untrained network trained from scratch on the same labels.')
    folder = expanded(options.run)
    summary = {
        "data": data.name,
        **{name: getattr(options, name) for name in ("seeds", "steps", "lr", "last_blocks")},
        "labels": found.labels,
        "accuracies": found.accuracies,
    }
    command = shlex.join(["sslax", "evaluate", *sys.argv[1:]])
    try:
        write_atomically(folder / "evaluation.json", json.dumps(summary, indent=2) + "\n")
        write_evaluation_report(folder / "evaluation.html", network, data, found, options.seeds, command)
    except OSError as error:
        raise InputError(f"RUN is {folder}, where nothing can be written: {error.strerror}.") from error
    terminal.say(f"The figures are in {folder / 'evaluation.json'}, the page is {folder / 'evaluation.html'}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="sslax evaluate")
    terminal.run_script(lambda: run(options), compilation_cache=options.compilation_cache)


if __name__ == "__main__":
    main()
