"""How a run of `embed` brings the rows of a store up to date: they follow their files, and labels change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..images import ImageSet
from ..texts import counted
from .embedding_store import EmbeddingStore
from .keys import digest_of, key_of, stamp_of
from .moves import finish_moves, in_order, move, moves_of, notes_on_moves, of_paths
from .presence import Missing, missing_rows, presence, remember_folders, remembered_folders
from .schema import GONE


@dataclass(frozen=True)
class StoreChanges:
    """What a run of `embed` found; the numbers count images or rows.

    Attributes:
        given: images that were given, duplicates left out.
        new: images that the store did not hold.
        changed: files with another content than before.
        moved: files at another path; their rows keep everything else.
        relabeled: rows whose label changed or was removed.
        gone: rows whose file does not exist any more.
        out_of_reach: rows whose folder is missing, or whose file may not be looked at.
        failed: given images that could not be read.
        skipped: why they could not, and folders that could not be opened.
        notes: remarks on the given images.
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
    """Brings the rows of given files up to date; ``todo`` are the files that have to be embedded.

    ``images`` are all that were given, with the labels that their rows will have.
    """

    def __init__(self, store: EmbeddingStore, images: ImageSet) -> None:
        self._store = store
        finish_moves(store)
        remember_folders(store.fits, [key_of(folder) for folder in images.folders])
        stamps = store.by_path("stamp")
        changed = changed_among(store, images, stamps)
        missing = missing_rows(stamps, remembered_folders(store.fits))
        moves = moves_of(store, images, stamps, changed, missing)
        self._n_relabeled = sum(
            move(store, some, some.keys() - changed.keys()) for some in in_order(moves, stamps.keys())
        )
        self._n_moved = len(moves)
        arrived = {source.name for source in moves.values()}
        self._known = changed.keys() - arrived
        self.images, self._notes = with_known_labels(images, store.by_path("label"))
        self.todo = [
            s for s in self.images.sources if s.name in self._known or s.name not in stamps.keys() | arrived
        ]
        self._notes += tuple(notes_on_moves(moves, missing))
        if renamed := [s.name for s in self.todo if s.name in self._known and not isinstance(s.content, Path)]:
            self._notes += (
                f"{counted(len(renamed), 'image')} without a file replaced others of the same name, such as "
                f"{renamed[0]!r}; give files, or unique names, to keep both",
            )
        self._unread: dict[str, str] = {}
        self._n_not_there = 0

    def is_to_be_written(self, path: str, stamp: str | None, error: str | None) -> bool:
        """Whether a row is to be written.

        The row of a file that is out of reach, which has no stamp, replaces no older one. A file that does not
        exist, such as one that a table lists, gets no new row.
        """
        if stamp is not None:
            return True
        self._unread[path] = error or ""
        is_written = path not in self._known and presence(path) != "missing"
        self._n_not_there += not is_written and path not in self._known
        return is_written

    def closed(self) -> StoreChanges:
        """Update labels, mark gone files, and sum up, once everything is embedded."""
        n_relabeled = relabel(self._store, self.images)
        missing = missing_rows(self._store.by_path("stamp"), remembered_folders(self._store.fits))
        mark_gone(self._store, missing)
        given = set(self.images.names)
        unread = {path: error for path, error in self._store.unread().items() if path in given} | self._unread
        return StoreChanges(
            given=len(self.images),
            new=len(self.todo) - len(self._known) - self._n_not_there,
            changed=len(self._known - self._unread.keys()),
            moved=self._n_moved,
            relabeled=self._n_relabeled + n_relabeled,
            gone=len(missing.gone),
            out_of_reach=len(missing.out_of_reach) + len(missing.hidden),
            failed=len(unread),
            skipped=(*unread.values(), *self.images.unreadable),
            notes=(*self.images.notes, *self.images.remarks, *self._notes),
        )


class Tally:
    """Does the same for images that are not files: their name and content identify them."""

    def __init__(self, store: EmbeddingStore) -> None:
        self._store = store
        self._given = self._new = self._changed = 0

    @cached_property
    def _known(self) -> dict[str, str | None]:
        return self._store.by_path("stamp")

    def is_to_be_written(self, path: str, stamp: str | None, error: str | None) -> bool:
        """Whether the store has no such image, or another one under this name."""
        self._given += 1
        is_known, is_same = path in self._known, self._known.get(path, "") == stamp
        self._new += not is_known
        self._changed += is_known and not is_same
        return not is_same

    def closed(self) -> StoreChanges:
        return StoreChanges(self._given, self._new, self._changed)


# --- before anything is embedded -------------------------------------------------------------------------------


def with_known_labels(images: ImageSet, known: Mapping[str, str | None]) -> tuple[ImageSet, tuple[str, ...]]:
    """Images whose folder labels give way to the labels that their rows have; and a note on that.

    A folder label of the same path differs only because another folder was given. A table changes labels, as it
    states them.
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
        f"{len(other)} rows keep their labels (such as {old!r}, not {new!r}): labels taken from folder names "
        "depend on which folder is given; a table with a column label changes labels"
    )
    return images.of(kept), (note,)


def changed_among(
    store: EmbeddingStore, images: ImageSet, stamps: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The known images whose content has changed, each with its digest, or None if it cannot be read.

    A file that was only touched, or copied over itself, keeps its row with a new stamp. A file that was out of
    reach the last time has no stamp, and is tried again.
    """
    import pyarrow as pa

    now = {s.name: stamp_of(s.content) for s in images.sources if s.name in stamps}
    doubtful = [
        s for s in images.sources if s.name in stamps and (not now[s.name] or now[s.name] != stamps[s.name])
    ]
    ids = dict(of_paths(store, "id", [s.name for s in doubtful], "error IS NULL"))
    digests = {s.name: digest_of(s.content) for s in doubtful}
    touched = [s.name for s in doubtful if now[s.name] and digests[s.name] and ids.get(s.name) == digests[s.name]]
    if touched:
        store.add_columns(pa.table({"path": touched, "stamp": [now[name] for name in touched]}))
    return {name: digest for name, digest in digests.items() if name not in set(touched)}


# --- after it ---------------------------------------------------------------------------------------------------


def relabel(store: EmbeddingStore, images: ImageSet) -> int:
    """Set the given labels that differ from those in the store, and return their number."""
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
    """Mark the rows of gone files in the column `GONE`, so that they take part in no answer.

    A gone file stays gone when its disk is out of reach.
    """
    import pyarrow as pa

    marked = store.by_path(GONE) if GONE in store.schema.names else {}
    differ = {path: True for path in missing.gone if not marked.get(path)}
    still = {*missing.gone, *missing.out_of_reach, *missing.hidden}
    differ |= {path: False for path, was in marked.items() if was and path not in still}
    if differ:
        store.add_columns(pa.table({"path": list(differ), GONE: list(differ.values())}))
