"""Decisions on images, recorded in their rows: to keep them, to relabel them, or to drop them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        raise unfit(label, "label", "a text in UTF-8 that is not blank, or None")


def decided(paths: Sequence[str], decision: Decision | None, label: str | None) -> pa.Table:
    """The columns of a decision that is made now, by path."""
    import pyarrow as pa

    now = None if decision is None else datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    columns = {DECISION: decision, DECIDED_LABEL: label, DECIDED_AT: now}
    values = {name: pa.array([value] * len(paths), pa.string()) for name, value in columns.items()}
    return pa.table({"path": pa.array(paths, pa.string()), **values})


def paths_named(table: LanceTable, names: Sequence[str]) -> dict[str, str]:
    """The path of the row of each name: a file, or the end of one path in the store, as pages and maps show names.

    `ParameterError` if any has no row, or several.
    """
    wanted = {name: (key_of(name), as_key(name)) for name in names}
    known: set[str] = set()
    for part in in_parts(sorted({key for keys in wanted.values() for key in keys})):
        known.update(table.to_arrow(["path"], is_one_of("path", part))["path"].to_pylist())
    found = {name: next((key for key in keys if key in known), None) for name, keys in wanted.items()}
    ends = {as_key(name): list[str]() for name, path in found.items() if path is None}
    if ends:
        for path in table.to_arrow(["path"])["path"].to_pylist():
            for end in _ends_of(path):
                if end in ends:
                    ends[end].append(path)
    if unknown := [shown(name) for name, paths in ends.items() if not paths]:
        raise ParameterError(
            f"{table.place} has no row of {listed(unknown, _NAMED)}; give paths as `convscope ls` lists them, or "
            "as pages show them"
        )
    if unclear := [name for name, paths in ends.items() if len(paths) > 1]:
        paths = [shown(path) for path in ends[unclear[0]]]
        raise ParameterError(
            f"{shown(unclear[0])}: {len(paths)} rows have paths that end so, {listed(paths, _NAMED)}; give more "
            "of the path"
        )
    return {name: path if path is not None else ends[as_key(name)][0] for name, path in found.items()}


def _ends_of(path: str) -> Iterator[str]:
    """The ends of a path that start with a folder or the file."""
    at = path.find("/")
    while at >= 0:
        yield path[at + 1 :]
        at = path.find("/", at + 1)
