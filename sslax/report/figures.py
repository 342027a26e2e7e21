"""The report's curves.

matplotlib never draws a user's text, because it would interpret dollar signs as mathematics; the page's HTML shows such names.
Sizes are in inches; accuracies are in [0, 1].
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sslax.report import style

# beartype does not accept an int as a `float`, and a step is an int.
Number = float | int
Metrics = Sequence[Mapping[str, Number]]
Result = Mapping[str, Mapping[str, Number]]

CURVE_POINTS = 400  # more points than this would be finer than a pixel
_SIZE = (4.6, 3.6)
# The style of reference lines.
_DOTTED: dict[str, Any] = {"color": style.DARK, "linewidth": 1, "linestyle": ":", "zorder": 1.5}


def series(metrics: Metrics, name: str) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Epochs and values of one metric; lines in which one of them is not finite are left out.

    If a step was logged twice, before an interruption and after the run resumed, the last line counts.
    """
    found: dict[Number, tuple[float, float]] = {}
    for line in metrics:
        epoch, value = line.get("epoch", math.nan), line.get(name, math.nan)
        if math.isfinite(epoch) and math.isfinite(value):
            found[line.get("step", epoch)] = (float(epoch), float(value))
    pairs = np.array(sorted(found.values()), dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _draw_curve(axes: Axes, epochs: np.ndarray, values: np.ndarray, *, color: str, **line) -> None:
    """Draw a line. With more values than pixels, draw means of neighbouring values and a band of their range."""
    if len(values) > CURVE_POINTS:
        edges = np.linspace(0, len(values), CURVE_POINTS + 1).astype(int)[:-1]
        counts = np.diff([*edges, len(values)])
        low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
        epochs, values = np.add.reduceat(epochs, edges) / counts, np.add.reduceat(values, edges) / counts
        axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(epochs, values, color=color, marker="o" if len(values) <= 40 else None, **line)


def _legend_below(figure: Figure, ncols: int = 2) -> None:
    """Draw a legend below the axes, where it does not cover the curves."""
    figure.legend(loc="outside lower left", ncols=ncols, fontsize=9, handlelength=2, columnspacing=1.2)


def _chance(metrics: Metrics) -> float:
    """The loss of outputs without information; NaN if it was not logged."""
    values = series(metrics, "chance_loss")[1]
    return float(values[-1]) if len(values) else math.nan


def _draw_chance(axes: Axes, chance: float) -> bool:
    """Draw a line at `chance` if that compresses the curve by less than a quarter. Returns whether it was drawn."""
    low, high = axes.get_ylim()
    # A loss that is stuck at `chance` has almost no range, and needs the line most.
    span = max(high - low, 0.05 * abs(chance))
    # False for NaN too.
    near = bool(max(low - chance, chance - high) <= 0.3 * span)
    if near:
        axes.axhline(chance, label="loss of outputs without information", **_DOTTED)
    return near


def loss_figure(metrics: Metrics) -> Figure | None:
    """Draw the loss over epochs, with the learning rate in a narrow strip below; None if no finite loss was logged."""
    epochs, losses = series(metrics, "loss")
    if not len(losses):
        return None
    rate_epochs, rates = series(metrics, "lr")
    with style.matplotlib_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        if len(rates):
            axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
            _draw_curve(strip, rate_epochs, rates, color=style.GREY, linewidth=1.2)
            strip.set_ylabel("learning\nrate", fontsize=8.5)
            peak = float(rates.max())
            if peak > 0:
                strip.set_ylim(-0.08 * peak, 1.15 * peak)
                strip.set_yticks([0, peak], ["0", f"{peak:.3g}"], fontsize=8.5)
            lowest = strip
        else:
            lowest = axes = figure.subplots()
        _draw_curve(axes, epochs, losses, color=style.BLUE)
        if _draw_chance(axes, _chance(metrics)):
            _legend_below(figure, ncols=1)
        axes.set_title("Loss")
        lowest.set_xlabel("epoch")
    return figure


def knn_figure(metrics: Metrics, result: Result | None) -> Figure | None:
    """Draw the accuracy of kNN and of the online probe over epochs; None if neither was logged.

    Dashed lines show the kNN accuracy of raw pixels and of the untrained network.
    """
    curves = [
        ("kNN, k = 20", *series(metrics, "knn20"), style.BLUE),
        ("kNN, k = 1", *series(metrics, "knn1"), style.VERMILION),
        ("online probe", *series(metrics, "probe"), style.GREEN),
    ]
    if not any(len(values) for _, _, values, _ in curves):
        return None
    with style.matplotlib_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for name, epochs, values, color in curves:
            if len(values):
                label = f"{name}: {100 * values[-1]:.1f} at the end"
                _draw_curve(axes, epochs, 100 * values, color=color, label=label)
        references = [
            ("raw_pixels", "raw pixels", style.DARK, (5, 2)),
            ("untrained", "untrained", style.GREY, (2, 1.5)),
            ("initial", "initial weights", style.GREY, (2, 1.5)),
        ]
        for row, name, color, dashes in references:
            value = (result or {}).get(row, {}).get("knn20", math.nan)
            if math.isfinite(value):
                label = f"{name}, k = 20: {100 * value:.1f}"
                axes.axhline(100 * value, color=color, linewidth=1.3, linestyle=(0, dashes), label=label, zorder=1.5)
        axes.set_title("Accuracy on the test split, %")
        axes.set_xlabel("epoch")
        _legend_below(figure)
    return figure


def entropy_figure(metrics: Metrics) -> Figure | None:
    """Draw the entropy of the targets and their KL divergence over epochs, in nats; None if no entropy was logged."""
    curves = [
        ("target entropy", *series(metrics, "target_entropy"), style.BLUE),
        ("KL", *series(metrics, "kl"), style.VERMILION),
    ]
    if not len(curves[0][2]):
        return None
    chance = _chance(metrics)
    with style.matplotlib_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for name, epochs, values, color in curves:
            if len(values):
                label = f"{name}: {values[-1]:.3g} at the end"
                _draw_curve(axes, epochs, values, color=color, label=label, clip_on=False)
        if math.isfinite(chance):
            axes.axhline(chance, label=f"ln K = {chance:.4g}", **_DOTTED)
        # Rounding can make a KL slightly negative.
        axes.set_ylim(bottom=min(0.0, *(float(values.min(initial=0)) for _, _, values, _ in curves)))
        axes.set_title("Entropy of the targets and KL, nats")
        axes.set_xlabel("epoch")
        _legend_below(figure)
    return figure


def feature_std_figure(metrics: Metrics) -> Figure | None:
    """Draw the spread of the features' directions over epochs, on an axis from 0; None if it was not logged."""
    epochs, values = series(metrics, "feature_std")
    if not len(values):
        return None
    with style.matplotlib_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        # With clipping, half of the line's width would be cut off at 0, the value of a collapse.
        _draw_curve(axes, epochs, values, color=style.BLUE, clip_on=False)
        axes.axhline(1, label="1: spread evenly over the sphere", **_DOTTED)
        axes.set_ylim(0, max(1.1, 1.08 * float(values.max())))
        axes.set_title("Feature spread")
        axes.set_xlabel("epoch")
        _legend_below(figure)
    return figure


def validation_figure(metrics: Metrics) -> Figure | None:
    """Draw the validation accuracy over epochs, with a line at the kept weights; None if it was not logged."""
    epochs, values = series(metrics, "validation")
    if not len(values):
        return None
    kept = max((line for line in metrics if line.get("best")), key=lambda line: line["step"], default=None)
    with style.matplotlib_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        _draw_curve(axes, epochs, 100 * values, color=style.BLUE)
        if kept is not None:
            axes.axvline(kept["epoch"], label=f"weights kept: {100 * kept['validation']:.1f}", **_DOTTED)
            _legend_below(figure)
        axes.set_title("Accuracy on the validation images, %")
        axes.set_xlabel("epoch")
    return figure
