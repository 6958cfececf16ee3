"""Results as rows, one for each image, pair or neighbor: what --json prints and --csv writes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import typer

from ..errors import OutputError
from ..outputs import check_output, replace_file
from ..tables import csv_text
from .console import LISTED, escape, out, print_first, print_json

_ALL = "--json and --csv list them all"
AsCsv: TypeAlias = Annotated[
    Path | None, typer.Option("--csv", help="New CSV file for the rows that --json lists.", show_default=False)
]


class Rows(NamedTuple):
    """A table: what the columns are called, and the values of each row."""

    columns: tuple[str, ...]
    values: list[tuple[Any, ...]]

    def as_json(self) -> list[dict[str, Any]]:
        """An object for each row, all with the same keys."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.values]


def rows_of(result: Any) -> Rows:
    """The rows of a result, as plain numbers and texts."""
    return _ROWS[type(result).__name__](result)


def _clusters(result: Any) -> Rows:
    values = zip(result.names, result.labels, result.members.tolist(), strict=True)
    return Rows(("path", "label", "cluster"), list(values))


def _projection(result: Any) -> Rows:
    n_dims = result.coordinates.shape[1]
    axes = tuple("xyz"[:n_dims]) if n_dims <= 3 else tuple(f"x{i + 1}" for i in range(n_dims))
    every = zip(result.names, result.labels, result.coordinates.tolist(), strict=True)
    return Rows(("path", "label", *axes), [(path, label, *place) for path, label, place in every])


def _duplicates(result: Any) -> Rows:
    import numpy as np

    pairs = zip(result.pairs.tolist(), result.scores.tolist(), result.is_copy.tolist(), strict=True)
    names, labels = result.names, result.labels
    group = np.repeat(np.arange(len(result.sizes)), result.sizes).tolist()
    starts = result.starts.tolist()
    values = [
        (names[a], labels[a], names[b], labels[b], score, is_copy, group[a], names[starts[group[a]]])
        for (a, b), score, is_copy in pairs
    ]
    return Rows(("path", "label", "other", "other_label", "score", "is_copy", "group", "keep"), values)


def _suspects(result: Any) -> Rows:
    """All images, the most suspect first; the neighbors of the first of them as one text each."""
    numbers = (result.scores, result.by_neighbors, result.by_linear, result.by_network)
    every = [result.names, result.labels, result.suggested, *(values.tolist() for values in numbers)]
    every += [result.predicted, result.probability.tolist()]
    reasons = result.reasons
    near: list[str | None] = [" | ".join(result.near_names[j] for j in row[:3]) for row in result.near.tolist()]
    reasons += (None,) * (len(result) - len(near))
    near += [None] * (len(result) - len(near))
    values = [(rank, *row) for rank, row in enumerate(zip(*every, reasons, near, strict=True), 1)]
    evidence = ("by_neighbors", "by_linear", "by_network")
    columns = ("path", "label", "suggested", "score", *evidence, "predicted", "probability")
    return Rows(("rank", *columns, "reason", "nearest"), values)


def _neighbors(result: Any) -> Rows:
    labels = result.query_labels or (None,) * len(result.query_names)
    every = zip(result.query_names, labels, result.indices.tolist(), result.scores.tolist(), strict=True)
    values = [
        (path, label, rank, result.names[i], result.labels[i], score)
        for path, label, found, scores in every
        for rank, (i, score) in enumerate(zip(found, scores, strict=True), 1)
    ]
    return Rows(("path", "label", "rank", "other", "other_label", "score"), values)


def _retrieval(result: Any) -> Rows:
    """The worst queries, each with its neighbors."""
    names, labels = result.names, result.labels
    every = zip(result.worst.tolist(), result.worst_neighbors.tolist(), result.worst_shares.tolist(), strict=True)
    values = [
        (names[query], labels[query], share, rank, names[i], labels[i])
        for query, found, share in every
        for rank, i in enumerate(found, 1)
    ]
    return Rows(("path", "label", "share", "rank", "other", "other_label"), values)


def _store_comparison(result: Any) -> Rows:
    """The images, those first whose neighbors changed most, with the labels that either list votes for."""
    classes = (*result.classes, None)  # -1 is none
    order = sorted(range(len(result.queries)), key=lambda q: (float(result.shared[q]), q))
    order = [*result.changed.tolist(), *(q for q in order if q not in set(result.changed.tolist()))]
    values = [
        (result.names[i], result.labels[i], float(result.shared[q]), *(classes[v] for v in result.voted[:, q]))
        for q, i in ((q, int(result.queries[q])) for q in order)
    ]
    return Rows(("path", "label", "shared", "voted_a", "voted_b"), values)


_ROWS: dict[str, Callable[[Any], Rows]] = {
    "Clusters": _clusters,
    "Duplicates": _duplicates,
    "Neighbors": _neighbors,
    "Projection": _projection,
    "Retrieval": _retrieval,
    "StoreComparison": _store_comparison,
    "Suspects": _suspects,
}


# What the rows do not tell: single values, and those of a group or a dimension.
_ABOUT: dict[str, tuple[str, ...]] = {
    "Clusters": ("sizes", "agreement"),
    "Duplicates": ("n_pairs", "n_equal", "n_pictures", "metric", "threshold"),
    "Neighbors": ("metric", "space"),
    "Projection": ("explained_variance_ratio", "trustworthiness", "neighbors_kept"),
    "Retrieval": ("k", "metric"),
    "StoreComparison": (
        *("encoders", "metric", "chance", "jaccard", "cka", "cka_unbiased", "disparity"),
        *("classes", "class_shared", "accuracies", "confusions"),
    ),
    "Suspects": (),
}


def about(result: Any) -> dict[str, Any]:
    """What --json says of a result beside its rows."""
    kind = type(result).__name__
    values = {name: getattr(result, name) for name in _ABOUT[kind]}
    return {"kind": kind} | {name: v.tolist() if hasattr(v, "tolist") else v for name, v in values.items()}


def class_rows(result: Any) -> list[dict[str, Any]]:
    """The classes of a `Retrieval`, with the measures of each in every space."""
    measures = {name: getattr(result, name) for name in ("accuracy", "precision", "average_precision")}
    return [
        {"class": name, "queries": int(result.counts[c])}
        | {
            f"{space}_{measure}": float(values[s, c])
            for measure, values in measures.items()
            for s, space in enumerate(result.spaces)
        }
        for c, name in enumerate(result.classes)
    ]


def free_csv(path: Path | None) -> Path | None:
    """The file for the rows, checked before the long run that fills it: it must not exist yet."""
    if path is not None:
        if os.path.lexists(path):
            raise OutputError(f"{path}: exists already; choose another --csv or remove it")
        check_output(path)
    return path


def tell(result: Any, saved: Path, as_json: bool, csv_file: Path | None, **more: Any) -> bool:
    """Print a result as JSON where --json asks for it, and write its rows where --csv does.

    Returns:
        Whether the result is still to be told in words.
    """
    rows = rows_of(result)
    if as_json:
        told = {"rows": rows.as_json(), "provenance": asdict(result.provenance), "output": str(saved)}
        print_json(about(result) | more | told)
    if csv_file is not None:
        write_csv(csv_file, rows)
        if not as_json:
            out.print(
                f"{len(rows.values)} rows written to {escape(str(csv_file))}", highlight=False, soft_wrap=True
            )
    return not as_json


def print_lines(lines: Sequence[str], what: str) -> None:
    """The first lines of a list."""
    print_first(lines, f"and {{n}} {what} more; {_ALL}", out)


def and_more(n: int, what: str) -> None:
    """What a table on the terminal leaves out."""
    if n > LISTED:
        out.print(f"and {n - LISTED} {what} more; {_ALL}", highlight=False)


def write_csv(path: Path, rows: Rows) -> None:
    """Write rows into a new file, all or nothing; names that are no UTF-8 with backslashes, none a formula."""
    values = ([_plain(value) for value in row] for row in rows.values)
    replace_file(path, [csv_text([rows.columns, *values])])


def _plain(value: Any) -> Any:
    """Nothing for what is no number."""
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
