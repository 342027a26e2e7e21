"""What an ablation is: a table of settings, each a few changes of a base configuration beside the paper's value."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sslax.config import Config

Features = Literal["pretrained", "projection", "untrained"]
"""Whose features are judged: the trained backbone's, its head's outputs, or the backbone's before training."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of a table.

    Attributes:
      name: as the paper calls it.
      changes: fields of the base configuration, by their flags' names ("method.temperature"), and their values.
      paper: the paper's figure, in per cent; None where it has none.
      paper_change: the paper's figure less its baseline's, where it gives no more than that.
      paper_sign: -1 or 1 where it only says that the row is worse or better.
      method: whose base configuration is changed.
      group: rows of a group have one baseline and one Spearman's ρ.
      baseline: what the other rows of the group are compared with.
      measure: "linear" or "knn20".
      features: whose features are judged.
      photographs: the row needs colours or objects, and does not apply to gray digits.
      at: where the row stands in a figure with axes, (x,) or (x, y).
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
      name: of the module, and of what is saved.
      title: in a few words.
      source: paper, table or figure, network and data.
      claim: what the paper concludes, a sentence or two.
      settings: scale -> the rows at that scale.
      seeds: runs of each row, unless asked for others.
      figure: how it is drawn: "dots" for rows with intervals, "lines" over x for each group, "heatmap" of pairs, "curves" over
        training steps.
      x: what the x axis of "lines" is, or the columns of "heatmap" are.
      y: what the rows of "heatmap" are.
      metrics: names in the runs' metrics whose last values the table shows.
      curves: names in the runs' metrics that are kept step by step and drawn.
      discussion: what is to be said of the results at a scale, by scale; no figures, which stand in the table.
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
    """`config` with the fields that `changes` names replaced; a name that is no field is a TypeError."""
    for name, value in changes.items():
        config = _replaced(config, name.split("."), value)
    return config


def _replaced(part: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return dataclasses.replace(part, **{first: _replaced(getattr(part, first), rest, value) if rest else value})


def slug(setting: Setting, base: Config) -> str:
    """The folder of a setting's runs; settings that train alike, what they do not change left out, have the same."""

    def plain(value: Any) -> str:
        return "-".join(map(plain, value)) if isinstance(value, tuple) else str(value)

    told = [
        f"{name}={plain(value)}"
        for name, value in sorted(setting.changes.items())
        if changed(base, {name: value}) != base
    ]
    return "/".join([setting.method, ",".join(told) or "base"])


def flags(setting: Setting) -> str:
    """The changes as they would be given on the command line."""

    def plain(value: Any) -> str:
        return " ".join(map(plain, value)) if isinstance(value, tuple) else str(value)

    def flag(name: str, value: Any) -> str:
        words = name.replace("_", "-")
        if isinstance(value, bool):
            room, _, field = words.rpartition(".")
            return f"--{words}" if value else f"--{room}.no-{field}" if room else f"--no-{field}"
        return f"--{words} {plain(value)}"

    return " ".join(flag(name, value) for name, value in setting.changes.items())
