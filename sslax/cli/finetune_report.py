"""The page of a fine-tuning."""

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from sslax.data import Dataset
from sslax.evaluation import per_class
from sslax.report import classes as of_classes
from sslax.report import environment, write_page
from sslax.report.elements import pairs, paragraph, picture, settings, table
from sslax.report.figures import loss_figure, validation_figure
from sslax.report.images import encode
from sslax.training import Loaded


def write_finetune_report(
    path: str | os.PathLike[str],
    network: Loaded,
    data: Dataset,
    probabilities: np.ndarray,
    metrics: list[dict[str, Any]],
    result: dict[str, Any],
    notes: Sequence[str],
    config: dict[str, Any],
    command: str,
) -> None:
    """Write the page of a fine-tuning.

    Args:
      path: path of the file, in an existing folder.
      network: the pretraining run that was fine-tuned.
      data: the labelled images.
      probabilities: class probabilities of the test images, [n, c].
      metrics: the lines of metrics, one per evaluation.
      result: the content of result.json.
      notes: sentences that a reader needs to interpret the numbers.
      config: the content of config.json.
      command: the command line that was run.

    Raises:
      OSError: if the file cannot be written.
    """
    assert data.test is not None
    images, labels = data.test.images, np.asarray(data.test.labels)
    confusion = np.asarray(result["confusion"])
    method = type(network.config.method).__name__
    start = (
        f"the same network from random weights (not {method}'s)" if config["from_scratch"] else f"{method}'s network"
    )
    summary = (
        f"{100 * result['test']:.1f} % of the test images of {data.name} are classified correctly by {start} "
        f"with a classifier, trained on {result['images']['training']:,} labelled images."
    )
    environs = {**environment(), "command": command, "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    parts = [
        ("Accuracy", _accuracy(result)),
        ("Training", _training(metrics, result)),
        ("Classes", of_classes.per_class_table(data.classes, per_class(confusion))),
        ("Confusion", of_classes.confusion(confusion, data.classes)),
        ("Mistakes", of_classes.mistakes(images, labels, probabilities, data.classes)),
        ("Configuration", settings({name: value for name, value in config.items() if name != "pretraining"})),
        ("Pretraining", settings(config["pretraining"])),
        ("Environment", pairs({name: value for name, value in environs.items() if value})),
    ]
    title = "From scratch" if config["from_scratch"] else "Fine-tuned"
    write_page(path, f"{title}: {config['run']}", summary, parts, notes=notes)


def _accuracy(result: dict[str, Any]) -> str:
    rows = [
        ("test images", result["test"], result["images"]["test"]),
        ("validation images (used to choose the weights)", result["validation"], result["images"]["validation"]),
        ("test images, if always their most frequent class", result["most_frequent_class"], result["images"]["test"]),
    ]
    lines = (
        f'<tr><th scope="row">{name}</th><td class="number">{100 * value:.1f}</td><td class="number">{images:,}</td></tr>'
        for name, value, images in rows
        if value is not None
    )
    head = (
        '<th scope="col"></th><th scope="col" class="number">accuracy, %</th><th scope="col" class="number">images</th>'
    )
    return table(lines, "result", f"<thead><tr>{head}</tr></thead>")


def _training(metrics: list[dict[str, Any]], result: dict[str, Any]) -> str:
    drawn = [
        (loss_figure(metrics), "Curve of the loss over epochs."),
        (validation_figure(metrics), "Curve of the accuracy on the validation images over epochs."),
    ]
    pictures = "".join(picture(encode(figure), alt, "curve") for figure, alt in drawn if figure is not None)
    sentences = [f"The kept weights are those of step {result['kept_step']:,}."]
    if result["last_step"] < result["steps"]:
        sentences.append(
            f"Training stopped after step {result['last_step']:,} of {result['steps']:,}, "
            "because the validation accuracy no longer improved."
        )
    if result["validation"] is None:
        sentences.append("No validation images were held out, so there is no validation curve.")
    return f'<div class="pair">{pictures}</div>{paragraph(*sentences)}'
