"""Markdown tables from the lines that the benchmarks print."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Lines = Sequence[Mapping[str, Any]]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with all columns except the first right-aligned."""
    rule = ["---", *("---:" for _ in columns[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows))


def number(value: float | int | None, unit: str = "") -> str:
    """A number with three digits, or all digits of a larger integer; a dash if it was not measured."""
    if value is None:
        return "–"
    whole = isinstance(value, int) or value == 0 or abs(value) >= 100
    text = f"{value:,.0f}" if whole else f"{value:#.3g}"
    return text + unit


def per_cent(share: float | None, digits: int = 0) -> str:
    """A share in per cent; a dash if it was not measured."""
    return "–" if share is None else f"{share:.{digits}%}"


def step_options(line: Mapping[str, Any]) -> str:
    """The memory-saving options of a training step; a dash for none."""
    remat = ["remat"] if line["remat"] else []
    return ", ".join(remat + ([f"accumulate {line['accumulate']}"] if line["accumulate"] > 1 else [])) or "–"


def gflops(line: Mapping[str, Any]) -> str:
    """GFLOP of a training step; XLA's own count, in older lines, is marked."""
    return number(line["gflops"]) + ("" if "flops_from" in line else " (XLA)")


def versions_of(lines: Lines) -> str:
    """The packages and their versions, over all lines."""
    versions: dict[str, set[str]] = {}
    for line in lines:
        for package, version in line["versions"].items():
            versions.setdefault(package, set()).add(version)
    return ", ".join(f"{package} {' and '.join(sorted(found))}" for package, found in sorted(versions.items()))
