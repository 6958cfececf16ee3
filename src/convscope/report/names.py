"""Names as a page shows them: a page is sent around, and paths of the machine that made it do not go with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath


def without_common_folder(names: Sequence[str]) -> tuple[str, ...]:
    """Absolute paths as seen from the folder that they have in common; other names as they are.

    Of files that have no folder in common but the root, the last folder and the name.
    """
    folders = [os.path.dirname(name) for name in names if os.path.isabs(name)]
    try:
        common = os.path.commonpath(folders) if folders else ""
    except ValueError:  # on two drives
        common = ""
    if common == os.path.dirname(common):
        return tuple(map(_end, names))
    return tuple(os.path.relpath(name, common) if os.path.isabs(name) else name for name in names)


def without_folders(reasons: Iterable[str]) -> list[str]:
    """What went wrong with which file, "path: reason", with the last folder and the name of each path."""
    found = []
    for reason in reasons:
        path = reason.partition(": ")[0]
        found.append(reason.replace(path, _end(path)) if os.path.isabs(path) else reason)
    return found


def _end(name: str) -> str:
    """The last folder and the name of an absolute path."""
    path = PurePath(name)
    return str(PurePath(*path.relative_to(path.anchor).parts[-2:])) if path.is_absolute() else name
