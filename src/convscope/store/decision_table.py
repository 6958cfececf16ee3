"""Decisions that a table states, checked row by row before any is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias, get_args

from ..checks import Decision, choices_in_words, shown
from ..errors import ParameterError
from ..tables import read_cells
from .conditions import in_parts, is_one_of
from .decisions import DECISION, check_label, check_one, paths_ending
from .lance_table import LanceTable

_PAIRED, _KEPT = "other", "keep"  # columns of a table of pairs
Decided: TypeAlias = tuple[Decision, str | None]  # with the label of a relabeling


class _Row(NamedTuple):
    line: int
    name: str
    decided: Decided


def decisions_in(
    store: LanceTable, table: Path, decision: Decision | None, label: str | None
) -> dict[str, Decided]:
    """The decision on each path, by the column ``decision`` or one for all; see `EmbeddingStore.decide_table`."""
    cells = read_cells(table)
    columns = {name for _, row in cells for name in row}
    named = next((column for column in ("path", "name") if column in columns), None)
    if named is None:
        listed = ", ".join(sorted(columns)) or "none"
        raise ParameterError(f"{table}: no column path or name among {listed}; the first line names the columns")
    if decision is None and "decision" not in columns:
        raise ParameterError(f"{table}: no column decision; add one, or give one decision for all rows")
    if _PAIRED in columns:
        rows = [*_of_pairs(store, table, cells, named, decision)]
    elif decision is None:
        rows = [*_of_column(table, cells, named)]
    else:
        _check_empty(table, cells)
        rows = [_Row(line, row.get(named, ""), (decision, label)) for line, row in cells]
    if not rows:
        raise ParameterError(f"{table}: has no decision; fill the column decision of the rows that you decided on")
    return _by_path(store, table, rows, one_for_all=decision is not None)


def _of_column(table: Path, cells: list[tuple[int, dict[str, str]]], named: str) -> Iterator[_Row]:
    """A row for each filled cell of the column ``decision``."""
    choices: dict[str, Decision] = {name: name for name in get_args(Decision)}
    for line, row in cells:
        typed = row.get("decision", "").strip()
        if not typed:
            continue
        if (decision := choices.get(typed.lower())) is None:
            raise ParameterError(
                f"{table}: line {line}: decision={shown(typed)}: expected {choices_in_words(choices)}, or nothing"
            )
        label = row.get("label", "").strip() or None
        if decision == "relabel" and label is None:
            raise ParameterError(
                f"{table}: line {line}: relabel of {shown(row.get(named, ''))} has no label; fill the column label"
            )
        yield _Row(line, row.get(named, ""), (decision, label if decision == "relabel" else None))


def _of_pairs(
    store: LanceTable, table: Path, cells: list[tuple[int, dict[str, str]]], named: str, decision: Decision | None
) -> Iterator[_Row]:
    """A row for each image of a pair that is not to be kept; of pairs of two stores, of the second store alone."""
    if decision != "drop" or not all(_KEPT in row for _, row in cells):
        raise ParameterError(
            f"{table}: lists pairs, which have no decision of their own; give drop for all, which drops all "
            "images but those in the column keep, or a table with one image a row"
        )
    _check_empty(table, cells)
    found = _found(store, [row[name] for _, row in cells for name in (named, _PAIRED, _KEPT)])
    firsts = {row[named] for _, row in cells}
    if any(found[name] for name in firsts):
        sides: tuple[str, ...] = (named, _PAIRED)
        elsewhere: set[str] = set()
    else:
        sides, elsewhere = (_PAIRED,), firsts
    kept: dict[str, int] = {}
    for line, row in cells:
        if not row[_KEPT].strip():
            raise ParameterError(
                f"{table}: line {line}: the column keep is empty; write what to keep, or delete the row"
            )
        if row[_KEPT] not in elsewhere:
            kept.setdefault(_path_of(store, table, line, row[_KEPT], found), line)
    _check_kept(store, table, kept)
    for line, row in cells:
        for name in (row[side] for side in sides):
            if _path_of(store, table, line, name, found) not in kept:
                yield _Row(line, name, (decision, None))


def _check_kept(store: LanceTable, table: Path, kept: dict[str, int]) -> None:
    """`ParameterError` for an image to keep that was dropped before: nothing would be left of its group."""
    if DECISION not in store.schema.names:
        return
    for part in in_parts([*kept]):
        chosen = f"{DECISION} = 'drop' AND {is_one_of('path', part)}"
        for path in sorted(store.to_arrow(["path"], chosen)["path"].to_pylist()):
            raise ParameterError(
                f"{table}: line {kept[path]}: keeps {shown(path)}, which an earlier decision drops; take "
                "that back, or write another image of the group into the column keep"
            )


def _check_empty(table: Path, cells: list[tuple[int, dict[str, str]]]) -> None:
    for line, row in cells:
        if typed := row.get("decision", "").strip():
            raise ParameterError(
                f"{table}: line {line}: decision={shown(typed)}, while one decision is given for all rows; leave "
                "one of them out"
            )


def _by_path(store: LanceTable, table: Path, rows: list[_Row], *, one_for_all: bool) -> dict[str, Decided]:
    """The decisions by the paths that are in the store."""
    found = _found(store, [row.name for row in rows])
    decisions, lines = dict[str, Decided](), dict[str, int]()
    for line, name, decided in rows:
        path = _path_of(store, table, line, name, found)
        try:
            check_label(decided[1])
        except ParameterError as error:
            raise ParameterError(f"{table}: line {line}: {error}") from None
        if decisions.setdefault(path, decided) != decided:
            raise ParameterError(f"{table}: lines {lines[path]} and {line} decide differently on {shown(name)}")
        lines.setdefault(path, line)
    return decisions if one_for_all else _checked(store, table, decisions, lines)


def _found(store: LanceTable, names: list[str]) -> dict[str, list[str]]:
    """The paths of each name, with the blanks around it or else without."""
    found = paths_ending(store, list({each: None for name in names for each in (name, name.strip())}))
    return {name: found[name] or found[name.strip()] for name in names}


def _path_of(store: LanceTable, table: Path, line: int, name: str, found: dict[str, list[str]]) -> str:
    """The one path of a name."""
    if not name.strip():
        raise ParameterError(f"{table}: line {line}: names no image")
    if not found[name]:
        raise ParameterError(f"{table}: line {line}: {store.place} has no row of {shown(name)}")
    try:
        check_one(name, found[name])
    except ParameterError as error:
        raise ParameterError(f"{table}: line {line}: {error}") from None
    return found[name][0]


def _checked(
    store: LanceTable, table: Path, decisions: dict[str, Decided], lines: dict[str, int]
) -> dict[str, Decided]:
    """`ParameterError` for a new label that is the old one, as in a row whose ``label`` was not edited."""
    for part in in_parts([path for path, (what, _) in decisions.items() if what == "relabel"]):
        held = store.to_arrow(["path", "label"], is_one_of("path", part)).to_pylist()
        for path, label in sorted((row["path"], row["label"]) for row in held):
            if label == decisions[path][1]:
                raise ParameterError(
                    f"{table}: line {lines[path]}: relabel of {shown(path)} to {shown(label)}, which is its label "
                    "already; write the new label into the column label"
                )
    return decisions
