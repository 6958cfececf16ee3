"""Files of rows: which are where they were, which are gone, and which are out of reach."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..errors import StoreError
from .rows import is_of_a_file, path_of
from .store import EmbeddingStore

Presence: TypeAlias = Literal["here", "missing", "out of sight"]

_ROOTS = "folders that were embedded"  # beside what was fitted


def presence(path: str) -> Presence:
    """Whether a file is there. One that may not be looked at, or a link to an absent disk, is not missing."""
    name = path_of(path)
    try:
        os.stat(name)
        return "here"
    except (FileNotFoundError, NotADirectoryError):
        return "out of sight" if os.path.lexists(name) else "missing"
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return "out of sight"


@dataclass(frozen=True)
class Missing:
    """Rows whose file is not there: ``gone`` for good, or ``out_of_reach`` with all of their folder, by its name.

    ``hidden`` are those that may not be looked at.
    """

    gone: tuple[str, ...]
    by_folder: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()

    @property
    def out_of_reach(self) -> tuple[str, ...]:
        return tuple(path for paths in self.by_folder.values() for path in paths)

    def check_removable(self, n_rows: int, place: str) -> None:
        """`StoreError` where removing these rows could be a mistake."""
        if self.by_folder:
            folder, paths = next(iter(self.by_folder.items()))
            what = f"nothing of {folder} is there, which {len(paths)} rows are of: a disk that is not connected?"
        elif 2 * len(self.gone) > n_rows:
            what = f"the files of {len(self.gone)} of {n_rows} rows are gone, for example {self.gone[0]}."
        else:
            return
        raise StoreError(
            f"{place}: {what} Nothing was removed; to remove these rows all the same, confirm it: --yes, or "
            "prune(confirmed=True)"
        )


def missing_rows(stamps: Mapping[str, str | None], folders: Iterable[str]) -> Missing:
    """The rows, by path and stamp, whose files are not there; ``folders`` are those that were embedded.

    A folder none of whose files is there is taken for a disk that is not connected, and its rows for out of reach.
    Of a row that is of none of them it is the folder that held the file.
    """
    roots = sorted(set(folders), key=len, reverse=True)
    missing, alive, hidden = defaultdict[str, list[str]](list), set[str](), list[str]()
    for path, stamp in stamps.items():
        if not is_of_a_file(stamp):
            continue
        state = presence(path)
        if state == "missing":
            missing[_root_of(path, roots)].append(path)
        elif state == "here":
            alive.add(_root_of(path, roots))
        else:
            hidden.append(path)
    gone = tuple(path for root, paths in missing.items() if root in alive for path in paths)
    return Missing(gone, {root: tuple(p) for root, p in missing.items() if root not in alive}, tuple(hidden))


def _root_of(path: str, roots: Sequence[str]) -> str:
    """The longest of some folders that a file lies in; else the folder that holds it."""
    return next((root for root in roots if path.startswith(os.path.join(root, ""))), os.path.dirname(path))


def remembered_folders(store: EmbeddingStore) -> list[str]:
    kept = store.fits.recall(_ROOTS)
    return [] if kept is None else list(kept[0]["folders"])


def remember_folders(store: EmbeddingStore, folders: Iterable[str]) -> None:
    known = remembered_folders(store)
    if new := [folder for folder in dict.fromkeys(folders) if folder not in known]:
        store.fits.remember(_ROOTS, {"folders": [*known, *new]})
