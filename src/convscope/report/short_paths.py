"""Paths shortened for a page, which is sent around and must not reveal the folders of the machine that made it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath


def without_common_folder(names: Sequence[str]) -> tuple[str, ...]:
    """Absolute paths relative to the folder that all of them share; other names as they are.

    Where files share no folder but the root, the last folder and the name of each.
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
    """Reasons of the form "path: reason", with each path cut to its last folder and name."""
    found = []
    for reason in reasons:
        path = reason.partition(": ")[0]
        found.append(reason.replace(path, _end(path)) if os.path.isabs(path) else reason)
    return found


def _end(name: str) -> str:
    """The last folder and the name of an absolute path."""
    path = PurePath(name)
    return str(PurePath(*path.relative_to(path.anchor).parts[-2:])) if path.is_absolute() else name
