"""The report's pictures: curves, scatter and small images, each as a data URI that stands in the page itself.

matplotlib never draws text of the user's, in which it would read dollar signs as mathematics: names stand in the page.
Sizes are inches unless a name says otherwise, accuracies are in [0, 1].
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import matplotlib.style
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

# beartype takes `float` literally, and a step is an int.
Number = float | int
Metrics = Sequence[Mapping[str, Number]]
Result = Mapping[str, Mapping[str, Number]]

# Paul Tol's "muted" scheme (personal.sron.nl/~pault), made to be told apart with every common colour blindness; black
# stands for its tenth colour, too pale for a mark on white. Beyond ten classes the shape of the mark changes.
COLORS = (
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#000000",
)
# Blue and vermilion of Okabe and Ito, and greys for what is not the run itself.
_BLUE, _VERMILION, _DARK, _GREY = "#0072b2", "#d55e00", "#24292f", "#808891"
# matplotlib's name of a mark, and the same mark as SVG in a square from -1 to 1, for the legend.
_SHAPES = (
    ("o", '<circle r="0.9"/>'),
    ("s", '<path d="M-.8-.8H.8V.8H-.8Z"/>'),
    ("^", '<path d="M0-.9L.95.8H-.95Z"/>'),
    ("D", '<path d="M0-1L1 0L0 1L-1 0Z"/>'),
    ("v", '<path d="M0 .9L.95-.8H-.95Z"/>'),
)
MOST_MARKS = len(COLORS) * len(_SHAPES)

MAX_POINTS = 1000  # of the projection: its time grows faster than the number of points
CURVE_POINTS = 400  # more of them are finer than a pixel
_SMALL = 64  # pixels; up to here an image is shown pixel by pixel and kept without loss
_STORED = 96  # pixels; larger images are reduced to this
_THUMBNAIL = 40  # pixels
_MOST_THUMBNAILS = 80
_SIDES = np.array([-1, 1])


def _style() -> AbstractContextManager[None]:
    """matplotlib's own defaults and a few of ours, so that nobody's matplotlibrc changes a report."""
    own = {
        "font.size": 9.5,
        "text.color": _DARK,
        "axes.labelcolor": _DARK,
        "axes.edgecolor": "#8a9099",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": "#d9dce0",
        "grid.linewidth": 0.6,
        "xtick.color": "#57606a",
        "ytick.color": "#57606a",
        "lines.linewidth": 1.6,
        "lines.markersize": 3.5,
        "legend.frameon": False,
        "svg.hashsalt": "sslax",
        # Otherwise all thumbnails become one image at 72 dots an inch.
        "image.composite_image": False,
    }
    return matplotlib.style.context(["default", own])


def data_uri(mime: str, data: bytes) -> str:
    """`data` as an address that holds it all."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def encode(figure: Figure) -> str:
    """The figure as a data URI: SVG, or PNG for a screen of high density where that is smaller."""
    svg, png = io.BytesIO(), io.BytesIO()
    with _style():
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=250)
    if svg.tell() <= png.tell():
        return data_uri("image/svg+xml", svg.getvalue())
    return data_uri("image/png", png.getvalue())


def fit(image: UInt8[np.ndarray, "h w 3"], longest: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """`image` within `longest` pixels: reduced smoothly, or enlarged by a whole factor with its pixels kept crisp."""
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        factor = longest // max(height, width)
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def encode_image(image: UInt8[np.ndarray, "h w 3"]) -> tuple[str, int, bool]:
    """An image for the page.

    Returns:
      Data URI, width to show it at in CSS pixels, and whether it is to be enlarged pixel by pixel. Small images are
      unchanged PNG; larger ones are reduced, and JPEG where that is smaller, so that the page can be mailed.
    """
    height, width = image.shape[:2]
    small = max(height, width) <= _SMALL
    if small:
        shown = width * max(1, round(80 / max(height, width)))
    else:
        image = fit(image, min(_STORED, max(height, width)))
        shown = image.shape[1]
    png, jpeg = io.BytesIO(), io.BytesIO()
    Image.fromarray(image).save(png, "PNG", optimize=True)
    if not small:
        Image.fromarray(image).save(jpeg, "JPEG", quality=85)
        if jpeg.tell() < png.tell():
            return data_uri("image/jpeg", jpeg.getvalue()), shown, small
    return data_uri("image/png", png.getvalue()), shown, small


def series(metrics: Metrics, name: str) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Epochs and values of one metric, where both are finite numbers.

    A step that was logged twice, before a run was interrupted and after it was resumed, counts as it was logged last.
    """
    found: dict[Number, tuple[float, float]] = {}
    for line in metrics:
        epoch, value = line.get("epoch", math.nan), line.get(name, math.nan)
        if math.isfinite(epoch) and math.isfinite(value):
            found[line.get("step", epoch)] = (float(epoch), float(value))
    pairs = np.array(sorted(found.values()), dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _draw_curve(axes: Axes, epochs: np.ndarray, values: np.ndarray, *, color: str, **line) -> None:
    """A line; where there are more values than pixels, means of neighbours with the range that they stand for."""
    if len(values) > CURVE_POINTS:
        edges = np.linspace(0, len(values), CURVE_POINTS + 1).astype(int)[:-1]
        counts = np.diff([*edges, len(values)])
        low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
        epochs, values = np.add.reduceat(epochs, edges) / counts, np.add.reduceat(values, edges) / counts
        axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(epochs, values, color=color, marker="o" if len(values) <= 40 else None, **line)


def loss_figure(metrics: Metrics) -> Figure | None:
    """Loss over epochs, the learning rate in a narrow strip below it; None where no finite loss was logged."""
    epochs, losses = series(metrics, "loss")
    if not len(losses):
        return None
    rate_epochs, rates = series(metrics, "lr")
    with _style():
        figure = Figure(figsize=(4.6, 3.6), layout="constrained")
        if len(rates):
            axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
            _draw_curve(strip, rate_epochs, rates, color=_GREY, linewidth=1.2)
            strip.set_ylabel("learning\nrate", fontsize=8.5)
            peak = float(rates.max())
            if peak > 0:
                strip.set_ylim(-0.08 * peak, 1.15 * peak)
                strip.set_yticks([0, peak], ["0", f"{peak:.3g}"], fontsize=8.5)
            lowest = strip
        else:
            lowest = axes = figure.subplots()
        _draw_curve(axes, epochs, losses, color=_BLUE)
        axes.set_title("Loss")
        lowest.set_xlabel("epoch")
    return figure


def knn_figure(metrics: Metrics, result: Result | None) -> Figure | None:
    """kNN accuracy over epochs, raw pixels and the untrained network as dashed lines; None where none was logged."""
    curves = [(20, *series(metrics, "knn20"), _BLUE), (1, *series(metrics, "knn1"), _VERMILION)]
    if not any(len(values) for _, _, values, _ in curves):
        return None
    with _style():
        figure = Figure(figsize=(4.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for k, epochs, values, color in curves:
            if len(values):
                _draw_curve(
                    axes, epochs, 100 * values, color=color, label=f"k = {k}: {100 * values[-1]:.1f} at the end"
                )
        references = [("raw_pixels", "raw pixels", _DARK, (5, 2)), ("untrained", "untrained", _GREY, (2, 1.5))]
        for row, name, color, dashes in references:
            value = (result or {}).get(row, {}).get("knn20", math.nan)
            if math.isfinite(value):
                label = f"{name}, k = 20: {100 * value:.1f}"
                axes.axhline(100 * value, color=color, linewidth=1.3, linestyle=(0, dashes), label=label, zorder=1.5)
        axes.set_title("kNN accuracy on the test split, %")
        axes.set_xlabel("epoch")
        # Below the axes it can cover nothing.
        figure.legend(loc="outside lower left", ncols=2, fontsize=9, handlelength=2, columnspacing=1.2)
    return figure


def class_mark(label: int) -> tuple[str, str, str]:
    """Colour, matplotlib's mark and the mark as SVG for a class; they repeat after `MOST_MARKS` classes."""
    return COLORS[label % len(COLORS)], *_SHAPES[label // len(COLORS) % len(_SHAPES)]


def spread(points: Float[np.ndarray, "n 2"], distance: float, most: int) -> list[int]:
    """Indices of points whose squares of side `distance` around them do not overlap, at most `most` of them.

    Greedy, in a shuffled order that is always the same one: test images are often sorted by class.
    """
    chosen: list[int] = []
    for index in np.random.default_rng(0).permutation(len(points)).tolist():
        if len(chosen) == most:
            break
        # Overlap is nearness in both directions at once.
        if np.all(np.abs(points[chosen] - points[index]).max(axis=1) >= distance):
            chosen.append(index)
    return chosen


def embedding_figure(
    embedding: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, "n"] | None,
    thumbnails: UInt8[np.ndarray, "n h w 3"] | None,
) -> Figure:
    """Scatter of `embedding`, coloured by class where there are labels, some points replaced by their images.

    A thumbnail is left out where it would overlap one that has been placed; frames have the colour of the class.
    """
    points = embedding.astype(np.float64)
    points = points - points.min(axis=0)
    # The longer side becomes 1; a single point, or many at one place, stay where they are.
    points = points / (points.max() or 1.0)
    middle = points.max(axis=0) / 2
    reach = np.maximum(middle, (0.4, 0.2)) + 0.04
    side, width = 0.046, 6.4
    with _style():
        figure = Figure(figsize=(width, width * reach[1] / reach[0]))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        groups = np.zeros(len(points), int) if labels is None else labels
        for label in np.unique(groups).tolist():
            color, marker, _ = (_GREY, "o", "") if labels is None else class_mark(label)
            x, y = points[groups == label].T
            axes.scatter(x, y, s=16, color=color, marker=marker, alpha=0.85, linewidths=0)
        if thumbnails is not None:
            for index in spread(points, 1.25 * side, _MOST_THUMBNAILS):
                color = _GREY if labels is None else class_mark(int(labels[index]))[0]
                _draw_thumbnail(axes, points[index], fit(thumbnails[index], _THUMBNAIL), side, color)
        # After the images, each of which sets the limits to its own.
        axes.set(aspect="equal", xlim=middle[0] + reach[0] * _SIDES, ylim=middle[1] + reach[1] * _SIDES)
    return figure


def _draw_thumbnail(axes: Axes, at: np.ndarray, image: np.ndarray, side: float, color: str) -> None:
    """`image` in a frame around `at`, its longer side `side` long."""
    half = side / 2 * np.array(image.shape[1::-1]) / max(image.shape[:2])
    (left, bottom), (right, top) = at - half, at + half
    axes.imshow(image, extent=(left, right, bottom, top), interpolation="none", zorder=3)
    axes.add_patch(Rectangle((left, bottom), *(2 * half), fill=False, edgecolor=color, linewidth=1.6, zorder=4))


def project_2d(features: Float[np.ndarray, "n d"], *, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Features in the plane, neighbours kept near each other: t-SNE (van der Maaten and Hinton 2008) from a PCA start.

    Args:
      features: one row a point, of any finite magnitude; at most `MAX_POINTS` rows, because the time grows faster
        than their number: choose a subset.
      seed: of the optimiser; the same features and seed give the same picture on one machine.

    Returns:
      One finite position a point, float32. Fewer than five points have too few neighbours and are placed by their
      principal components; points that are all the same are all at the origin.

    Raises:
      ValueError: on more than `MAX_POINTS` rows, or values that are not finite.
    """
    n = len(features)
    if n > MAX_POINTS:
        raise ValueError(f"features has {n} rows; it must have at most {MAX_POINTS}: choose a subset.")
    x = np.asarray(features, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("features has values that are not finite.")
    # Scaled before and after a row is taken off, so that neither a difference nor a square overflows or vanishes, and
    # with a row rather than the mean, whose rounding would make constant features differ from themselves.
    x = x / (np.abs(x).max(initial=0) or 1.0)
    x = x - x[:1]
    largest = np.abs(x).max(initial=0)
    if largest == 0:
        return np.zeros((n, 2), np.float32)
    x = x / largest
    if x.shape[1] < 2:
        x = np.pad(x, ((0, 0), (0, 1)))
    if n < 5:
        left, scales, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        return (left[:, :2] * scales[:2]).astype(np.float32)
    # Imported here because it takes seconds, which only the end of a run needs.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    tsne = TSNE(init="pca", perplexity=min(30.0, (n - 1) / 3), max_iter=500, random_state=seed)
    # So few points are several times faster in one thread than in threads that wait for each other.
    with threadpool_limits(limits=1):
        return tsne.fit_transform(x)
