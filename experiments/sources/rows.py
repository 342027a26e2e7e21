"""The data of the audit: a source, and a row for each number that it has."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of a source.

    Attributes:
      what: the number's name, a key of `reading.READ`.
      theirs: the source's value.
      where: where the source has it.
      ours: our value where it differs on purpose; without a `why` it is not looked at.
      why: the reason of the difference; empty where there is none.
    """

    what: str
    theirs: Any
    where: str
    ours: Any = None
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """What a recipe follows.

    Attributes:
      text: repository, file and revision, or why there is none.
      reports: what the source reports, and by which protocol.
      rows: its numbers, one a row.
      like: the recipe whose rows these are, where it was made from another.
      changes: of such a recipe, (our value, why) of the rows that it changes, by their names.
    """

    text: str
    reports: str = ""
    rows: tuple[Row, ...] = ()
    like: str = ""
    changes: Mapping[str, tuple[Any, str]] = dataclasses.field(default_factory=dict)


def rows(where: str, values: Mapping[str, Any]) -> tuple[Row, ...]:
    """Rows that stand in one place of the source."""
    return tuple(Row(what, theirs, where) for what, theirs in values.items())


def replaced(known: tuple[Row, ...], *new: Row) -> tuple[Row, ...]:
    """`known` with the rows of the same names replaced in their places."""
    by_name = {row.what: row for row in new}
    assert by_name.keys() <= {row.what for row in known}, by_name.keys() - {row.what for row in known}
    return tuple(by_name.get(row.what, row) for row in known)
