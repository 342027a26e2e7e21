"""What a page shows of a classifier class by class: a table, the confusion matrix, and mistakes as images.

Figures are in [0, 1] where they come in and per cent where they are shown. Classes have numbers in the matrix and names
beside it: matplotlib would read dollar signs in names as mathematics, and long names have no room at its edges.
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

_SIDE = 5.4  # inches of the matrix itself
_DIGITS = 50  # more of them along an edge would run into each other
_LINED = 25  # with more cells, lines between them would hide them
_SMALLEST_FONT = 5.0
_SHADES = LinearSegmentedColormap.from_list("share", ["#ffffff", "#b5d3ea", style.BLUE, "#00304d"])


def confusion_figure(matrix: Int[np.ndarray, "c c"]) -> Figure:
    """A confusion matrix: each row shaded by the share of the true class's images, with counts where there is room.

    Args:
      matrix: images of each true class (row) taken for each class (column); rows of classes without images stay white.

    Raises:
      ValueError: on a negative count.
    """
    if matrix.min(initial=0) < 0:
        raise ValueError(f"matrix has a count of {matrix.min()}; counts must be at least 0.")
    count = len(matrix)
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    with style.matplotlib_style():
        figure = Figure(figsize=(_SIDE + 1.7, _SIDE + 0.6), layout="constrained")
        axes = figure.subplots()
        # By its root, so that the few per cent of a confusion can be seen beside the diagonal.
        shade = PowerNorm(0.5, vmin=0, vmax=100)
        drawn = axes.imshow(shares, cmap=_SHADES, norm=shade, interpolation="nearest")
        axes.grid(False)
        digits = len(str(max(count - 1, 0)))
        steps = (1, 2, 5, 10, 20, 50, 100, 200, 500)
        step = next((step for step in steps if digits * count / step <= _DIGITS), count)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.arange(0, count, step))
        axes.set_xlabel("taken for class")
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
    """The size in which the longest count fills four fifths of a cell, points; 10 at most."""
    cell = 72 * _SIDE / len(matrix)
    # Digits are 0.64 of the font's size wide.
    return min(10.0, 0.8 * cell / (0.64 * len(str(matrix.max(initial=0)))), 0.7 * cell)


def confusion(matrix: Int[np.ndarray, "c c"], classes: Sequence[str]) -> str:
    """The confusion matrix as a section, its numbers named below it."""
    names = "".join(f"<li><b>{number}</b>\u2002{escape(name)}</li>" for number, name in enumerate(classes))
    legend = f'<ul class="legend numbered">{names}</ul>'
    alt = f"Confusion matrix of {len(classes)} classes, {np.trace(matrix)} of {matrix.sum()} images on its diagonal."
    said = "A row is a true class, a column what its images were taken for."
    if _font(matrix) < _SMALLEST_FONT:
        said += " There are too many classes for counts in the cells."
    return picture(encode(confusion_figure(matrix)), alt, "map", legend) + paragraph(said)


def per_class_table(classes: Sequence[str], figures: PerClass) -> str:
    """Precision, recall, F1 and images of each class, in the order of the classes."""

    def cell(value: float) -> str:
        return f'<td class="number">{"–" if np.isnan(value) else f"{100 * value:.1f}"}</td>'

    columns = ("precision", "recall", "F1", "test images")
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in columns)
    rows = (
        f'<tr><th scope="row">{escape(name)}</th>{cell(precision)}{cell(recall)}{cell(f1)}'
        f'<td class="number">{support}</td></tr>'
        for name, precision, recall, f1, support in zip(classes, *figures, strict=True)
    )
    said = "Per cent. Precision: of the images taken for the class, those that are of it. Recall: of its images, those found."
    if np.isnan(figures.precision).any() or np.isnan(figures.recall).any():
        said += " A dash stands where there is nothing to divide by: no image taken for the class, or none of it."
    return table(rows, "result", f'<thead><tr><th scope="col">class</th>{head}</tr></thead>') + paragraph(said)


def mistakes(
    images: UInt8[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, "n"],
    probabilities: Float[np.ndarray, "n c"],
    classes: Sequence[str],
    *,
    most: int = 24,
) -> str:
    """The images that were taken for a wrong class with the highest probability, as pictures with both names."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != labels)
    if not len(wrong):
        return paragraph(f"All {len(labels)} test images were taken for what they are.")
    tiles = []
    for index in wrong[np.argsort(-confidence[wrong], kind="stable")][:most]:
        uri, width, small = encode_image(images[index])
        true, taken = escape(classes[labels[index]]), escape(classes[predicted[index]])
        crisp = "crisp " if small else ""
        tiles.append(
            f'<figure class="tile"><img class="{crisp}view" style="--width:{width}px" src="{uri}" alt="{true}">'
            f"<figcaption>{true}<br>taken for <b>{taken}</b>, {100 * confidence[index]:.0f}\u00a0%</figcaption></figure>"
        )
    shown = f"The {len(tiles)} of {len(wrong)} mistakes" if len(tiles) < len(wrong) else f"All {len(wrong)} mistakes"
    said = f"{shown} in {len(labels)} test images, the most confident first: the true class, and what it was taken for."
    return f'<div class="tiles">{"".join(tiles)}</div>{paragraph(said)}'
