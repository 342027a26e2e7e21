"""The map of the features: points coloured by class, some of them replaced by their images.

Sizes are in inches unless stated otherwise.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sslax.report import style
from sslax.report.images import fit

# matplotlib's names of the markers, and the same markers as SVG in a square from -1 to 1, for the legend.
_SHAPES = (
    ("o", '<circle r="0.9"/>'),
    ("s", '<path d="M-.8-.8H.8V.8H-.8Z"/>'),
    ("^", '<path d="M0-.9L.95.8H-.95Z"/>'),
    ("D", '<path d="M0-1L1 0L0 1L-1 0Z"/>'),
    ("v", '<path d="M0 .9L.95-.8H-.95Z"/>'),
)
MOST_MARKS = len(style.COLORS) * len(_SHAPES)

_THUMBNAIL = 40  # pixels
_MOST_THUMBNAILS = 80
_SIDES = np.array([-1, 1])


def class_mark(label: int) -> tuple[str, str, str]:
    """Colour, matplotlib marker and SVG marker of a class. They repeat after `MOST_MARKS` classes."""
    return style.COLORS[label % len(style.COLORS)], *_SHAPES[label // len(style.COLORS) % len(_SHAPES)]


def spread(points: Float[np.ndarray, "n 2"], distance: float, most: int) -> list[int]:
    """Select at most `most` points such that squares of side `distance` around them do not overlap; returns their indices.

    The selection is greedy, in a shuffled order with a fixed seed, because test images are often sorted by class.
    """
    chosen: list[int] = []
    for index in np.random.default_rng(0).permutation(len(points)).tolist():
        if len(chosen) == most:
            break
        # Two squares overlap if the points are closer than `distance` in both directions.
        if np.all(np.abs(points[chosen] - points[index]).max(axis=1) >= distance):
            chosen.append(index)
    return chosen


def embedding_figure(
    embedding: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, "n"] | None,
    thumbnails: UInt8[np.ndarray, "n h w 3"] | None,
) -> Figure:
    """Draw a scatter plot of `embedding`, coloured by class if there are labels, with some points replaced by their images.

    A thumbnail that would overlap another one is left out. Its frame has the colour of the class.
    """
    points = embedding.astype(np.float64)
    points = points - points.min(axis=0)
    # The longer side becomes 1. A single point, or points at one place, are not scaled.
    points = points / (points.max() or 1.0)
    middle = points.max(axis=0) / 2
    reach = np.maximum(middle, (0.4, 0.2)) + 0.04
    side, width = 0.046, 6.4
    with style.matplotlib_style():
        figure = Figure(figsize=(width, width * reach[1] / reach[0]))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        groups = np.zeros(len(points), int) if labels is None else labels
        for label in np.unique(groups).tolist():
            color, marker, _ = (style.GREY, "o", "") if labels is None else class_mark(label)
            x, y = points[groups == label].T
            axes.scatter(x, y, s=16, color=color, marker=marker, alpha=0.85, linewidths=0)
        if thumbnails is not None:
            for index in spread(points, 1.25 * side, _MOST_THUMBNAILS):
                color = style.GREY if labels is None else class_mark(int(labels[index]))[0]
                _draw_thumbnail(axes, points[index], fit(thumbnails[index], _THUMBNAIL), side, color)
        # Set after the images, because drawing an image changes the limits.
        axes.set(aspect="equal", xlim=middle[0] + reach[0] * _SIDES, ylim=middle[1] + reach[1] * _SIDES)
    return figure


def _draw_thumbnail(axes: Axes, at: np.ndarray, image: np.ndarray, side: float, color: str) -> None:
    """Draw `image` in a frame around `at`; its longer side is `side`."""
    half = side / 2 * np.array(image.shape[1::-1]) / max(image.shape[:2])
    (left, bottom), (right, top) = at - half, at + half
    axes.imshow(image, extent=(left, right, bottom, top), interpolation="none", zorder=3)
    axes.add_patch(Rectangle((left, bottom), *(2 * half), fill=False, edgecolor=color, linewidth=1.6, zorder=4))
