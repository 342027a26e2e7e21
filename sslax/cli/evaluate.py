"""Evaluate the features of a run with few labels and with all labels: `sslax evaluate RUN`.

For each number of labels, several seeds choose the labels. Each seed measures kNN and a linear probe on frozen features of the
pretrained network, of the same network untrained, and of raw pixels. It also fine-tunes the pretrained weights, and trains the
same network from scratch on the same labels. Chance is the last row. The table is shown on the terminal. RUN/evaluation.html
has the table with plots, and RUN/evaluation.json the accuracies of every seed. `--weights FILE --data SPEC` evaluates a weights
file in place of a run, and writes to runs/weights-NAME.
"""

import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from rich import box
from rich.table import Table

from sslax.cli import terminal
from sslax.cli.evaluation_report import TITLES, Accuracies, Evaluation, mean_and_deviation, write_evaluation_report
from sslax.cli.runs import folder_for, open_labelled, open_network
from sslax.data import Dataset
from sslax.errors import InputError
from sslax.evaluation import balanced_subset, confusion_matrix, linear_probe
from sslax.evaluation.knn import knn_accuracies
from sslax.files import expanded, write_atomically
from sslax.finetuning import FinetuneOptions, Finetuner
from sslax.networks import ViT
from sslax.training import Embedder, Loaded, WeightsOptions, raw_pixels

ROWS = {"pretrained": "pretrained", "untrained": "untrained", "raw_pixels": "raw pixels", "chance": "chance"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Evaluate a finished run with few labels and with all labels."""

    run: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[RUN]")] = None
    """Folder of the finished run; or give --weights."""
    data: str | None = None
    """Labelled images; None uses the images of the run."""
    exif: bool = True
    """Rotate photographs upright by their EXIF orientation, if the run did too; --no-exif keeps the stored pixels."""
    background: str | None = None
    """Background colour behind transparent pixels, R,G,B from 0 to 255; None uses the run's colour."""
    labels: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Fractions of the training labels to evaluate with; each class gives the same fraction, and at least one label."""
    labels_per_class: tuple[int, ...] = ()
    """Numbers of labels per class to evaluate with, instead of fractions."""
    seeds: int = 3
    """Number of seeds, counted from 0; each seed chooses the labels and starts the trainings."""
    last_blocks: int = 1
    """Number of a ViT's last blocks whose [CLS] tokens are concatenated for the linear probe; DINO uses 4 for a ViT-S."""
    finetune: bool = True
    """Also train all weights, from the pretrained weights and from scratch."""
    steps: int = 200
    """Steps of the training of all weights."""
    lr: float = 1e-3
    """Peak learning rate of the training of all weights (AdamW)."""
    compilation_cache: str | None = None
    """Folder for compiled programs, or off; None uses SSLAX_COMPILATION_CACHE if set, otherwise $XDG_CACHE_HOME/sslax."""
    out: str | None = None
    """Folder for the accuracies and the page; None is RUN, or runs/weights-NAME with --weights."""
    weights: str | None = None
    """Weights file in place of RUN: safetensors, a PyTorch pickle (.pth, .pt, .bin), or hf:OWNER/NAME[@REVISION][/FILE]."""
    told: Annotated[WeightsOptions, tyro.conf.arg(name="")] = dataclasses.field(default_factory=WeightsOptions)


def check(options: Options) -> None:
    """Raise InputError for option values that cannot work."""
    for name in ("seeds", "last_blocks"):
        if getattr(options, name) < 1:
            raise InputError(f"{name} is {getattr(options, name)}; it must be at least 1.")
    for fraction in options.labels:
        if not 0 < fraction <= 1:
            raise InputError(f"labels has {fraction}; every fraction must lie in (0, 1].")
    for count in options.labels_per_class:
        if count < 1:
            raise InputError(f"labels_per_class has {count}; every number must be at least 1.")
    if not options.labels and not options.labels_per_class:
        raise InputError(
            "labels is empty; it must have at least one fraction, or labels_per_class at least one number."
        )
    FinetuneOptions(steps=options.steps, lr=options.lr).check()


def check_against_run(options: Options, network: Loaded) -> None:
    """Raise InputError if the options do not fit the run's network."""
    backbone = network.built.backbone
    if options.last_blocks == 1:
        return
    if not isinstance(backbone, ViT):
        raise InputError(
            f"last_blocks is {options.last_blocks}, but the network is {network.config.network.name}, which has no [CLS] "
            "tokens; it must be 1."
        )
    if options.last_blocks > backbone.depth:
        raise InputError(
            f"last_blocks is {options.last_blocks}; it must be at most {backbone.depth}, the network's number of blocks."
        )


def budgets(options: Options) -> dict[str, dict[str, Any]]:
    """The numbers of labels: from the text in the table to the arguments of `balanced_subset`."""
    if options.labels_per_class:
        return {f"{count} per class": {"per_class": count} for count in options.labels_per_class}
    return {f"{100 * share:g} %": {"fraction": share} for share in options.labels}


def evaluate(options: Options, network: Loaded, data: Dataset) -> Evaluation:
    """Measure all accuracies of a run on labelled images."""
    assert data.test is not None, "open_labelled has checked this"
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
            method._replace(embed=functools.partial(method.embed, last_blocks=options.last_blocks)),
            network.built.mesh,
            batch_size=network.at_once,
        )
        states = {"pretrained": network.state, "untrained": untrained}
        probed = features | {name: _features(functools.partial(deep, s), data) for name, s in states.items()}

    trainers = _trainers(options, network, data, untrained) if options.finetune else {}
    accuracies: Accuracies = {}
    counts = {}
    confusion = np.zeros((classes, classes), int)
    # The accuracy of a classifier that always answers the most frequent class of the test images.
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
    """For the pretrained and the untrained weights: a function (key, index) -> test accuracy after training from them."""
    method, test = network.built.method, data.test
    assert test is not None, "open_labelled has checked this"
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
    """A table with a row for each number of labels and kind of features: mean ± standard deviation over seeds, in per cent."""
    title = f"accuracy on the test images, %, mean ± deviation over {seeds} seeds"
    # Without vertical lines, all seven columns fit a terminal of 80 characters.
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
    """Evaluate the run, show the table, and write RUN/evaluation.json and RUN/evaluation.html."""
    check(options)
    network = open_network(options.run, options.weights, options.told)
    check_against_run(options, network)
    data = open_labelled(network, options.data, exif=options.exif, background=options.background)
    found = evaluate(options, network, data)
    terminal.console.print(show(found.accuracies, options.seeds))
    terminal.say('"all weights": the pretrained network is fine-tuned; the untrained one is trained from scratch.')
    folder = expanded(options.out) if options.out else folder_for(options.run, options.weights)
    summary = {
        "data": data.name,
        **{name: getattr(options, name) for name in ("seeds", "steps", "lr", "last_blocks")},
        "labels": found.labels,
        "accuracies": found.accuracies,
    }
    command = shlex.join(["sslax", "evaluate", *sys.argv[1:]])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "evaluation.json", json.dumps(summary, indent=2) + "\n")
        write_evaluation_report(folder / "evaluation.html", network, data, found, options.seeds, command)
    except OSError as error:
        field = "RUN" if options.run is not None and options.out is None else "out"
        raise InputError(f"{field} is {folder}, but this folder cannot be written to: {error.strerror}.") from error
    terminal.say(f"Accuracies: {folder / 'evaluation.json'}; page: {folder / 'evaluation.html'}")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="sslax evaluate")
    terminal.run_script(lambda: run(options), compilation_cache=options.compilation_cache)


if __name__ == "__main__":
    main()
