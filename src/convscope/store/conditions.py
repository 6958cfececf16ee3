"""Conditions on rows, as SQL writes them: "label = 'cat' AND probability > 0.9"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..checks import shown
from ..errors import ParameterError
from .schema import GONE

_NAMED = 500  # paths in one condition
_BINARY = ("thumbnail", "vector")  # columns that no condition compares
# What LanceDB says of a condition that it does not take.
_UNKNOWN = re.compile(r"No field named \"?(\w+)")
_UNEXPECTED = re.compile(r"sql parser error: Expected: .*, found: (?!EOF|\))(\S+)\)")
_OTHER_TYPE = ("could not convert to literal", "common type", "Cast error")
# It takes no sums over rows, and no counts by its own row numbers.
_FAULTS = ("filter expression", "AggregateFunction", "count_pushdown")


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def is_one_of(column: str, names: Sequence[str]) -> str:
    """A condition: the column holds one of some names."""
    return f"{column} IN ({', '.join(map(quoted, names))})"


def in_parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Names, as many at a time as one condition takes."""
    return (names[first : first + _NAMED] for first in range(0, len(names), _NAMED))


def both(one: str | None, other: str | None) -> str | None:
    """A condition that holds where two do; None holds everywhere."""
    return f"({one}) AND ({other})" if one and other else one or other


def in_use(columns: Sequence[str], where: str | None) -> str:
    """A condition for the rows that take part in answers: they have a vector, and their file is not gone.

    One that names the column ``gone`` decides by itself about rows whose file is gone.
    """
    parts = ["error IS NULL"]  # asked so, as looking for a missing vector reads all of them
    if GONE in columns and not names_gone(where):
        parts.append(f"{GONE} IS NOT TRUE")
    return " AND ".join([*parts, f"({where})"] if where else parts)


def names_gone(where: str | None) -> bool:
    """Whether a condition names the column that says whose file is gone."""
    return re.search(rf"\b{GONE}\b", _without_texts(where or ""), re.IGNORECASE) is not None


def check_condition(where: object) -> None:
    """Raise `ParameterError` for anything but one condition, before LanceDB sees it."""
    if not isinstance(where, str) or not where.strip():
        raise ParameterError(f"where={where!r}: expected a condition like \"label = 'cat'\", or None")
    bare = _without_texts(where)
    if found := re.search(r"--|/\*|[;?$]", bare):  # the last two stand for values, at which LanceDB panics
        raise ParameterError(f"where={shown(where)}: expected one condition, without {found[0]!r}")
    if not _is_closed(bare):
        raise ParameterError(f"where={shown(where)}: the parentheses do not match")


def as_whole(where: str | None) -> str | None:
    """A condition in parentheses; without them LanceDB ignores what follows a mistyped AND."""
    return None if where is None else f"({where})"


def is_at_fault(error: Exception) -> bool:
    """Whether LanceDB failed because of the condition, rather than because of the store."""
    return isinstance(error, ValueError) or any(sign in str(error) for sign in _FAULTS)


def refused(where: str, columns: Sequence[str], error: Exception) -> ParameterError:
    """The error for a condition that LanceDB did not take, in our own words."""
    unknown = _UNKNOWN.search(str(error))
    if unknown:
        trouble = f"there is no column {shown(unknown[1])}"
    elif any(sign in str(error) for sign in _OTHER_TYPE):
        trouble = "a column is compared with a value of another type"
    else:
        found = _UNEXPECTED.search(str(error))
        trouble = f"this cannot be read as a condition{f', at {shown(found[1])}' if found else ''}"
    return ParameterError(
        f"where={shown(where)}: {trouble}. A condition compares columns with values, like "
        "\"label = 'cat' AND probability > 0.9\"; texts stand in single quotes. The columns: "
        f"{', '.join(name for name in columns if name not in _BINARY)}"
    )


def _without_texts(where: str) -> str:
    """A condition without the texts that it compares with."""
    return re.sub(r"'(?:[^']|'')*'", "''", where)


def _is_closed(where: str) -> bool:
    """Whether each parenthesis is opened before it is closed, and closed in the end."""
    depth = 0
    for sign in re.findall(r"[()]", where):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            return False
    return depth == 0
