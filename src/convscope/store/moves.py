"""Rows move with their files, to new paths or to those of files that were swapped."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..images import ImageSet, ImageSource
from .conditions import in_parts, is_one_of
from .embedding_store import EmbeddingStore
from .keys import digest_of, size_in, stamp_of
from .presence import Missing, presence
from .schema import GONE

_MOVES = "moves"  # beside what was fitted, until they are finished
_WRITTEN = 500  # rows at once


def moves_of(
    store: EmbeddingStore,
    images: ImageSet,
    stamps: Mapping[str, str | None],
    changed: Mapping[str, str | None],
    missing: Missing,
) -> dict[str, ImageSource]:
    """Paths that have lost their content, each with the image that has this content now.

    A path loses its content when the file is missing, or when another file takes its place, as in a swap. A new
    file is read only if a lost one has the same size.
    """
    lost = [*missing.gone, *missing.out_of_reach, *(path for path, digest in changed.items() if digest)]
    sizes = {size_in(stamps[path]) for path in lost}
    by_content = defaultdict[str, list[str]](list)
    for path, content in of_paths(store, "id", lost, "error IS NULL"):
        if content is not None:
            by_content[content].append(path)
    moves: dict[str, ImageSource] = {}
    for source in images.sources:
        if not isinstance(source.content, Path) or (source.name in stamps and source.name not in changed):
            continue
        digest = changed.get(source.name)
        if digest is None and size_in(stamp_of(source.content)) in sizes:
            digest = digest_of(source.content)
        if old := by_content.get(digest or ""):
            same_name = [path for path in old if os.path.basename(path) == os.path.basename(source.name)]
            path = (same_name or old)[0]
            old.remove(path)
            moves[path] = source
    return moves


def in_order(moves: Mapping[str, ImageSource], known: Collection[str]) -> Iterator[dict[str, ImageSource]]:
    """Moves to new paths, in parts; then those among known paths, together, as they overwrite each other."""
    free = [path for path, source in moves.items() if source.name not in known]
    for part in in_parts(free):
        yield {path: moves[path] for path in part}
    yield {path: source for path, source in moves.items() if source.name in known}


def move(store: EmbeddingStore, moves: Mapping[str, ImageSource], left: Collection[str]) -> int:
    """Give rows the current paths of their files, and return how many labels changed.

    Paths in ``left`` have no file any more. They are noted first, and removed after the new rows are written, so
    that a kill in between loses nothing and the next run finishes the move.
    """
    import pyarrow as pa

    if not moves:
        return 0
    old_rows = pa.concat_tables([store.to_arrow(where=is_one_of("path", part)) for part in in_parts(list(moves))])
    store.fits.remember(_MOVES, {"moved": {path: moves[path].name for path in left}})
    paths, labels = old_rows["path"].to_pylist(), old_rows["label"].to_pylist()
    sources = [moves[path] for path in paths]
    new_labels = [_label_after(*each) for each in zip(paths, labels, sources, strict=True)]
    columns = {
        "path": pa.array([source.name for source in sources]),
        "label": pa.array(new_labels, pa.string()),
        "stamp": pa.array([stamp_of(source.content) for source in sources]),
        GONE: pa.nulls(len(sources), pa.bool_()),
    }
    rows = old_rows
    for name, values in columns.items():
        if name in rows.schema.names:
            rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    for first in range(0, len(rows), _WRITTEN):
        store.write(rows.slice(first, _WRITTEN))
    finish_moves(store)
    kept = store.fits.recall("clusters")
    if kept is not None:
        named = {path: source.name for path, source in moves.items()}
        about = kept[0] | {"representatives": [named.get(path, path) for path in kept[0]["representatives"]]}
        store.fits.remember("clusters", about)
    return sum(old != new for old, new in zip(labels, new_labels, strict=True))


def finish_moves(store: EmbeddingStore) -> None:
    """Remove the old rows of moved files, also those left behind by a run that was killed."""
    kept = store.fits.recall(_MOVES)
    if kept is None:
        return
    moved = kept[0]["moved"]
    for part in in_parts(list(moved)):
        arrived = store.by_path("stamp", is_one_of("path", [moved[path] for path in part]))
        done = [path for path in part if moved[path] in arrived and presence(path) == "missing"]
        if done:
            store.delete(is_one_of("path", done))
    store.fits.remember(_MOVES, None)


def _label_after(path: str, label: str | None, source: ImageSource) -> str | None:
    """The label of a moved file: its new folder's, if it had the old folder's."""
    if source.tells_label or label is None:
        return source.label
    stays = os.path.basename(os.path.dirname(path)) == os.path.basename(os.path.dirname(source.name))
    was_folder = label in Path(path).parts
    return label if stays or not was_folder or source.label is None else source.label


def notes_on_moves(moves: Mapping[str, ImageSource], missing: Missing) -> Iterator[str]:
    for folder, paths in missing.by_folder.items():
        some = [path for path in paths if path in moves]
        if some:
            yield (
                f"{len(some)} rows of {folder}, which is not there, are of the same files elsewhere now, such as "
                f"{moves[some[0]].name}"
            )


def of_paths(
    store: EmbeddingStore, column: str, paths: Sequence[str], where: str | None = None
) -> Iterator[tuple[str, Any]]:
    """(path, value of a column) of some rows."""
    for part in in_parts(paths):
        chosen = is_one_of("path", part)
        yield from store.by_path(column, chosen if where is None else f"{chosen} AND {where}").items()
