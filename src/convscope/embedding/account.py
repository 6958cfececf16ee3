"""What a run of `embed` does with the rows that are there: they follow their files, and get their labels."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..images import ImageSet, Source
from .presence import Missing, missing_rows, remember_folders, remembered_folders
from .lance import in_parts, listed
from .rows import digest_of, key_of, size_in, stamp_of
from .store import EmbeddingStore
from .table import GONE

@dataclass(frozen=True)
class Changes:
    """What a run of `embed` has found, each number in images or rows.

    Attributes:
        given: images that were given, each once.
        new: that the store did not know.
        changed: files whose content is another one.
        moved: files that have another path; what was found out about them stays.
        relabeled: rows that have got another label, or lost theirs.
        gone: rows of the store whose file is not there any more.
        out_of_reach: rows whose folder is not there, or whose file may not be looked at.
        failed: images, of those given, that could not be read.
        skipped: why, and folders that could not be looked into.
        notes: remarks on what was given.
    """

    given: int
    new: int = 0
    changed: int = 0
    moved: int = 0
    relabeled: int = 0
    gone: int = 0
    out_of_reach: int = 0
    failed: int = 0
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Account:
    """What a run of `embed` does with the rows that are there: some follow their files, all get their labels.

    ``images`` are those that were given, ``todo`` those that have to be embedded.
    """

    def __init__(self, store: EmbeddingStore, images: ImageSet) -> None:
        self._store = store
        remember_folders(store, [key_of(folder) for folder in images.folders])
        stamps = store.by_path("stamp")
        self.images, notes = with_known_labels(images, store.by_path("label"))
        self._notes = notes
        moves = moves_of(store, self.images, stamps)
        move(store, moves)
        for path, source in moves.items():
            stamps[source.name] = stamp_of(source.content)
            del stamps[path]
        self._n_moved = len(moves)
        self.todo, self._known = new_or_changed(store, self.images, stamps)
        self._unread: dict[str, str] = {}

    def is_to_be_written(self, path: str, stamp: str | None, error: str | None) -> bool:
        """Whether a row is written: one of a file out of reach, which has no stamp, not in place of an older one."""
        if stamp is None and error is not None:
            self._unread[path] = error
        return stamp is not None or path not in self._known

    def closed(self) -> Changes:
        """When all is embedded: labels, gone files, and what there is to be told."""
        n_relabeled = relabel(self._store, self.images)
        missing = missing_rows(self._store.by_path("stamp"), remembered_folders(self._store))
        mark_gone(self._store, missing)
        given = set(self.images.names)
        unread = {path: error for path, error in self._store.unread().items() if path in given} | self._unread
        return Changes(
            given=len(self.images),
            new=len(self.todo) - len(self._known),
            changed=len(self._known - self._unread.keys()),
            moved=self._n_moved,
            relabeled=n_relabeled,
            gone=len(missing.gone),
            out_of_reach=len(missing.out_of_reach) + len(missing.hidden),
            failed=len(unread),
            skipped=(*unread.values(), *self.images.unreadable),
            notes=(*self.images.notes, *self.images.remarks, *self._notes),
        )


# --- before anything is embedded -------------------------------------------------------------------------------


def with_known_labels(images: ImageSet, known: Mapping[str, str | None]) -> tuple[ImageSet, tuple[str, ...]]:
    """Images with the labels that their rows have, where the label given is only that of a folder; and a remark.

    Of a file at the same path it can be another one only because another folder was given. What says its labels
    itself, such as a table, changes them.
    """
    kept, other = [], []
    for source in images.sources:
        old = known.get(source.name)
        if old is not None and not source.tells_label and source.label != old:
            if source.label is not None:
                other.append((old, source.label))
            source = replace(source, label=old)
        kept.append(source)
    if not other:
        return images.of(kept), ()
    old, new = other[0]
    note = (
        f"{len(other)} rows keep their labels (such as {old!r}, not {new!r}): labels taken from folder names depend on "
        "which folder is given; a table with a column label changes labels"
    )
    return images.of(kept), (note,)


def moves_of(store: EmbeddingStore, images: ImageSet, stamps: Mapping[str, str | None]) -> dict[str, Source]:
    """Paths of missing files, each with the new image of the same content.

    Files are only read where one of the same size is missing.
    """
    new = [s for s in images.sources if isinstance(s.content, Path) and s.name not in stamps]
    if not new:
        return {}
    missing = missing_rows(stamps, remembered_folders(store))
    lost = [*missing.gone, *missing.out_of_reach]
    sizes = {size_in(stamps[path]) for path in lost}
    by_content = defaultdict[str, list[str]](list)
    for path, content in _of_paths(store, "id", lost, "error IS NULL"):
        if content is not None:
            by_content[content].append(path)
    moves: dict[str, Source] = {}
    for source in new:
        old = (
            by_content.get(digest_of(source.content) or "", [])
            if size_in(stamp_of(source.content)) in sizes
            else []
        )
        if old:
            same_name = [path for path in old if os.path.basename(path) == os.path.basename(source.name)]
            path = (same_name or old)[0]
            old.remove(path)
            moves[path] = source
    return moves


def move(store: EmbeddingStore, moves: Mapping[str, Source]) -> None:
    """Give rows the paths at which their files are now; all that was found out about them stays."""
    import pyarrow as pa

    for part in in_parts(list(moves)):
        chosen = listed("path", part)
        rows = store.to_arrow(where=chosen)
        sources = [moves[path] for path in rows["path"].to_pylist()]
        labels = zip(sources, rows["label"].to_pylist(), strict=True)
        changed = {
            "path": pa.array([s.name for s in sources]),
            "label": pa.array(
                [s.label if s.tells_label or s.label is not None else old for s, old in labels], pa.string()
            ),
            "stamp": pa.array([stamp_of(s.content) for s in sources]),
            GONE: pa.nulls(len(sources), pa.bool_()),
        }
        for name, values in changed.items():
            if name in rows.schema.names:
                rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
        store.write(rows)  # before the old ones go: a kill in between loses nothing
        store.delete(chosen)
    kept = store.fits.recall("clusters")
    if moves and kept is not None:
        named = {path: source.name for path, source in moves.items()}
        about = kept[0] | {"representatives": [named.get(path, path) for path in kept[0]["representatives"]]}
        store.fits.remember("clusters", about)


def new_or_changed(
    store: EmbeddingStore, images: ImageSet, stamps: Mapping[str, str | None]
) -> tuple[list[Source], set[str]]:
    """The images to embed, new ones and those of another content, and the names of those that the store knows.

    A file that was only touched, or copied over itself, keeps its row; its new stamp is noted. One that could not
    be reached the last time has none, and is tried again.
    """
    import pyarrow as pa

    now = {s.name: stamp_of(s.content) for s in images.sources if s.name in stamps}
    doubtful = [
        s for s in images.sources if s.name in stamps and (not now[s.name] or now[s.name] != stamps[s.name])
    ]
    ids = dict(_of_paths(store, "id", [s.name for s in doubtful], "error IS NULL"))
    touched = {
        s.name: now[s.name] for s in doubtful if now[s.name] and ids.get(s.name) == (digest_of(s.content) or "")
    }
    if touched:
        store.add_columns(pa.table({"path": list(touched), "stamp": list(touched.values())}))
    changed = {s.name for s in doubtful} - touched.keys()
    return [s for s in images.sources if s.name not in stamps or s.name in changed], changed


# --- after it ---------------------------------------------------------------------------------------------------


def relabel(store: EmbeddingStore, images: ImageSet) -> int:
    """Set the labels that are given and differ from those in a store; returns how many."""
    import pyarrow as pa

    known = store.by_path("label")
    new = {
        s.name: s.label
        for s in images.sources
        if s.name in known and known[s.name] != s.label and (s.tells_label or s.label is not None)
    }
    if new:
        store.add_columns(pa.table({"path": list(new), "label": pa.array(list(new.values()), pa.string())}))
    return len(new)


def mark_gone(store: EmbeddingStore, missing: Missing) -> None:
    """Say in the column `GONE` whose files are gone, so that they take part in no answer.

    A file that was gone and is out of reach now, with its disk, stays gone.
    """
    import pyarrow as pa

    marked = store.by_path(GONE) if GONE in store.schema.names else {}
    differ = {path: True for path in missing.gone if not marked.get(path)}
    still = {*missing.gone, *missing.out_of_reach, *missing.hidden}
    differ |= {path: False for path, was in marked.items() if was and path not in still}
    if differ:
        store.add_columns(pa.table({"path": list(differ), GONE: list(differ.values())}))


def _of_paths(
    store: EmbeddingStore, column: str, paths: Sequence[str], where: str | None = None
) -> Iterator[tuple[str, Any]]:
    """(path, what a column holds) of some rows."""
    for part in in_parts(paths):
        chosen = listed("path", part)
        yield from store.by_path(column, chosen if where is None else f"{chosen} AND {where}").items()
