"""Tables of plain text, which results show as their repr."""

from __future__ import annotations

import numpy as np

from ..texts import printable


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """A table as lines: the first column aligned left, the others right."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    return [
        "  "
        + "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def margin_cell(mean: float, margin: float) -> str:
    """ "0.123 ± 0.045"; without a margin the mean alone, without a mean a dash."""
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if np.isnan(margin) else f"{mean:.3f} ± {margin:.3f}"


def seconds_cell(seconds: float) -> str:
    """Seconds with two decimals, or a dash."""
    return "–" if np.isnan(seconds) else f"{seconds:.2f}"
