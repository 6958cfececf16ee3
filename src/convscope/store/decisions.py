"""Decisions on images, recorded in their rows: to keep them, to relabel them, or to drop them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..checks import Decision, shown, unfit
from ..errors import ParameterError
from ..texts import listed
from .conditions import in_parts, is_one_of
from .keys import as_key, key_of
from .lance_table import LanceTable

if TYPE_CHECKING:
    import pyarrow as pa

DECISION, DECIDED_LABEL, DECIDED_AT = "decision", "decided_label", "decided_at"  # columns, once there is one
_NAMED = 3  # unknown paths that an error lists


def check_decision(decision: Decision | None, label: str | None) -> None:
    """`ParameterError` for a decision that lacks its label, or has one that says nothing."""
    check_label(label)
    if decision == "relabel" and label is None:
        raise unfit(label, "label", "the new label, which belongs to decision='relabel'")
    if decision != "relabel" and label is not None:
        raise ParameterError(f"label={shown(label)}: belongs to decision='relabel'; leave it out")


def check_label(label: str | None) -> None:
    """`ParameterError` for a text that no row can have as its label; None is no label."""
    if label is not None and not (label.strip() and label == as_key(label)):
        raise unfit(label, "label", "a text in UTF-8 that is not blank, or None for no label")


def decided(paths: Sequence[str], decision: Decision | None, label: str | None) -> pa.Table:
    """The columns of a decision that is made now, by path."""
    import pyarrow as pa

    now = None if decision is None else datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    columns = {DECISION: decision, DECIDED_LABEL: label, DECIDED_AT: now}
    values = {name: pa.array([value] * len(paths), pa.string()) for name, value in columns.items()}
    return pa.table({"path": pa.array(paths, pa.string()), **values})


def paths_named(table: LanceTable, names: Sequence[str]) -> dict[str, str]:
    """The path of the row of each name of a file; `ParameterError` if any has no row."""
    wanted = {name: (key_of(name), as_key(name)) for name in names}
    known: set[str] = set()
    for part in in_parts(sorted({key for keys in wanted.values() for key in keys})):
        known.update(table.to_arrow(["path"], is_one_of("path", part))["path"].to_pylist())
    found = {name: next((key for key in keys if key in known), None) for name, keys in wanted.items()}
    if unknown := [shown(name) for name, path in found.items() if path is None]:
        raise ParameterError(
            f"{table.place} has no row of {listed(unknown, _NAMED)}; give paths as `convscope ls` lists them"
        )
    return {name: path for name, path in found.items() if path is not None}
