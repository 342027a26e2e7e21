"""The result of a fine-tuning: its figures, and their table on the terminal."""

from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from sslax.cli import terminal
from sslax.data import Dataset
from sslax.evaluation import confusion_matrix, per_class
from sslax.files import printable

# The most classes to show on the terminal; with more, only that many with the lowest F1 are shown.
_MOST_CLASSES, _WORST = 20, 10


def result_of(
    data: Dataset, probabilities: np.ndarray, lines: list[dict[str, Any]], learnt: int, validation: int, steps: int
) -> dict[str, Any]:
    """The content of result.json: accuracies in [0, 1], with None for NaN.

    Args:
      data: the labelled images; the figures are of the test split.
      probabilities: of the test images.
      lines: of metrics.
      learnt: number of images to learn from.
      validation: number of validation images.
      steps: the most steps of training.
    """
    assert data.test is not None, "open_labelled has checked this"
    labels = np.asarray(data.test.labels)
    confusion = confusion_matrix(labels, probabilities.argmax(1), num_classes=len(data.classes))
    figures = per_class(confusion)

    def number(value: Any) -> Any:
        return None if np.isnan(value) else value.item()

    best = [line for line in lines if line.get("best")]
    return {
        "test": float(np.trace(confusion) / len(labels)),
        "validation": best[-1]["validation"] if best else None,
        "most_frequent_class": float(confusion.sum(1).max() / len(labels)),
        "images": {"training": learnt, "validation": validation, "test": len(labels)},
        "kept_step": (best or lines)[-1]["step"],
        "last_step": lines[-1]["step"],
        "steps": steps,
        "classes": list(data.classes),
        "per_class": [
            {"class": name} | {field: number(values[label]) for field, values in figures._asdict().items()}
            for label, name in enumerate(data.classes)
        ],
        "confusion": confusion.tolist(),
    }


def show(result: dict[str, Any]) -> None:
    """Show the table of classes and the accuracies on the terminal."""
    rows = result["per_class"]
    title = "precision, recall and F1 of each class on the test images, %"
    if len(rows) > _MOST_CLASSES:
        title = f"the {_WORST} classes of {len(rows)} with the lowest F1 on the test images, %"
        rows = sorted((row for row in rows if row["f1"] is not None), key=lambda row: row["f1"])[:_WORST]
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class", overflow="fold")
    for column in ("precision", "recall", "F1", "images"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        shares = (row[field] for field in ("precision", "recall", "f1"))
        cells = ("–" if share is None else f"{100 * share:.1f}" for share in shares)
        table.add_row(Text(printable(row["class"])), *cells, str(row["support"]))
    terminal.console.print(table)
    stopped = result["last_step"] < result["steps"]
    if result["validation"] is not None:
        terminal.say(
            f"Kept the weights of step {result['kept_step']}, with {100 * result['validation']:.1f} % accuracy on the "
            f"{result['images']['validation']:,} validation images"
            + (f"; training stopped early, after step {result['last_step']}." if stopped else ".")
        )
    terminal.say(
        f"Accuracy on the {result['images']['test']:,} test images: {100 * result['test']:.1f} %; always answering their "
        f"most frequent class gives {100 * result['most_frequent_class']:.1f} %."
    )
