"""Which files of rows are still there, which are gone, and which are out of reach."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..errors import StoreError
from .fits import Fits
from .keys import is_of_a_file, path_of

Presence: TypeAlias = Literal["here", "missing", "out of sight"]

_ROOTS = "folders that were embedded"  # beside what was fitted


def presence(path: str) -> Presence:
    """Whether a file exists. One that may not be looked at, or a link to an absent disk, is not missing."""
    name = path_of(path)
    try:
        return "here" if stat.S_ISREG(os.stat(name).st_mode) else "missing"  # a folder may have taken its name
    except (FileNotFoundError, NotADirectoryError):
        return "out of sight" if _leads_nowhere(name) else "missing"
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return "out of sight"


def _leads_nowhere(name: str) -> bool:
    """Whether a file, or a folder that it is in, is a broken link."""
    while not os.path.lexists(name):
        name, inner = os.path.dirname(name), name
        if name == inner:
            return False
    return os.path.islink(name) and not os.path.exists(name)


@dataclass(frozen=True)
class Missing:
    """Rows whose file is not there.

    ``gone`` files were removed, as far as can be told. ``by_folder`` lists those out of reach with a whole folder.
    ``hidden`` files may not be looked at. ``emptied`` are folders of gone files that are empty or missing.
    """

    gone: tuple[str, ...]
    by_folder: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()

    @property
    def out_of_reach(self) -> tuple[str, ...]:
        return tuple(path for paths in self.by_folder.values() for path in paths)

    def check_removable(self, n_rows: int, place: str) -> None:
        """Raise `StoreError` if removing these rows could be a mistake."""
        folders = [*self.by_folder, *self.emptied]
        if folders:
            n = len(self.out_of_reach) or len(self.gone)
            what = (
                f"of the images in {folders[0]} none is there any more ({n} rows): a disk that is not connected?"
            )
        elif 2 * len(self.gone) > n_rows:
            what = f"the files of {len(self.gone)} of {n_rows} rows are gone, for example {self.gone[0]}."
        else:
            return
        raise StoreError(
            f"{place}: {what} Nothing was removed; to remove these rows all the same, confirm it: --yes, or "
            "prune(confirmed=True)"
        )


def missing_rows(stamps: Mapping[str, str | None], folders: Iterable[str]) -> Missing:
    """The rows, by path and stamp, whose files are not there.

    A file is gone if its folder exists, or another file of an embedded one among ``folders`` that it was in.
    Otherwise its disk may not be connected, and it is out of reach.
    """
    roots_among = sorted(set(folders))
    missing, hidden, alive, held = list[str](), list[str](), set[str](), set[str]()
    for path, stamp in stamps.items():
        if not is_of_a_file(stamp):
            continue
        state = presence(path)
        if state == "missing":
            missing.append(path)
        elif state == "here":
            alive.update(_roots_of(path, roots_among))
            held.add(os.path.dirname(path))
        else:
            hidden.append(path)
    gone, by_folder = list[str](), defaultdict[str, list[str]](list)
    for path in missing:
        folder, roots = os.path.dirname(path), _roots_of(path, roots_among)
        if os.path.isdir(path_of(folder)) or alive.intersection(roots):
            gone.append(path)
        else:
            by_folder[min(roots, key=len, default=folder)].append(path)
    emptied = [f for f in dict.fromkeys(map(os.path.dirname, gone)) if f not in held and _holds_nothing(f)]
    return Missing(tuple(gone), {f: tuple(p) for f, p in by_folder.items()}, tuple(hidden), tuple(emptied))


def _holds_nothing(folder: str) -> bool:
    """Whether a folder is missing or empty, like the mount point of an absent disk."""
    try:
        with os.scandir(path_of(folder)) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _roots_of(path: str, folders: Iterable[str]) -> list[str]:
    """The folders among these that contain a file."""
    return [root for root in folders if path.startswith(os.path.join(root, ""))]


def remembered_folders(fits: Fits) -> list[str]:
    """The folders that were embedded into a store."""
    kept = fits.recall(_ROOTS)
    return [] if kept is None else list(kept[0]["folders"])


def remember_folders(fits: Fits, folders: Iterable[str]) -> None:
    known = remembered_folders(fits)
    if new := [folder for folder in dict.fromkeys(folders) if folder not in known]:
        fits.remember(_ROOTS, {"folders": [*known, *new]})
