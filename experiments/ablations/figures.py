"""The figures of the tables, in the papers' form: rows with intervals, lines over an axis, heat maps, training curves."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.ablations import show
from experiments.ablations.analysis import Row, analyse
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Table, slug
from sslax.report import style

_OURS, _PAPERS = style.BLUE, style.VERMILION


def draw(table: Table, scale: str, summary: Mapping[str, Any]) -> Figure:
    """The figure of a table at a scale, from the saved data of its runs."""
    rows = [row for row in analyse(table, scale, summary["runs"]) if row.mean is not None]
    kinds: dict[str, Callable[..., Figure]] = {"dots": dots, "lines": lines, "heatmap": heatmap, "curves": curves}
    with style.matplotlib_style():
        return kinds[table.figure](table, rows, summary)


def dots(table: Table, rows: Sequence[Row], summary: Mapping[str, Any]) -> Figure:
    """Each row's difference from its baseline with its interval, next to the paper's difference."""
    groups = show.groups(rows)
    heights = [len(own) + 0.6 for own in groups.values()]
    figure = Figure(figsize=(8.6, 0.9 + 0.3 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (group, own) in zip(panels, groups.items(), strict=True):
        _dots(axes, own[::-1])
        axes.set_title(f"{group}: {show.measured(own)}" if group else show.measured(own))
    panels[-1].set_xlabel("points less the baseline's")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=9)
    return figure


def _dots(axes: Axes, rows: Sequence[Row]) -> None:
    places = range(len(rows))
    ours = [0.0 if row.change is None else row.change for row in rows]
    for place, row in zip(places, rows, strict=True):
        if row.low is not None and row.high is not None and math.isfinite(row.low):
            axes.plot([row.low, row.high], [place, place], color=_OURS, linewidth=2)
    axes.plot(ours, list(places), "o", color=_OURS, markersize=5, label="ours, with 95 % interval")
    told = [(row.paper_change, place) for place, row in zip(places, rows, strict=True) if row.paper_change is not None]
    axes.plot(
        [x for x, _ in told], [y - 0.22 for _, y in told], "d", color=_PAPERS, markersize=4.5, label="the paper's"
    )
    axes.axvline(0, color=style.DARK, linewidth=0.8)
    axes.set_yticks(list(places), [f"{row.setting.name}  {row.mean:.1f}" for row in rows], fontsize=8.5)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")


def lines(table: Table, rows: Sequence[Row], summary: Mapping[str, Any]) -> Figure:
    """Our figures over x, with a line for each series, and the paper's in a second plot over its own rows in the same order."""
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    ours, paper = figure.subplots(1, 2)
    for index, (name, own) in enumerate(_series(rows).items()):
        own = sorted(own, key=lambda row: row.setting.at[0])
        xs = [row.setting.at[0] for row in own]
        color = style.COLORS[index]
        axes_values = [row.mean for row in own]
        ours.errorbar(xs, axes_values, yerr=[row.spread or 0 for row in own], marker="o", color=color, label=name)
        told = [(x, row.setting.paper) for x, row in zip(xs, own, strict=True) if row.setting.paper is not None]
        paper.plot([x for x, _ in told], [y for _, y in told], marker="d", linestyle="--", color=color, label=name)
    for axes, title in ((ours, "ours, ± deviation over seeds"), (paper, "the paper's, over our rows")):
        axes.set_title(f"{title}: {show.measured(rows)}, %")
        axes.set_xlabel(table.x)
        ticks = sorted({row.setting.at[0] for row in rows})
        if min(ticks) > 0:
            axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    handles, labels = ours.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), fontsize=9)
    return figure


def _series(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        name = row.setting.group or (f"batch {row.setting.at[1]}" if len(row.setting.at) > 1 else "")
        found.setdefault(name, []).append(row)
    return found


def heatmap(table: Table, rows: Sequence[Row], summary: Mapping[str, Any]) -> Figure:
    """Our figures and the paper's as two maps. If only unordered pairs are run, both maps are symmetric."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(row.setting.at for row in rows)))
    figure = Figure(figsize=(8.6, 4.4), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, title, values in (
        (panels[0], "ours", [row.mean for row in rows]),
        (panels[1], "the paper's", [row.setting.paper for row in rows]),
    ):
        cells = np.full((len(names), len(names)), np.nan)
        unordered = len(rows) <= len(names) * (len(names) + 1) // 2
        for row, value in zip(rows, values, strict=True):
            first, second = (names.index(name) for name in row.setting.at)
            cells[first, second] = math.nan if value is None else value
            if unordered:
                cells[second, first] = cells[first, second]
        _map(axes, names, cells)
        axes.set_xlabel(table.x)
        axes.set_ylabel(table.y)
        axes.set_title(f"{title}: {show.measured(rows)}, %")
    return figure


def _map(axes: Axes, names: Sequence[str], cells: np.ndarray) -> None:
    low, high = np.nanmin(cells), np.nanmax(cells)
    axes.imshow(cells, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    for (i, j), value in np.ndenumerate(cells):
        if not math.isnan(value):
            dark = value < (low + high) / 2
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.grid(False)


def curves(table: Table, rows: Sequence[Row], summary: Mapping[str, Any]) -> Figure:
    """The stored metrics over training steps, as the mean over seeds of each row."""
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(table.curves), squeeze=False)[0]
    for axes, name in zip(panels, table.curves, strict=True):
        for index, row in enumerate(rows):
            kept = [
                run["curves"]
                for run in summary["runs"][
                    slug(row.setting, SCALES[summary["scale"]].configs[row.setting.method])
                ].values()
                if name in run.get("curves", {})
            ]
            if not kept:
                continue
            shortest = min(len(run["step"]) for run in kept)
            values = np.array([run[name][:shortest] for run in kept], float)
            color = style.COLORS[index]
            axes.plot(kept[0]["step"][:shortest], np.nanmean(values, axis=0), color=color, label=row.setting.name)
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("step")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), fontsize=9)
    return figure
