"""Statistics of a table's runs: means, paired differences with intervals, ranks, and a verdict by one rule."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table, slug

CONFIRMED, CONTRADICTED, UNSEEN = "confirmed", "contradicted", "not seen at this scale"
FEW = "too few seeds to say"
# Two differences can agree to the last test image by chance; their interval would then be a single point.
_FEWEST = 3
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Row:
    """A setting and its results; figures are in per cent, and None if there is no value.

    Attributes:
      setting: the row of the table.
      values: one value for each seed that finished with finite numbers.
      seeds: those seeds.
      mean: mean over seeds.
      spread: standard deviation over seeds.
      change: mean paired difference from the baseline over seeds.
      low, high: its 95 % interval (Student's t over seeds).
      paper_change: the paper's difference from its baseline.
      verdict: verdict by the rule of `verdict`; empty if the paper gives no difference.
      failed: seeds with a non-finite loss.
      collapsed: modes of collapse from the watch's alarms, with their counts.
      last: the last values of the table's metrics, mean over seeds.
      applies: whether the setting is meaningful at this scale.
      run: whether there is a run of it.
    """

    setting: Setting
    values: tuple[float, ...] = ()
    seeds: tuple[str, ...] = ()
    mean: float | None = None
    spread: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    paper_change: float | None = None
    verdict: str = ""
    failed: int = 0
    collapsed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    last: Mapping[str, float] = dataclasses.field(default_factory=dict)
    applies: bool = True
    run: bool = True


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean difference, by Student's t; unbounded for fewer than two differences."""
    if len(differences) < 2:
        return -math.inf, math.inf
    half = stats.t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / len(differences) ** 0.5
    mean = statistics.mean(differences)
    return mean - half, mean + half


def verdict(low: float, high: float, paper_change: float | None) -> str:
    """The rule: confirmed if the interval of the difference excludes 0 with the paper's sign, contradicted with the opposite
    sign, otherwise not seen at this scale; empty if the paper has no difference."""
    if not paper_change:
        return ""
    if low <= 0 <= high:
        return UNSEEN
    return CONFIRMED if (low > 0) == (paper_change > 0) else CONTRADICTED


def analyse(table: Table, scale: str, runs: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A row for each setting of a table at a scale; `runs` is the saved data, by the setting's `slug` and the seed."""
    settings = table.settings(scale)
    photographs = SCALES[scale].photographs
    found = {
        s.name + s.group: runs.get(slug(s, SCALES[scale].configs[s.method]))
        for s in settings
        if photographs or not s.photographs
    }
    baselines = {s.group: s for s in settings if s.baseline}

    def own(setting: Setting | None) -> Mapping[str, Any] | None:
        return None if setting is None else found.get(setting.name + setting.group)

    rows = []
    for setting in settings:
        baseline = baselines.get(setting.group)
        if setting.photographs and not photographs:
            rows.append(Row(setting, applies=False))
        elif (runs_of := own(setting)) is None:
            rows.append(Row(setting, run=False))
        else:
            rows.append(_row(table, setting, runs_of, baseline, own(baseline) or {}))
    return rows


def _row(
    table: Table,
    setting: Setting,
    own: Mapping[str, Any],
    baseline: Setting | None,
    baselines: Mapping[str, Any],
) -> Row:
    values = _values(setting, own)
    collapsed: dict[str, int] = {}
    for run in own.values():
        if run.get("collapse") and setting.features != "untrained":
            collapsed[run["collapse"]] = collapsed.get(run["collapse"], 0) + 1
    lasts = [run.get("last", {}) for run in own.values()]
    last = {
        name: statistics.mean(found)
        for name in table.metrics
        if (found := [line[name] for line in lasts if line.get(name) is not None])
    }
    row = Row(
        setting,
        values=tuple(values.values()),
        seeds=tuple(values),
        mean=statistics.mean(values.values()) if values else None,
        spread=statistics.stdev(values.values()) if len(values) > 1 else None,
        failed=sum("non_finite" in run for run in own.values()),
        collapsed=collapsed,
        last=last if setting.features != "untrained" else {},
    )
    if baseline is None or baseline is setting:
        return row
    told = setting.paper_change
    if told is None and setting.paper is not None and baseline.paper is not None:
        told = round(setting.paper - baseline.paper, 6)
    others = _values(baseline, baselines)
    differences = [values[seed] - others[seed] for seed in values if seed in others]
    if not differences:
        return dataclasses.replace(row, paper_change=told)
    low, high = interval(differences)
    sign = setting.paper_sign if told is None else told
    judged = verdict(low, high, sign)
    return dataclasses.replace(
        row,
        change=statistics.mean(differences),
        low=low,
        high=high,
        paper_change=told,
        verdict=FEW if judged and len(differences) < _FEWEST else judged,
    )


def _values(setting: Setting, own: Mapping[str, Any]) -> dict[str, float]:
    """The measured figure of each seed in per cent."""
    return {
        seed: 100 * run[setting.features][setting.measure]
        for seed, run in sorted(own.items())
        if setting.features in run
    }


@dataclasses.dataclass(frozen=True)
class Rank:
    """Spearman's ρ of a group's column with the paper's, and its 95 % interval over resampled rows."""

    group: str
    rho: float
    low: float
    high: float
    rows: int


def ranks(rows: Sequence[Row]) -> list[Rank]:
    """ρ of each group of at least four rows that have both figures.

    The interval is a bootstrap over the rows with a fixed seed, so that the page is reproducible.
    """
    found = []
    for group in dict.fromkeys(row.setting.group for row in rows):
        pairs = [
            (row.mean, row.setting.paper)
            for row in rows
            if row.setting.group == group and row.mean is not None and row.setting.paper is not None
        ]
        if len(pairs) < 4 or min(len({a for a, _ in pairs}), len({b for _, b in pairs})) < 2:
            continue
        ours, paper = (np.array(column) for column in zip(*pairs, strict=True))
        draws = np.random.default_rng(0).integers(len(pairs), size=(_RESAMPLES, len(pairs)))
        with np.errstate(invalid="ignore"):
            resampled = _spearman(ours[draws], paper[draws])
        # The correlation of a draw with equal values is undefined.
        resampled = resampled[np.isfinite(resampled)]
        low, high = np.quantile(resampled, [0.025, 0.975])
        rho = float(_spearman(ours, paper))
        found.append(Rank(group, rho, float(low), float(high), len(pairs)))
    return found


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's ρ over the last axis, as Pearson's ρ of the ranks; scipy's function takes only one pair of columns."""
    a, b = (stats.rankdata(x, axis=-1) for x in (a, b))
    a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


@dataclasses.dataclass(frozen=True)
class Best:
    """The paper's best row and its rank here: its place, and its lead over the best other row.

    Attributes:
      papers: the paper's best row.
      place: its place among our rows, from 1.
      of: number of rows that were run.
      other: the best of the other rows here.
      ahead: mean paired difference of the two over seeds; negative if the other row is better.
      low, high: its 95 % interval.
      pairs: number of seeds that both have.
    """

    papers: Row
    place: int
    of: int
    other: Row
    ahead: float
    low: float
    high: float
    pairs: int


def best(rows: Sequence[Row]) -> Best | None:
    """Compare the paper's best row with the others here; None if it was not run, or no other row was."""
    papers = max((row for row in rows if row.setting.paper is not None), key=lambda row: row.setting.paper or 0)
    ranked = sorted((row for row in rows if row.mean is not None), key=lambda row: -(row.mean or 0))
    others = [row for row in ranked if row is not papers]
    if papers.mean is None or not others:
        return None
    other = others[0]
    theirs = dict(zip(other.seeds, other.values, strict=True))
    differences = [
        value - theirs[seed] for seed, value in zip(papers.seeds, papers.values, strict=True) if seed in theirs
    ]
    if not differences:
        return None
    low, high = interval(differences)
    place = 1 + ranked.index(papers)
    return Best(papers, place, len(ranked), other, statistics.mean(differences), low, high, len(differences))
