"""Two stores compared, as a page: two linked maps, and the images on which the two disagree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..outputs import check_output, replace_file
from ..render.colors import class_colors
from ..render.style import ACCENT, PALE, WRONG
from ..results import Array, StoreComparison
from ..store import StoredRows
from ..store.keys import path_of
from ..store.thumbnails import encode
from .collection_view import chunks
from .comparison_views import changed_views, class_views, confusion_views, summary_view
from .map_blocks import map_blocks, script_and_style
from .map_data import Column, MapData, SecondMap, check_map
from .map_page import BYTE_BUDGET
from .short_paths import without_common_folder
from .store_map import larger_pictures
from .templates import template
from .wording import caption

_ONLY_B = "#009e73"  # Okabe and Ito's green, beside the accent for A


def comparison_page(found: StoreComparison, output: Path, stores: Sequence[StoredRows] = ()) -> Path:
    """Write one self-contained HTML file, with names relative to the folder that all images share.

    Args:
        found: the comparison.
        output: path of the HTML file; a page that convscope wrote there is replaced.
        stores: the stores that were compared; they have the pictures of all images. Without them, only images
            that changed and their neighbors have one. Pictures of some are left out where the file would become
            larger than about 100 MB.

    Raises:
        OutputError: the file cannot be written.
    """
    names = without_common_folder(found.names)
    points = _points(found, names, stores)
    check_map(points)
    inputs = [path_of(name) for name in found.names]
    check_output(output, inputs=inputs)
    view = {
        "summary": summary_view(found),
        "changed": changed_views(found, names),
        "classes": class_views(found),
        "confusions": confusion_views(found),
        "blocks": map_blocks(points, BYTE_BUDGET, seed=0),
        "caption": caption(found),
        "chunks": chunks,
    }
    replace_file(output, template("compare.html.jinja").generate(**view, **script_and_style()), inputs=inputs)
    return output


def _points(found: StoreComparison, names: tuple[str, ...], stores: Sequence[StoredRows]) -> MapData:
    thumbnails, larger = _pictures(found, stores)
    return MapData(
        coordinates=found.coordinates[0],
        names=names,
        labels=found.labels,
        made=_columns(found),
        thumbnails=thumbnails,
        pictures=larger,
        neighbors=_of_all(found, found.neighbors_a, -1),
        second=SecondMap(found.coordinates[1], _of_all(found, found.neighbors_b, -1)),
    )


def _of_all(found: StoreComparison, values: Array, none: float) -> Array:
    """What is known of the queries (Q, ...), with a value for the images that are none (N, ...)."""
    every = np.full((len(found.names), *values.shape[1:]), none, values.dtype)
    every[found.queries] = values
    return every


def _columns(found: StoreComparison) -> list[Column]:
    n_shared = np.rint(found.shared * found.neighbors_a.shape[1])
    about_shared = _of_all(found, n_shared.astype(np.float32), np.nan)
    title = f"Neighbors in both, of {found.neighbors_a.shape[1]}"
    columns = [Column("shared", title, numbers=about_shared, none="not compared")]
    if not found.classes:
        return columns
    colors = class_colors(found.labels)
    for letter, voted in zip("AB", found.voted, strict=True):
        columns.append(
            Column(
                f"vote_{letter.lower()}",
                f"Vote in {letter}",
                _of_all(found, voted, -1),
                found.classes,
                tuple(map(colors.get, found.classes)),
                none="no vote",
            )
        )
    return [_verdicts(found), *columns]


def _verdicts(found: StoreComparison) -> Column:
    """Whether the vote of the neighbors is the label."""
    codes = found.codes[found.queries]
    in_a, in_b = found.voted == codes
    verdicts = np.select([codes < 0, in_a & in_b, in_a, in_b], [-1, 0, 1, 2], 3)
    return Column(
        "vote", "Label by the vote", _of_all(found, verdicts, -1),
        ("right in A and B", "right in A only", "right in B only", "wrong in both"),
        (PALE, ACCENT, _ONLY_B, WRONG),
        quiet=(0,), none="no label" if len(found.queries) == len(found.names) else "no label, or not compared",
    )  # fmt: skip


def _pictures(
    found: StoreComparison, stores: Sequence[StoredRows]
) -> tuple[list[bytes | None], list[bytes | None]]:
    """Thumbnails and larger pictures of the images, of the first store that has some; else those that are kept."""
    columns = ("path", "thumbnail", "width", "height")
    for store in stores:
        with store.reading():
            rows = [row for batch in store.batches(columns, store.in_use()) for row in batch.to_pylist()]
        row_of = {row["path"]: row for row in rows}
        here: list[dict[str, Any]] = [row_of.get(name) or dict.fromkeys(columns) for name in found.names]
        if any(row["thumbnail"] for row in here):
            larger = larger_pictures({name: [row[name] or "" for row in here] for name in columns})
            return [row["thumbnail"] for row in here], larger
    kept: list[bytes | None] = [None] * len(found.names)
    for i, picture in zip(found.shown.tolist(), found.thumbnails, strict=False):
        kept[i] = encode(picture)
    return kept, []
