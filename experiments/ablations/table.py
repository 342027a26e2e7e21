"""The definition of an ablation: a table of settings, each with changes of a base configuration and the paper's value."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sslax.config import Config

Features = Literal["pretrained", "projection", "untrained"]
"""The features to evaluate: the trained backbone's, its head's outputs, or the untrained backbone's."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of a table.

    Attributes:
      name: the name in the paper.
      changes: changed fields of the base configuration, by flag name ("method.temperature"), and their values.
      paper: the paper's figure, in per cent; None if it has none.
      paper_change: the paper's figure minus its baseline's, if the paper gives only the difference.
      paper_sign: -1 or 1 if the paper only says that the row is worse or better.
      method: the method of the base configuration.
      group: rows of a group share one baseline and one Spearman's ρ.
      baseline: whether this row is the baseline of its group.
      measure: "linear" or "knn20".
      features: the features to evaluate.
      photographs: whether the row needs colours or objects, and does not apply to gray digits.
      at: the row's position in a figure with axes, (x,) or (x, y).
    """

    name: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paper: float | None = None
    paper_change: float | None = None
    paper_sign: Literal[-1, 0, 1] = 0
    method: str = "simclr"
    group: str = ""
    baseline: bool = False
    measure: Literal["linear", "knn20"] = "linear"
    features: Features = "pretrained"
    photographs: bool = False
    at: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """One of a paper's tables.

    Attributes:
      name: name of the module and of the saved files.
      title: a short title.
      source: paper, table or figure, network and data.
      claim: the paper's conclusion, in a sentence or two.
      settings: scale -> the rows at that scale.
      seeds: default number of runs per row.
      figure: kind of figure: "dots" for rows with intervals, "lines" over x for each group, "heatmap" of pairs, "curves" over
        training steps.
      x: label of the x axis of "lines", or of the columns of "heatmap".
      y: label of the rows of "heatmap".
      metrics: names of the runs' metrics with last values that the table shows.
      curves: names of the runs' metrics that are stored step by step and drawn.
      discussion: discussion of the results, by scale; without figures, which are in the table.
    """

    name: str
    title: str
    source: str
    claim: str
    settings: Callable[[str], list[Setting]]
    seeds: int = 3
    figure: Literal["dots", "lines", "heatmap", "curves"] = "dots"
    x: str = ""
    y: str = ""
    metrics: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    discussion: Mapping[str, str] = dataclasses.field(default_factory=dict)


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """`config` with the fields in `changes` replaced; an unknown field raises TypeError."""
    for name, value in changes.items():
        config = _replaced(config, name.split("."), value)
    return config


def _replaced(part: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return dataclasses.replace(part, **{first: _replaced(getattr(part, first), rest, value) if rest else value})


def slug(setting: Setting, base: Config) -> str:
    """The folder name of a setting's runs; settings with equal training have the same name, as unchanged fields are omitted."""

    def plain(value: Any) -> str:
        return "-".join(map(plain, value)) if isinstance(value, tuple) else str(value)

    told = [
        f"{name}={plain(value)}"
        for name, value in sorted(setting.changes.items())
        if changed(base, {name: value}) != base
    ]
    return "/".join([setting.method, ",".join(told) or "base"])


def flags(setting: Setting) -> str:
    """The changes as command-line flags."""

    def plain(value: Any) -> str:
        return " ".join(map(plain, value)) if isinstance(value, tuple) else str(value)

    def flag(name: str, value: Any) -> str:
        words = name.replace("_", "-")
        if isinstance(value, bool):
            room, _, field = words.rpartition(".")
            return f"--{words}" if value else f"--{room}.no-{field}" if room else f"--no-{field}"
        return f"--{words} {plain(value)}"

    return " ".join(flag(name, value) for name, value in setting.changes.items())
