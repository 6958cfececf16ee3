"""What a network consists of, what was found out about it, and which methods fit it."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..arguments import checks_arguments
from ..texts import counted, printable
from .base import Array, Result

_WIDTH = 80  # columns of a terminal
_NAME = 30  # the longest name of a layer that is shown whole
_FIRST, _LAST = 8, 8  # layers of a long network that are shown
_HEADINGS = ("layer", "kind", "output", "params", "MACs", "field")


class LayerRow(NamedTuple):
    """A layer in a `Summary`; see there."""

    name: str
    kind: str
    shape: tuple[int, ...]
    n_parameters: int
    n_macs: int
    receptive_field: tuple[int, ...] | None


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Summary(Result):
    """A network in words and numbers: its L layers in running order, what was detected, and which methods fit.

    A layer is a call of a module that computes something itself; containers are left out. ``names`` (L,) are the
    names of `Model.layers`, ``kinds`` (L,) the classes of the modules, and ``shapes`` (L,) their outputs for one
    image, without the dimension of the batch. ``parameters`` (L,) int64 counts a shared one where it is first
    used. ``macs`` (L,) int64 are the multiplications with an addition of convolutions, matrix products and
    attention for one image. ``receptive_fields`` (L,): (height, width) in pixels; None for the whole image, or
    where it is not known.

    ``n_parameters`` and ``n_macs`` are those of the whole network; ``uncounted`` names operations whose
    multiplications are not in them. ``detected`` are pairs of a property and what was found. ``fits``: the methods
    that can run, each with a remark or "". ``does_not_fit``: the other methods, each with the reason.
    """

    has_picture: ClassVar[bool] = False

    network: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    parameters: Array
    macs: Array
    receptive_fields: tuple[tuple[int, ...] | None, ...]
    n_parameters: int
    n_macs: int
    uncounted: tuple[str, ...]
    detected: tuple[tuple[str, str], ...]
    fits: tuple[tuple[str, str], ...]
    does_not_fit: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def rows(self) -> list[LayerRow]:
        """The layers, one after another."""
        parameters, macs = self.parameters.tolist(), self.macs.tolist()
        columns = (self.names, self.kinds, self.shapes, parameters, macs, self.receptive_fields)
        return [LayerRow(*row) for row in zip(*columns, strict=True)]

    @property
    def _totals(self) -> str:
        return f"{self.n_parameters:,} parameters, {_short(self.n_macs)} multiply-adds (MACs) for one input"

    @checks_arguments
    def text(self, *, every: bool = False) -> str:
        """The summary for a terminal of 80 columns; ``every`` layer, or the first and the last of many."""
        layers = _table(self.rows, every) if len(self) else ("none of its layers is visible",)
        lines = [printable(self.network), self._totals, "", *layers, ""]
        if self.uncounted:
            lines += [*_wrapped("not in MACs", ", ".join(self.uncounted), 12), ""]
        width = max((len(name) for name, _ in self.detected), default=0)
        lines += [line for name, value in self.detected for line in _wrapped(name, value, width)]
        lines += ["", *_listed("methods that fit", self.fits)]
        lines += _listed("methods that do not fit", self.does_not_fit)
        return "\n".join(lines).rstrip()

    def __repr__(self) -> str:
        return f"{self.text()}\n\n{self.provenance.caption}"

    def _repr_html_(self) -> str:
        uncounted = (("not in MACs", ", ".join(self.uncounted)),) if self.uncounted else ()
        facts = "".join(_html_row(fact, "td") for fact in (*self.detected, *uncounted))
        rows = [_html_row(_HEADINGS, "th"), *(_html_row(_cells(row), "td") for row in self.rows)]
        layers = (
            f"<details><summary>{counted(len(self), 'layer')}</summary>"
            f'<div style="overflow-x:auto"><table>{"".join(rows)}</table></div></details>'
        )
        return (
            f"<p><b>{html.escape(printable(self.network))}</b>: {self._totals}</p><table>{facts}</table>"
            f"{_html_list('Methods that fit', self.fits)}"
            f"{_html_list('Methods that do not fit', self.does_not_fit)}"
            f"{layers if len(self) else '<p>None of its layers is visible.</p>'}"
        )


def _cells(row: LayerRow) -> tuple[str, ...]:
    field = "all" if row.receptive_field is None else "x".join(map(str, row.receptive_field))
    shape = "x".join(map(str, row.shape)) or "1"
    return (row.name, row.kind, shape, f"{row.n_parameters:,}", _short(row.n_macs), field)


def _table(rows: Sequence[LayerRow], every: bool) -> Iterator[str]:
    """The layers as lines: words aligned left, numbers right."""
    n_hidden = 0 if every else max(0, len(rows) - _FIRST - _LAST)
    n_hidden = n_hidden if n_hidden > 1 else 0
    shown = [*rows[:_FIRST], *rows[_FIRST + n_hidden :]] if n_hidden else rows
    cells = [_HEADINGS, *(_cells(row) for row in shown)]
    table = [
        tuple(_shortened(printable(cell), _NAME if at == 0 else 20) for at, cell in enumerate(row))
        for row in cells
    ]
    widths = [max(len(row[at]) for row in table) for at in range(len(_HEADINGS))]
    # What is too wide for the terminal is taken from the names.
    widths[0] = max(12, min(widths[0], _WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    for n, row in enumerate(table):
        if n_hidden and n == 1 + _FIRST:
            yield f"... {n_hidden} more; summary.text(every=True) shows them"
        left = (_shortened(row[0], widths[0]).ljust(widths[0]), row[1].ljust(widths[1]), row[2].ljust(widths[2]))
        yield "  ".join([*left, *(cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True))])


def _shortened(text: str, most: int) -> str:
    """The end of a long text, which tells more than its beginning in a name such as features.3.block.0.1."""
    return text if len(text) <= most else f"...{text[-(most - 3) :]}"


def _short(n: int) -> str:
    """A count in four characters or so.

    Example:
        >>> [_short(n) for n in (0, 950, 1234, 98_765, 4_089_184_256)]
        ['0', '950', '1.23k', '98.8k', '4.09G']
    """
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return str(n)


def _wrapped(name: str, value: str, width: int) -> list[str]:
    """A property and its value, which goes on below itself."""
    blank = " " * (width + 2)
    text = printable(value)
    first = f"{name.ljust(width)}  "
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=blank, break_on_hyphens=False) or [
        name
    ]


def _by_reason(verdicts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """The methods that have one and the same remark, in the order of the first of each."""
    for reason in dict.fromkeys(reason for _, reason in verdicts):
        yield reason, [name for name, other in verdicts if other == reason]


def _listed(heading: str, verdicts: Sequence[tuple[str, str]]) -> Iterator[str]:
    if not verdicts:
        return
    yield heading
    for reason, names in _by_reason(verdicts):
        text = _in_line(reason, names)
        yield from textwrap.wrap(
            text, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )


def _in_line(reason: str, names: Sequence[str]) -> str:
    return printable(f"{', '.join(names)}{f': {reason}' if reason else ''}")


def _html_row(cells: Sequence[str], tag: str) -> str:
    """A row of a table; notebooks would align it right, and in the middle of its height."""
    style = 'style="text-align:left;vertical-align:top"'
    return f"<tr>{''.join(f'<{tag} {style}>{html.escape(printable(cell))}</{tag}>' for cell in cells)}</tr>"


def _html_list(heading: str, verdicts: Sequence[tuple[str, str]]) -> str:
    if not verdicts:
        return ""
    items = "".join(f"<li>{html.escape(_in_line(reason, names))}</li>" for reason, names in _by_reason(verdicts))
    return f"<p><b>{heading}</b></p><ul>{items}</ul>"
