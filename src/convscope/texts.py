"""Words of messages: text from outside made fit to be shown, lists of names, counts of things."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What spreadsheets take for the start of a formula, also behind ' that `as_cell` wrote; and what they do not.
_FORMULA = re.compile("'*[=+\\-@\t\r\n]")
_NEGATIVE = re.compile(r"-\d+(\.\d+)?")
# Characters that move the cursor, start a line, or turn the writing direction; and what is no character at all.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"  # last: bytes of no text
)


def printable(text: str) -> str:
    r"""The text with control characters escaped, so that it stays on its line and does nothing to a terminal.

    Example:
        >>> print(printable("a\x1b[2J\nb.jpg"))
        a\x1b[2J\nb.jpg
    """
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def as_cell(text: str) -> str:
    """The text for a cell of a CSV file: with ' before what a spreadsheet would run as a formula.

    `from_cell` is the way back for every text.

    Example:
        >>> as_cell("=1+1"), as_cell("-1"), from_cell(as_cell("=1+1"))
        ("'=1+1", '-1', '=1+1')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NEGATIVE.fullmatch(text) else text


def from_cell(cell: str) -> str:
    """The text that `as_cell` made a cell of; other cells as they are."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def counted(n: int, noun: str) -> str:
    """A number of things, with the noun in the singular or the plural.

    Example:
        >>> counted(1, "image"), counted(2, "image")
        ('1 image', '2 images')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(names: Sequence[str], most: int) -> str:
    """The first names of a list, and how many more there are.

    Example:
        >>> listed(["a.jpg", "b.jpg", "c.jpg"], 2)
        'a.jpg, b.jpg and 1 more'
    """
    named = ", ".join(names[:most])
    return f"{named} and {len(names) - most} more" if len(names) > most else named
