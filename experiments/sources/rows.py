"""The data of the audit: a source, and a row for each of its numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of a source.

    Attributes:
      what: the number's name, a key of `reading.READ`.
      theirs: the source's value.
      where: its place in the source.
      ours: our value if it differs on purpose; ignored if `why` is empty.
      why: the reason for the difference; empty if the values are equal.
    """

    what: str
    theirs: Any
    where: str
    ours: Any = None
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """The source of a recipe.

    Attributes:
      text: repository, file and revision, or the reason why there is no source.
      reports: the reported result and its protocol.
      rows: its numbers, one per row.
      like: for a recipe that was derived from another, the name of that recipe, which provides the rows.
      changes: for such a recipe, (our value, why) of the rows that it changes, by their names.
    """

    text: str
    reports: str = ""
    rows: tuple[Row, ...] = ()
    like: str = ""
    changes: Mapping[str, tuple[Any, str]] = dataclasses.field(default_factory=dict)


def rows(where: str, values: Mapping[str, Any]) -> tuple[Row, ...]:
    """Rows for values from the same place in the source."""
    return tuple(Row(what, theirs, where) for what, theirs in values.items())


def replaced(known: tuple[Row, ...], *new: Row) -> tuple[Row, ...]:
    """`known`, with rows replaced in place by the new rows of the same names."""
    by_name = {row.what: row for row in new}
    assert by_name.keys() <= {row.what for row in known}, by_name.keys() - {row.what for row in known}
    return tuple(by_name.get(row.what, row) for row in known)
