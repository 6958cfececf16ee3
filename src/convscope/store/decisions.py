"""Decisions on images, recorded in their rows: to keep them, to relabel them, or to drop them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
_GIVE = "give paths as `convscope ls` lists them, or as pages show them"


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


def decided(decisions: Mapping[str, tuple[Decision | None, str | None]]) -> pa.Table:
    """The columns of decisions that are made now: of each path, the decision and the label that belongs to it."""
    import pyarrow as pa

    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    rows = [(path, what, label, what and now) for path, (what, label) in decisions.items()]
    columns = zip(*rows, strict=True)
    names = ("path", DECISION, DECIDED_LABEL, DECIDED_AT)
    return pa.table({name: pa.array(c, pa.string()) for name, c in zip(names, columns, strict=True)})


def paths_named(table: LanceTable, names: Sequence[str]) -> dict[str, str]:
    """The path of the row of each name, see `paths_ending`; `ParameterError` if any has no row, or several."""
    found = paths_ending(table, names)
    if unknown := [shown(name) for name, paths in found.items() if not paths]:
        raise ParameterError(f"{table.place} has no row of {listed(unknown, _NAMED)}; {_GIVE}")
    for name, paths in found.items():
        check_one(name, paths)
    return {name: paths[0] for name, paths in found.items()}


def check_one(name: str, paths: Sequence[str]) -> None:
    """`ParameterError` for a name of several paths."""
    if len(paths) > 1:
        raise ParameterError(
            f"{shown(name)}: {len(paths)} rows have paths that end so, {listed([*map(shown, paths)], _NAMED)}; "
            "give more of the path"
        )


def paths_ending(table: LanceTable, names: Sequence[str]) -> dict[str, list[str]]:
    """The paths of each name: that file, or all whose end it is, as pages and maps show names."""
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
    return {name: [path] if path is not None else ends[as_key(name)] for name, path in found.items()}


def _ends_of(path: str) -> Iterator[str]:
    """The ends of a path that start with a folder or the file."""
    at = path.find("/")
    while at >= 0:
        yield path[at + 1 :]
        at = path.find("/", at + 1)
