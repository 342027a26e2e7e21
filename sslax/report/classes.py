"""The parts of a page about the classes: a table, the confusion matrix, and misclassified images.

Arguments are in [0, 1]; the page shows per cent. The matrix labels classes by number, and a legend gives their names, because
matplotlib would interpret dollar signs in names as mathematics, and long names do not fit beside the matrix.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from sslax.evaluation import PerClass
from sslax.report import style
from sslax.report.elements import escape, paragraph, picture, table
from sslax.report.images import encode, encode_image

_SIDE = 5.4  # side of the matrix, inches
_DIGITS = 50  # the most digits along an edge that do not overlap
_LINED = 25  # the most cells per side to draw lines between; with more, lines would hide the cells
_SMALLEST_FONT = 5.0
_SHADES = LinearSegmentedColormap.from_list("share", ["#ffffff", "#b5d3ea", style.BLUE, "#00304d"])


def confusion_figure(matrix: Int[np.ndarray, "c c"]) -> Figure:
    """Draw a confusion matrix. The shade of a cell is its share of the true class's images; counts are shown if they fit.

    Args:
      matrix: number of images of each true class (row) predicted as each class (column). A row without images stays white.

    Raises:
      ValueError: if a count is negative.
    """
    if matrix.min(initial=0) < 0:
        raise ValueError(f"matrix has a count of {matrix.min()}; counts must be at least 0.")
    count = len(matrix)
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    with style.matplotlib_style():
        figure = Figure(figsize=(_SIDE + 1.7, _SIDE + 0.6), layout="constrained")
        axes = figure.subplots()
        # The square root makes small shares visible beside the diagonal.
        shade = PowerNorm(0.5, vmin=0, vmax=100)
        drawn = axes.imshow(shares, cmap=_SHADES, norm=shade, interpolation="nearest")
        axes.grid(False)
        digits = len(str(max(count - 1, 0)))
        steps = (1, 2, 5, 10, 20, 50, 100, 200, 500)
        step = next((step for step in steps if digits * count / step <= _DIGITS), count)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.arange(0, count, step))
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        bar = figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("share of the class's images, %")
        bar.outline.set_visible(False)  # type: ignore[operator]
        if count <= _LINED:
            edges = np.arange(count + 1) - 0.5
            axes.hlines(edges, -0.5, count - 0.5, color="#d9dce0", linewidth=0.6)
            axes.vlines(edges, -0.5, count - 0.5, color="#d9dce0", linewidth=0.6)
        size = _font(matrix)
        if size >= _SMALLEST_FONT:
            for row, column in zip(*np.nonzero(matrix), strict=True):
                ink = "white" if shade(shares[row, column]) > 0.5 else style.DARK
                text = str(matrix[row, column])
                axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
    return figure


def _font(matrix: Int[np.ndarray, "c c"]) -> float:
    """The font size in points at which the longest count fills four fifths of a cell; at most 10."""
    cell = 72 * _SIDE / len(matrix)
    # The width of a digit is 0.64 of the font size.
    return min(10.0, 0.8 * cell / (0.64 * len(str(matrix.max(initial=0)))), 0.7 * cell)


def confusion(matrix: Int[np.ndarray, "c c"], classes: Sequence[str]) -> str:
    """The confusion matrix as a section, with a legend of its class numbers."""
    names = "".join(f"<li><b>{number}</b>\u2002{escape(name)}</li>" for number, name in enumerate(classes))
    legend = f'<ul class="legend numbered">{names}</ul>'
    alt = f"Confusion matrix of {len(classes)} classes, {np.trace(matrix)} of {matrix.sum()} images on its diagonal."
    said = "Each row is a true class; each column is a predicted class."
    if _font(matrix) < _SMALLEST_FONT:
        said += " There are too many classes to show counts in the cells."
    return picture(encode(confusion_figure(matrix)), alt, "map", legend) + paragraph(said)


def per_class_table(classes: Sequence[str], figures: PerClass) -> str:
    """A table of precision, recall, F1 and number of test images of each class."""

    def cell(value: float) -> str:
        return f'<td class="number">{"–" if np.isnan(value) else f"{100 * value:.1f}"}</td>'

    columns = ("precision", "recall", "F1", "test images")
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in columns)
    rows = (
        f'<tr><th scope="row">{escape(name)}</th>{cell(precision)}{cell(recall)}{cell(f1)}'
        f'<td class="number">{support}</td></tr>'
        for name, precision, recall, f1, support in zip(classes, *figures, strict=True)
    )
    said = (
        "Per cent. Precision: the share of images predicted as the class that belong to it. Recall: the share of the class's "
        "images that are predicted as it."
    )
    if np.isnan(figures.precision).any() or np.isnan(figures.recall).any():
        said += " A dash means that the share is undefined: no image was predicted as the class, or it has no images."
    return table(rows, "result", f'<thead><tr><th scope="col">class</th>{head}</tr></thead>') + paragraph(said)


def mistakes(
    images: UInt8[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, "n"],
    probabilities: Float[np.ndarray, "n c"],
    classes: Sequence[str],
    *,
    most: int = 24,
) -> str:
    """The misclassified images with the highest predicted probability, each with its true and its predicted class."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != labels)
    if not len(wrong):
        return paragraph(f"All {len(labels)} test images were classified correctly.")
    tiles = []
    for index in wrong[np.argsort(-confidence[wrong], kind="stable")][:most]:
        uri, width, small = encode_image(images[index])
        true, taken = escape(classes[labels[index]]), escape(classes[predicted[index]])
        crisp = "crisp " if small else ""
        tiles.append(
            f'<figure class="tile"><img class="{crisp}view" style="--width:{width}px" src="{uri}" alt="{true}">'
            f"<figcaption>{true}<br>predicted <b>{taken}</b>, {100 * confidence[index]:.0f}\u00a0%</figcaption></figure>"
        )
    shown = f"The {len(tiles)} of {len(wrong)} mistakes" if len(tiles) < len(wrong) else f"All {len(wrong)} mistakes"
    said = f"{shown} in {len(labels)} test images, the most confident first: the true class, and the predicted class."
    return f'<div class="tiles">{"".join(tiles)}</div>{paragraph(said)}'
