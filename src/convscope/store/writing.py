"""Writes that are complete or have no effect, whenever the process dies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .conditions import is_one_of
from .schema import padded

if TYPE_CHECKING:
    import pyarrow as pa

Columns: TypeAlias = Mapping[str, Any]  # arrays of values, or None, by the name of a column

_MADE, _REPLACED = "_made_", "_replaced_"  # what columns are called until they are complete, and after


def write_rows(table: Any, rows: pa.Table, *, one_writer: bool) -> None:
    """Add rows, in place of those of the same paths.

    With ``one_writer`` no other process can write meanwhile, so that new rows may be appended in order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    _tidy(table)
    rows = padded(rows, table.schema)
    if one_writer:
        chosen = is_one_of("path", rows["path"].to_pylist())
        here = table.search().where(chosen).select(["path"]).to_arrow()["path"]
        is_here = pc.is_in(rows["path"], value_set=pa.array(here.to_pylist(), pa.string()))
        new, rows = rows.filter(pc.invert(is_here)), rows.filter(is_here)
        if len(new):
            table.add(new, on_bad_vectors="null")
    if len(rows):
        upsert = table.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
        upsert.execute(rows, on_bad_vectors="null")  # of images that could not be read


def set_columns(table: Any, rows: pa.Table) -> None:
    """Set columns by path, new ones among them or not.

    LanceDB adds a column empty and fills it in a second commit. So if any is new, all are made under temporary
    names and renamed in one commit when they are complete.
    """
    _tidy(table)
    known = table.schema.names
    names = [name for name in rows.schema.names if name != "path"]
    old, new = [n for n in names if n in known], [n for n in names if n not in known]
    if not new:
        _merge(table, rows)
        return
    if old:
        table.add_columns({f"{_MADE}{name}": name for name in old})
    table.add_columns([rows.schema.field(name).with_name(f"{_MADE}{name}") for name in new])
    _merge(table, rows.rename_columns([n if n == "path" else f"{_MADE}{n}" for n in rows.schema.names]))
    table.alter_columns(
        *({"path": name, "rename": f"{_REPLACED}{name}"} for name in old),
        *({"path": f"{_MADE}{name}", "rename": name} for name in names),
    )
    _tidy(table)


def with_others_empty(rows: pa.Table, filled: Sequence[str]) -> pa.Table:
    """Values of columns by path, and nulls for those of the ``filled`` paths that are not among them."""
    import pyarrow as pa

    named = set(rows["path"].to_pylist())
    others = {"path": [path for path in filled if path not in named]}
    return pa.concat_tables([rows, padded(pa.table(others, pa.schema([rows.schema.field("path")])), rows.schema)])


def columns_of(names: Sequence[str], columns: Columns, schema: pa.Schema) -> pa.Table:
    """Values by path, to be set; None empties a column that a schema has."""
    import pyarrow as pa

    rows: dict[str, Any] = {"path": pa.array(names)}
    for name, values in columns.items():
        if values is not None:
            rows[name] = pa.array(values)
        elif name in schema.names:
            rows[name] = pa.nulls(len(names), schema.field(name).type)
    return pa.table(rows)


def is_finished(column: str) -> bool:
    """Whether a column is complete, rather than left over from a process that died."""
    return not column.startswith((_MADE, _REPLACED))


def _tidy(table: Any) -> None:
    """Drop columns that another process left unfinished, or this one has replaced."""
    table.checkout_latest()
    left = [name for name in table.schema.names if not is_finished(name)]
    if left:
        table.drop_columns(left)
        table.checkout_latest()


def _merge(table: Any, rows: pa.Table) -> None:
    import pyarrow as pa

    table.checkout_latest()
    given = rows.cast(pa.schema([table.schema.field(name) for name in rows.schema.names]))
    table.merge_insert("path").when_matched_update_all().execute(given)
