"""The sections of a page that compares groups of runs, each as HTML.

The runs of a group differ only in their seeds. Arguments have accuracies in [0, 1]; the page shows per cent. Sizes are in
inches.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from sslax.report import elements, style
from sslax.report.elements import escape
from sslax.report.figures import CURVE_POINTS, Metrics, Result, series
from sslax.report.images import encode

ROWS = {"pretrained": "pretrained", "untrained": "untrained network", "raw_pixels": "raw pixels"}
COLUMNS = {"knn1": "kNN, k\u00a0=\u00a01", "knn20": "kNN, k\u00a0=\u00a020", "linear": "linear probe"}
# For each metric: the title of its figure, and the factor on its values.
CURVES = {
    "loss": ("Loss", 1),
    "knn20": ("kNN accuracy (k = 20) on the test split, %", 100),
    "knn1": ("kNN accuracy (k = 1) on the test split, %", 100),
    "probe": ("Accuracy of the online probe on the test split, %", 100),
}
_DASHES = (("-", ""), ((0, (5, 2)), "5 2"), ((0, (1.2, 1.2)), "1.2 1.2"))
# The order in which groups get colours, chosen so that neighbouring colours differ as much as possible.
_ORDER = (0, 6, 3, 1, 5, 8, 2, 7, 4, 9)
MOST_GROUPS = len(style.COLORS) * len(_DASHES)
_SIZE = (4.6, 3.4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A finished or unfinished run.

    Attributes:
      name: name of its folder.
      metrics: the lines of its metrics.jsonl.
      result: accuracies from result.json, empty if there were no labels; None if the run has not finished.
    """

    name: str
    metrics: Metrics
    result: Result | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Runs that differ only in their seeds.

    Attributes:
      name: name of the group.
      settings: the nested configuration that its runs share.
      runs: at least one run.
    """

    name: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]


def values(group: Group, row: str, column: str) -> list[float]:
    """Measured accuracies of a group's finished runs, in [0, 1]."""
    found = [(run.result or {}).get(row, {}).get(column, math.nan) for run in group.runs]
    return [float(value) for value in found if math.isfinite(value)]


def columns_of(groups: Sequence[Group]) -> list[str]:
    """The evaluations that at least one run has, the known ones first."""
    names = {name for group in groups for run in group.runs for row in (run.result or {}).values() for name in row}
    return [name for name in COLUMNS if name in names] + sorted(names - {*COLUMNS})


def spread(numbers: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation as text; a single number is shown alone, and no numbers give an empty text."""
    if not numbers:
        return ""
    mean = f"{statistics.mean(numbers):,.{digits}f}"
    return f"{mean}\u00a0±\u00a0{statistics.stdev(numbers):,.{digits}f}" if len(numbers) > 1 else mean


def accuracy(groups: Sequence[Group]) -> str:
    """A table of the accuracies, with a row for each group and kind of features."""
    columns = columns_of(groups)
    if not columns:
        return elements.paragraph("No run has accuracies: only finished runs on labelled images have them.")
    lines = []
    for group in groups:
        rows = [row for row in ROWS if any(values(group, row, column) for column in columns)] or ["pretrained"]
        for place, row in enumerate(rows):
            found = [[100 * value for value in values(group, row, column)] for column in columns]
            count = max(map(len, found))
            cells = "".join(f'<td class="number">{spread(numbers, 1) or "–"}</td>' for numbers in found)
            first = (
                f'<th scope="rowgroup" class="name" rowspan="{len(rows)}">{escape(group.name)}</th>'
                if not place
                else ""
            )
            lines.append(f'<tr>{first}<th scope="row">{ROWS[row]}</th>{cells}<td class="number">{count}</td></tr>')
    heads = "".join(f'<th scope="col" class="number">{escape(COLUMNS.get(name, name))}</th>' for name in columns)
    heads = f'<th scope="col">group</th><th scope="col">features</th>{heads}<th scope="col" class="number">n</th>'
    sentences = ["Per cent of the test images: mean ± standard deviation over the n finished runs of a group."]
    if len({str(group.settings.get("data")) for group in groups}) > 1:
        sentences.append("The groups use different images, so their accuracies are not directly comparable.")
    return elements.table(lines, "result", f"<thead><tr>{heads}</tr></thead>") + elements.paragraph(*sentences)


def settings(groups: Sequence[Group]) -> str:
    """A table of the configuration fields that differ between groups, with a column per group."""
    flat = [elements.flatten(group.settings) for group in groups]
    names = list(dict.fromkeys(name for fields in flat for name in fields))
    differing = [name for name in names if len({fields.get(name) for fields in flat}) > 1]
    if not differing:
        return elements.paragraph("There is only one group, so only the seeds differ.")
    head = "".join(f'<th scope="col" class="name">{escape(group.name)}</th>' for group in groups)
    lines = (
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="name">{escape(fields.get(name, "–"))}</td>' for fields in flat)
        + "</tr>"
        for name in differing
    )
    return elements.table(lines, "result", f'<thead><tr><th scope="col">field</th>{head}</tr></thead>')


def curves(groups: Sequence[Group]) -> str:
    """One figure per metric. Each group has its own colour."""
    drawn = [(curve_figure(groups, name), title) for name, (title, _) in CURVES.items()]
    pictures = "".join(
        elements.picture(encode(figure), f"Curves over epochs: {escape(title)}.", "curve")
        for figure, title in drawn
        if figure is not None
    )
    if not pictures:
        return elements.paragraph("No metrics were logged.")
    legend = "".join(_legend_entry(place, group) for place, group in enumerate(groups))
    sentences = []
    if any(len(group.runs) > 1 for group in groups):
        sentences.append(
            "Thin lines are runs. The thick line is the mean of a group, at the epochs that all its runs have logged."
        )
    if len({str(group.settings.get("method")) for group in groups}) > 1:
        sentences.append("The groups differ in the method or its options, so their losses may not be comparable.")
    return (
        f'<figure style="margin-bottom:.75rem"><ul class="legend">{legend}</ul></figure><div class="pair">{pictures}</div>'
        f"{elements.paragraph(*sentences) if sentences else ''}"
    )


def _mark(place: int) -> tuple[str, Any, str]:
    """The colour of a group, its dashes for matplotlib, and the same dashes for SVG."""
    return style.COLORS[_ORDER[place % len(_ORDER)]], *_DASHES[place // len(style.COLORS) % len(_DASHES)]


def _legend_entry(place: int, group: Group) -> str:
    color, _, dashes = _mark(place)
    line = f'<path d="M0 4H24" stroke="{color}" stroke-width="3" stroke-dasharray="{dashes}"/>'
    count = f" ({len(group.runs)} runs)" if len(group.runs) > 1 else ""
    return f'<li><svg viewBox="0 0 24 8" width="24" height="8" aria-hidden="true">{line}</svg> {escape(group.name)}{count}</li>'


def curve_figure(groups: Sequence[Group], name: str) -> Figure | None:
    """Draw one metric of `CURVES` over epochs; None if no run has logged it."""
    title, factor = CURVES[name]
    found = [[series(run.metrics, name) for run in group.runs] for group in groups]
    if not any(len(epochs) for runs in found for epochs, _ in runs):
        return None
    with style.matplotlib_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for place, runs in enumerate(found):
            color, dashes, _ = _mark(place)
            several = len(runs) > 1
            for epochs, numbers in runs:
                drawn = {"linewidth": 0.8, "alpha": 0.45} if several else {"marker": "o" if len(epochs) <= 40 else None}
                axes.plot(*_thinned(epochs, factor * numbers), color=color, linestyle=dashes, **drawn)
            if several:
                epochs, numbers = _mean(runs)
                marker = "o" if len(epochs) <= 40 else None
                axes.plot(
                    *_thinned(epochs, factor * numbers), color=color, linestyle=dashes, marker=marker, linewidth=2
                )
        axes.set_title(title)
        axes.set_xlabel("epoch")
    return figure


def _mean(
    runs: Sequence[tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]],
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """The epochs that all runs have logged, and the mean of the runs at each of them."""
    by_epoch = [dict(zip(epochs.tolist(), numbers.tolist(), strict=True)) for epochs, numbers in runs]
    common = sorted(set.intersection(*map(set, by_epoch)))
    means = [statistics.fmean(run[epoch] for run in by_epoch) for epoch in common]
    return np.array(common, np.float64), np.array(means, np.float64)


def _thinned(epochs: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbouring values if there are more values than pixels."""
    if len(numbers) <= CURVE_POINTS:
        return epochs, numbers
    edges = np.linspace(0, len(numbers), CURVE_POINTS + 1).astype(int)
    counts = np.diff(edges)
    return np.add.reduceat(epochs, edges[:-1]) / counts, np.add.reduceat(numbers, edges[:-1]) / counts


def speed(groups: Sequence[Group]) -> str:
    """A table of images per second, of training seconds, and of the folders of each group's runs."""
    lines = []
    for group in groups:
        rates = [float(np.median(rate)) for run in group.runs if len(rate := series(run.metrics, "images_per_s")[1])]
        seconds = [
            float(spent[-1])
            for run in group.runs
            if run.result is not None and len(spent := series(run.metrics, "seconds")[1])
        ]
        names = ", ".join(escape(run.name) for run in group.runs)
        lines.append(
            f'<tr><th scope="row" class="name">{escape(group.name)}</th><td class="number">{spread(rates, 0) or "–"}</td>'
            f'<td class="number">{spread(seconds, 1) or "–"}</td><td class="number">{len(group.runs)}</td>'
            f'<td class="name after">{names}</td></tr>'
        )
    heads = "".join(f'<th scope="col" class="number">{title}</th>' for title in ("images/s", "seconds", "runs"))
    head = f'<thead><tr><th scope="col">group</th>{heads}<th scope="col" class="after">folders</th></tr></thead>'
    said = (
        "Mean ± standard deviation of the runs' median images/s, and of the training time of finished runs. "
        "They are comparable only if each run had the same machine to itself, which a run does not record."
    )
    return elements.table(lines, "result", head) + elements.paragraph(said)
