"""Curves of accuracy over the number of labels: what each kind of features makes of few of them.

Accuracies are in [0, 1], sizes inches.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sslax.report import style


class Curve(NamedTuple):
    """One line of a panel: labels seen, mean accuracy and deviation over seeds, of the same length."""

    labels: Sequence[int]
    means: Sequence[float]
    deviations: Sequence[float]


# Colour and marker of each kind of features, the same in every panel.
_STYLES = ((style.BLUE, "o"), (style.VERMILION, "s"), (style.DARK, "^"), (style.GREEN, "D"))


def efficiency_figure(panels: Mapping[str, Mapping[str, Curve]], *, chance: float) -> Figure:
    """A panel for each protocol, a line for each kind of features; the bars are deviations over seeds.

    Args:
      panels: title -> name of the line -> its curve; names are drawn, so they may hold no text of a user's.
      chance: accuracy without looking, a dotted line.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    with style.matplotlib_style():
        figure = Figure(figsize=(3.4 * len(panels), 3.6), layout="constrained")
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        handles = {}
        for axes, (title, lines) in zip(row, panels.items(), strict=True):
            for name, curve in lines.items():
                color, marker = _STYLES[names.index(name) % len(_STYLES)]
                means, deviations = 100 * np.asarray(curve.means), 100 * np.asarray(curve.deviations)
                handles[name] = axes.errorbar(
                    curve.labels, means, yerr=deviations, color=color, marker=marker, capsize=2.5, elinewidth=1
                )
            counts = sorted({count for curve in lines.values() for count in curve.labels})
            axes.axhline(100 * chance, color=style.GREY, linewidth=1, linestyle=":")
            axes.set_xscale("log")
            axes.set_xticks(counts, [f"{count:,}" for count in counts])
            axes.minorticks_off()
            axes.set_title(title)
            axes.set_xlabel("labels")
        row[0].set_ylabel("accuracy, %")
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=len(handles), fontsize=9)
    return figure
