"""Curves of accuracy over the number of labels: how well each kind of features does with few labels.

Accuracies are in [0, 1]; sizes are in inches.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sslax.report import style


class Curve(NamedTuple):
    """One curve of a figure: numbers of labels, mean accuracies and standard deviations over seeds, of equal length."""

    labels: Sequence[int]
    means: Sequence[float]
    deviations: Sequence[float]


# Colour and marker of each kind of features, the same in every panel.
_STYLES = ((style.BLUE, "o"), (style.VERMILION, "s"), (style.DARK, "^"), (style.GREEN, "D"))


def efficiency_figure(title: str, curves: Mapping[str, Curve], *, chance: float) -> Figure:
    """Draw accuracy over the number of labels, with one line per kind of features; bars are deviations over seeds.

    Args:
      title: name of the protocol. matplotlib draws it and the curves' names, so neither may contain a user's text.
      curves: the curves by name; equal positions have equal colours in every figure.
      chance: accuracy of always answering the most frequent class, drawn as a dotted line.
    """
    with style.matplotlib_style():
        figure = Figure(figsize=(4.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for (name, curve), (color, marker) in zip(curves.items(), _STYLES, strict=False):
            means, deviations = 100 * np.asarray(curve.means), 100 * np.asarray(curve.deviations)
            axes.errorbar(
                curve.labels, means, yerr=deviations, color=color, marker=marker, capsize=2.5, elinewidth=1, label=name
            )
        counts = sorted({count for curve in curves.values() for count in curve.labels})
        axes.axhline(100 * chance, color=style.GREY, linewidth=1, linestyle=":", label="chance")
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_title(f"{title}, %")
        axes.set_xlabel("labels")
        figure.legend(loc="outside lower left", ncols=4, fontsize=9, handlelength=2, columnspacing=1.2)
    return figure
