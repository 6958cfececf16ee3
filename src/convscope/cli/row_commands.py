"""Commands that work with the rows of a store: list them, label them, decide on them, write them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from ..checks import Decision, ExportFormat
from ..texts import counted
from .console import LISTED, err, escape, out, print_json, reporting
from .listing import AsCsv, Rows, free_csv, write_csv
from .options import AsJson, Store, Where, check_store

commands = typer.Typer()

_USUAL = ("path", "label", "predicted", "probability", "decision", "decided_label", "decided_at", "error", "gone")
_LABELED = ("path", "label", "predicted", "probability")  # of these, what is listed even where it is empty
_UNSHOWN = ("binary", "fixed_size_list")  # pictures and vectors
Names = Annotated[
    list[str] | None,
    typer.Argument(help="Paths of images in the store, or their ends, as pages show them.", show_default=False),
]


@commands.command(epilog='Example: convscope ls photos.lance --where "predicted != label" --csv out/errors.csv')
@reporting
def ls(
    store: Store,
    where: Where = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns, with commas between them; `all` for all but vectors and pictures."),
    ] = None,
    as_json: AsJson = False,
    csv: AsCsv = None,
) -> None:
    """The rows of a store, also of images that could not be read; the terminal shows the first 20."""
    check_store(store)
    csv = free_csv(csv)
    from convscope import EmbeddingStore

    opened: Any = EmbeddingStore.open(store)
    opened = opened.where(where) if where is not None else opened
    names = _columns(opened, columns)
    n = len(opened)
    if as_json or csv is not None:
        rows = opened.to_arrow(names).to_pylist()
        if csv is not None:
            write_csv(csv, Rows(tuple(names), [tuple(row.values()) for row in rows]))
        if as_json:
            print_json({"store": store, "where": where, "n": n, "rows": rows})
        else:
            out.print(f"{counted(n, 'row')} written to {escape(str(csv))}", highlight=False, soft_wrap=True)
        return
    for line in _aligned(names, _first(opened, names)):
        out.print(line, highlight=False, soft_wrap=True)
    if n > LISTED:
        out.print(f"and {n - LISTED} rows more; --json and --csv list them all", highlight=False)
    out.print(_summed(opened, n), highlight=False, soft_wrap=True)


def _columns(store: Any, typed: str | None) -> list[str]:
    """The columns that were typed; by default the usual ones that say anything."""
    from convscope import ParameterError

    kinds = {each.name: str(each.type) for each in store.schema}
    shown = [name for name, kind in kinds.items() if not kind.startswith(_UNSHOWN)]
    if typed is None:
        return [
            name for name in _USUAL if name in shown and (name in _LABELED or store.count(f"{name} IS NOT NULL"))
        ]
    if typed.strip() == "all":
        return shown
    names = list(dict.fromkeys(name.strip() for name in typed.split(",") if name.strip()))
    if not names or (unknown := [name for name in names if name not in shown]):
        wrong = unknown[0] if names else typed
        raise ParameterError(f"columns={wrong!r}: expected some of {', '.join(shown)}, or all")
    return names


def _first(store: Any, names: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for batch in store.batches(names):
        found += batch.slice(0, LISTED - len(found)).to_pylist()
        if len(found) == LISTED:
            break
    return found


def _aligned(names: list[str], rows: list[dict[str, Any]]) -> list[str]:
    """A line for each row, with the path last, as a long one must stay whole to be copied."""
    order = [*(name for name in names if name != "path"), *(["path"] if "path" in names else [])]
    cells = [order, *([escape(_cell(row[name])) for name in order] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _summed(store: Any, n: int) -> str:
    """How many rows there are, and of which kinds."""
    counts = {"without a vector": store.count("error IS NOT NULL")}
    if "gone" in store.schema.names:
        counts["whose file is gone"] = store.count("gone")
    if "decision" in store.schema.names:
        for decision in get_args(Decision):
            counts[f"to {decision}"] = store.count(f"decision = '{decision}'")
    return ", ".join([counted(n, "row"), *(f"{count} {what}" for what, count in counts.items() if count)])


@commands.command(epilog="Example: convscope set-label photos.lance photos/1.jpg photos/2.jpg cat")
@reporting
def set_label(
    store: Store,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAMES]... LABEL", help="Paths of images, and last their label."),
    ] = None,
    where: Where = None,
    table: Annotated[
        Path | None,
        typer.Option(help="A CSV or Parquet file with columns path and label, in place of names and a label."),
    ] = None,
) -> None:
    """Give rows another label; the files stay where they are, and a later `embed` keeps the label."""
    check_store(store)
    from convscope import EmbeddingStore

    opened = EmbeddingStore.open(store)
    if table is not None:
        if words or where:
            raise typer.BadParameter("--table has names and labels; leave NAMES, LABEL and --where out")
        n = opened.set_labels(_stated(table))
    elif not words:
        raise typer.BadParameter("give names and last a label, or a label and --where, or --table")
    else:
        *named, label = words
        n = opened.set_labels(dict.fromkeys(_chosen(opened, named, where), label))
    out.print(f"{counted(n, 'row')} labeled", highlight=False)


def _stated(table: Path) -> dict[str, str | None]:
    """The labels that a table states, by path."""
    from convscope import ParameterError
    from convscope.tables import read_table

    listing = read_table(table)
    if not listing.says_label:
        raise ParameterError(f"{table}: has no column label")
    return {str(path): label for path, label in listing.rows}


@commands.command(epilog="Example: convscope decide photos.lance photos/1.jpg --relabel cat")
@reporting
def decide(
    store: Store,
    names: Names = None,
    drop: Annotated[bool, typer.Option("--drop", help="Leave these images out of every export.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Nothing is wrong with them.")] = False,
    relabel: Annotated[str | None, typer.Option(help="Their label in every export.", show_default=False)] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the decision on them back.")] = False,
    where: Where = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file, such as one that --csv wrote, with a column decision (keep, relabel, drop), and for "
            "relabel the new label in column label; or any, with --drop, --keep or --relabel for all its rows. "
            "With a table of duplicates, --drop spares those in its column keep.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Record what is to become of images, with the time; `ls` shows it, and only `export` acts on it."""
    check_store(store)
    told: dict[Decision | None, bool] = {"drop": drop, "keep": keep, "relabel": relabel is not None, None: undo}
    if table is not None:
        if names or where or undo:
            raise typer.BadParameter("--table names the images; leave NAMES and --where out, and --undo")
        _decide_table(store, table, [one for one, is_told in told.items() if is_told], relabel)
        return
    if sum(told.values()) != 1:
        raise typer.BadParameter("give one of --drop, --keep, --relabel LABEL and --undo")
    (decision,) = (one for one, is_told in told.items() if is_told)
    from convscope import EmbeddingStore

    opened = EmbeddingStore.open(store)
    n = opened.decide(_chosen(opened, names or [], where), decision, label=relabel)
    out.print(f"{counted(n, 'row')}: {'no decision' if decision is None else decision}", highlight=False)


def _decide_table(store: str, table: Path, told: list[Decision | None], label: str | None) -> None:
    """Record what a table states, or one decision on all of its rows."""
    if len(told) > 1:
        raise typer.BadParameter("give one of --drop, --keep and --relabel LABEL, or none with a column decision")
    from convscope import EmbeddingStore

    found = EmbeddingStore.open(store).decide_table(table, told[0] if told else None, label=label)
    counts = ", ".join(f"{n} {decision}" for decision, n in sorted(found.items()))
    out.print(f"{counted(sum(found.values()), 'row')}: {counts}", highlight=False)


def _chosen(store: Any, names: list[str], where: str | None) -> list[str]:
    """The paths that were typed, or those of the rows for which a condition holds."""
    from convscope import ParameterError

    if bool(names) == (where is not None):
        raise typer.BadParameter("give names of images, or --where")
    if where is None:
        return names
    found: list[str] = store.where(where).to_arrow(["path"])["path"].to_pylist()
    if not found:
        raise ParameterError(f"where={where!r}: holds for no row")
    return found


@commands.command(epilog="Example: convscope export photos.lance out/cleaned --format imagefolder")
@reporting
def export(
    store: Store,
    output: Annotated[Path, typer.Argument(help="New file, or new folder of links and labels.")],
    format: Annotated[
        ExportFormat,
        typer.Option(help="A file (csv, parquet), or a folder with links to the images (the others)."),
    ] = "csv",
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Write the images of a store for other programs, with the decisions on them carried out."""
    check_store(store)
    from dataclasses import asdict

    from convscope import EmbeddingStore
    from convscope import export as write

    opened: Any = EmbeddingStore.open(store)
    found = write(opened if where is None else opened.where(where), output, format=format)
    if as_json:
        print_json(asdict(found))
        return
    done = f"{counted(found.n_images, 'image')} written to {escape(str(output))}"
    counts = {"dropped": found.n_dropped, "relabeled": found.n_relabeled}
    told = [f"{n} {what}" for what, n in counts.items() if n]
    out.print(", ".join([done, *told]), highlight=False, soft_wrap=True)
    for why, n in found.left_out.items():
        err.print(f"left out: {n} {why}", highlight=False)
    for label, folder in found.folders.items():
        err.print(f"note: the label {escape(repr(label))} has the folder {escape(folder)}", highlight=False)
