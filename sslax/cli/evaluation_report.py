"""The page of an evaluation: its table, curves, confusion matrix, nearest neighbours and map of the features."""

import os
import statistics
import time
from dataclasses import dataclass

import numpy as np

from sslax.data import Dataset
from sslax.report import Report, environment, project_2d, sections, write_page
from sslax.report import classes as of_classes
from sslax.report.efficiency import Curve, efficiency_figure
from sslax.report.elements import escape, pairs, paragraph, picture, settings, table
from sslax.report.images import encode
from sslax.training import Loaded

_NEIGHBOURS, _QUERIES, _PROJECTED = 5, 10, 600
_PANELS = {"knn1": "kNN, k = 1", "linear": "linear probe", "finetuned": "all weights trained"}


TITLES = {
    "knn1": "kNN\nk=1",
    "knn20": "kNN\nk=20",
    "knn200": "kNN\nk=200",
    "linear": "linear\nprobe",
    "finetuned": "all\nweights",
}
# Accuracies in [0, 1], indexed by number of labels, kind of features and protocol; each is a list over seeds.
Accuracies = dict[str, dict[str, dict[str, list[float]]]]


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
      accuracies: all accuracies.
      labels: the number of labels of each budget, such as "10 %".
      features: features of the pretrained network, for the training images and the test images.
      confusion: confusion matrix of its linear probe on the test images, for the last budget and the first seed.
    """

    accuracies: Accuracies
    labels: dict[str, int]
    features: tuple[np.ndarray, np.ndarray]
    confusion: np.ndarray


def mean_and_deviation(values: list[float]) -> str:
    """Mean ± standard deviation of accuracies over seeds as text, in per cent; empty if there are no values."""
    if not values:
        return ""
    spread = f"±{100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def write_evaluation_report(
    path: str | os.PathLike[str], network: Loaded, data: Dataset, found: Evaluation, seeds: int, command: str
) -> None:
    """Write the page of an evaluation.

    Raises:
      OSError: if the file cannot be written.
    """
    assert data.test is not None
    method = type(network.config.method).__name__
    last = list(found.labels)[-1]
    best = statistics.mean(found.accuracies[last]["pretrained"]["linear"])
    summary = (
        f"A linear probe on {method}'s features classifies {100 * best:.1f} % of the test images of {data.name} correctly "
        f"with {found.labels[last]:,} labels ({last})."
    )
    shown = np.linspace(0, len(data.test) - 1, min(_PROJECTED, len(data.test))).astype(int)
    features = Report(
        title="",
        summary="",
        embedding=project_2d(found.features[1][shown]),
        embedding_labels=np.asarray(data.test.labels)[shown],
        thumbnails=data.test.images[shown],
        classes=data.classes,
    )
    environs = {**environment(), "command": command, "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    confusion = of_classes.confusion(found.confusion, data.classes) + paragraph(
        f"The linear probe on the pretrained features, with {found.labels[last]:,} labels and the first seed."
    )
    parts = [
        ("Accuracy", _accuracies(found, method, seeds)),
        ("Accuracy over the number of labels", _efficiency(found, method, seeds)),
        ("Confusion matrix", confusion),
        ("Nearest neighbours", _neighbours(found, data)),
        ("Features of the test images", sections.features(features)),
        ("The run", settings({"method": network.config.method.NAME, "pretraining data": network.data})),
        ("Environment", pairs(environs)),
    ]
    write_page(path, f"Evaluation of {method} on {data.name}", summary, parts, notes=data.notes)


def _accuracies(found: Evaluation, method: str, seeds: int) -> str:
    names = {"pretrained": method, "untrained": "untrained network", "raw_pixels": "raw pixels", "chance": "chance"}
    measured = {figure for rows in found.accuracies.values() for row in rows.values() for figure in row}
    columns = [name for name in TITLES if name in measured]
    head = "".join(
        f'<th scope="col" class="number">{escape(TITLES[name].replace(chr(10), " "))}</th>' for name in columns
    )
    lines = []
    for budget, rows in found.accuracies.items():
        for place, (name, figures) in enumerate(rows.items()):
            cells = "".join(
                f'<td class="number">{mean_and_deviation(figures.get(column, [])) or "–"}</td>' for column in columns
            )
            labels = f"{budget} ({found.labels[budget]:,})" if not place else ""
            lines.append(f'<tr><th scope="row">{escape(labels)}</th><td>{escape(names[name])}</td>{cells}</tr>')
    heading = f'<thead><tr><th scope="col">labels</th><th scope="col">features</th>{head}</tr></thead>'
    return table(lines, "result", heading) + paragraph(
        f"Per cent of the test images, mean ± standard deviation over {seeds} seeds, which choose the labels. Features are "
        'frozen, except for "all weights": there the pretrained network is fine-tuned, and the untrained one is trained from '
        "scratch."
    )


def _efficiency(found: Evaluation, method: str, seeds: int) -> str:
    """A figure per protocol; empty if there is only one number of labels, because one point is not a curve."""
    if len(found.labels) == 1:
        return ""
    names = {"pretrained": method, "untrained": "untrained", "raw_pixels": "raw pixels"}
    chance = next(iter(found.accuracies.values()))["chance"]["linear"][0]
    drawn = []
    for figure, title in _PANELS.items():
        curves = {}
        for row, name in names.items():
            points = {
                found.labels[budget]: rows[row][figure]
                for budget, rows in found.accuracies.items()
                if figure in rows[row]
            }
            if points:
                means = [statistics.mean(values) for values in points.values()]
                deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in points.values()]
                curves[name] = Curve(list(points), means, deviations)
        if curves:
            alt = f"Accuracy over the number of labels: {title}."
            drawn.append(picture(encode(efficiency_figure(title, curves, chance=chance)), alt, "curve"))
    said = (
        f"Bars are standard deviations over {seeds} seeds. For all weights trained, the untrained network is trained from "
        "scratch."
    )
    return f'<div class="pair">{"".join(drawn)}</div>{paragraph(said)}'


def _neighbours(found: Evaluation, data: Dataset) -> str:
    """Test images, and the training images nearest to them by cosine similarity of their features."""
    assert data.test is not None
    train, test = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in found.features)
    labels = np.asarray(data.test.labels)
    # Evenly spaced, to show many classes: datasets are sorted by class.
    chosen = np.linspace(0, len(test) - 1, min(_QUERIES, len(test))).astype(int)
    nearest = np.argsort(-(test[chosen] @ train.T), axis=1)[:, :_NEIGHBOURS]
    grid = np.concatenate([data.test.images[chosen][:, None], data.train.images[nearest]], axis=1)
    same = (np.asarray(data.train.labels)[nearest] == labels[chosen][:, None]).mean()
    names = ("image", *(f"{i + 1}." for i in range(nearest.shape[1])))
    caption = (
        "Each column shows a test image and, below it, the training images with the nearest features by cosine similarity: "
        f"{100 * same:.0f} % of these are of the same class."
    )
    return sections.examples(grid, names, caption)
