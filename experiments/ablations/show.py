"""Show a table on the terminal and in Markdown, from the saved data of its runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as Printed

from experiments.ablations.analysis import Best, Rank, Row, analyse, best, ranks
from experiments.ablations.table import Table
from sslax.cli import terminal

_MEASURES = {"linear": "linear probe", "knn20": "kNN k=20"}
DASH = "–"
_LOG_WIDTH = 150


def columns(table: Table) -> list[str]:
    """The titles of a table's columns."""
    return ["setting", "ours", "paper", "ours less baseline", "paper's", *map(_metric, table.metrics), "verdict"]


def _metric(name: str) -> str:
    return name.replace("_", " ")


def cells(table: Table, row: Row) -> list[str]:
    """A row's cells, under `columns`."""
    setting = row.setting
    name = setting.name + (" (baseline)" if setting.baseline else "")
    paper = DASH if setting.paper is None else f"{setting.paper:g}"
    if not (row.applies and row.run):
        why = "not run" if row.applies else "not applicable"
        return [name, why, paper, DASH, _papers(row), *("" for _ in table.metrics), ""]
    ours = DASH if row.mean is None else f"{row.mean:.1f}" + ("" if row.spread is None else f" ± {row.spread:.1f}")
    notes = [f"{count} x {mode}" for mode, count in row.collapsed.items()]
    notes += [f"{row.failed} x not finite"] if row.failed else []
    change = DASH
    if row.change is not None:
        change = _signed(row.change)
        if row.low is not None and row.high is not None and math.isfinite(row.low):
            change += f" [{row.low:+.1f}, {row.high:+.1f}]"
    told = [DASH if name not in row.last else f"{row.last[name]:.3g}" for name in table.metrics]
    judged = "; ".join(part for part in (row.verdict, *notes) if part)
    return [name, ours, paper, change, _papers(row), *told, judged]


def _papers(row: Row) -> str:
    if row.paper_change is None and row.setting.paper_sign:
        return "worse" if row.setting.paper_sign < 0 else "better"
    return _signed(row.paper_change)


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.1f}"


def rank_sentence(rank: Rank) -> str:
    """ρ and its interval, in words."""
    of = f" of {rank.group}" if rank.group else ""
    return (
        f"Spearman's ρ{of} with the paper's column: {rank.rho:.2f} (95 % interval {rank.low:.2f} to {rank.high:.2f} over "
        f"{rank.rows} rows)."
    )


def best_sentence(found: Best) -> str:
    """The rank of the paper's best row here, in words."""
    return (
        f"The paper's best row, {found.papers.setting.name}, is number {found.place} of {found.of} here, {found.ahead:+.1f} "
        f"[{found.low:+.1f}, {found.high:+.1f}] compared with {found.other.setting.name} over {found.pairs} seeds."
    )


def sentences(table: Table, rows: Sequence[Row]) -> list[str]:
    """The sentences below a table: ρ of each of its columns, and for a matrix the rank of the paper's best row."""
    found = best(rows) if table.figure == "heatmap" else None
    return [*map(rank_sentence, ranks(rows)), *([] if found is None else [best_sentence(found)])]


def measured(rows: Sequence[Row]) -> str:
    """The measure of these rows' figures, which is the same for all."""
    return " and ".join(dict.fromkeys(_MEASURES[row.setting.measure] for row in rows))


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by their group, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.setting.group, []).append(row)
    return found


def context(summary: Mapping[str, Any], scale_rows: Sequence[Row]) -> str:
    """The accuracies of raw pixels and of the untrained network, from the baselines' runs; empty if no run has them."""
    told = []
    for measure, title in _MEASURES.items():
        if not any(row.setting.measure == measure for row in scale_rows):
            continue
        for features, name in (("raw_pixels", "raw pixels"), ("untrained", "the untrained network")):
            values = [
                100 * run[features][measure]
                for alike in summary["runs"].values()
                for run in alike.values()
                if features in run
            ]
            if values:
                told.append(f"{name} {sum(values) / len(values):.1f} % ({title})")
    return "; ".join(told)


def print_table(table: Table, scale: str, summary: Mapping[str, Any]) -> None:
    """The table for the terminal, with a part for each group, and ρ below it."""
    rows = analyse(table, scale, summary["runs"])
    for group, own in groups(rows).items():
        printed = Printed(title=f"{table.title}{f', {group}' if group else ''}: {measured(own)}, % ({scale})")
        for title in columns(table):
            printed.add_column(title, justify="left" if title in ("setting", "verdict") else "right")
        for row in own:
            printed.add_row(*cells(table, row))
        print_wide(printed)
    for sentence in sentences(table, rows):
        terminal.say(sentence)
    if told := context(summary, rows):
        terminal.say(f"For comparison: {told}.")
    terminal.say(f"Its runs took {cost(summary):,.0f} s, one after another, on {summary['device']}.")


def print_wide(printed: Printed) -> None:
    """Print a table on the terminal, or wide in a log, which has no width; folded to 80 columns it would be unreadable."""
    wide = terminal.console if terminal.console.is_terminal else Console(width=_LOG_WIDTH, highlight=False)
    wide.print(printed)


def cost(summary: Mapping[str, Any]) -> float:
    """Total seconds of the runs of a table."""
    return sum(run.get("seconds", 0.0) for alike in summary["runs"].values() for run in alike.values())
