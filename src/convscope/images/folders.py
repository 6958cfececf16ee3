"""List the files in a folder, or those that match a pattern; follow links, and note whatever is left out."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from .left_out import LeftOut, is_own, kind_that_is_no_image

Entries = list["os.DirEntry[str]"]


def files_in(root: Path, left_out: LeftOut) -> list[Path]:
    """All files in a folder, at any depth, that may be images, sorted.

    Raises:
        OSError: the folder itself cannot be read.
    """
    os.scandir(root).close()
    found = []
    for folder, entries in _folders(root, left_out):
        found += [folder / entry.name for entry in entries if _is_candidate(entry, left_out)]
    return sorted(found)


def files_like(pattern: Path, left_out: LeftOut) -> list[Path]:
    """The files that match a pattern like photos/**/*.jpg, sorted."""
    parts = pattern.parts
    start = Path(parts[0]) if pattern.is_absolute() else Path()
    return sorted(set(_fitting(start, parts[1:] if pattern.is_absolute() else parts, left_out)))


def has_wildcards(part: str) -> bool:
    """Whether it contains wildcards."""
    return any(sign in part for sign in "*?[")


def _fitting(folder: Path, parts: tuple[str, ...], left_out: LeftOut) -> Iterator[Path]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        for inside, _ in _folders(folder, left_out):
            yield from _fitting(inside, rest or ("*",), left_out)
    elif not has_wildcards(first):
        if rest:
            yield from _fitting(folder / first, rest, left_out)
        elif os.path.isfile(folder / first):
            yield folder / first
    else:
        for entry in _entries(folder, left_out):
            if not fnmatch.fnmatch(entry.name, first) or (_is_hidden(entry) and not first.startswith(".")):
                continue
            if not rest:
                if not _is_folder(entry) and _is_candidate(entry, left_out):
                    yield folder / entry.name
            elif _is_folder(entry) and not _is_left_out(folder / entry.name, left_out):
                yield from _fitting(folder / entry.name, rest, left_out)


def _is_left_out(folder: Path, left_out: LeftOut) -> bool:
    if is_own(str(folder), {entry.name for entry in _entries(folder, left_out)}):
        left_out.own.append(str(folder))
        return True
    return False


def _folders(root: Path, left_out: LeftOut) -> Iterator[tuple[Path, Entries]]:
    """A folder and all visible folders inside it, each with the entries that are not folders.

    Each folder comes once, however many links lead to it. Links come last, so that a folder keeps its own name.
    """
    top = os.path.realpath(root)
    seen = set()
    todo, links = [(root, top)], list[tuple[Path, str]]()
    while todo or links:
        folder, real = todo.pop() if todo else links.pop(0)
        if real in seen:
            left_out.links.append(str(folder))
            continue
        seen.add(real)
        entries = _entries(folder, left_out)
        if folder != root and is_own(str(folder), {entry.name for entry in entries}):
            left_out.own.append(str(folder))
            continue
        others = []
        for entry in entries:
            if _is_hidden(entry):
                continue
            if not _is_folder(entry):
                others.append(entry)
            elif not entry.is_symlink():
                todo.append((folder / entry.name, os.path.join(real, entry.name)))
            else:
                target = os.path.realpath(entry.path)
                if _is_above(target, real) or _is_above(target, top):
                    left_out.links.append(str(folder / entry.name))
                else:
                    links.append((folder / entry.name, target))
        links.sort()
        yield folder, others


def _entries(folder: Path, left_out: LeftOut) -> Entries:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):  # a pattern may name what is not there
        return []
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        text = f"{folder}: the folder cannot be read ({reason})"
        if text not in left_out.unreadable:
            left_out.unreadable.append(text)
        return []


def _is_above(folder: str, other: str) -> bool:
    return folder == other or other.startswith(folder.rstrip(os.sep) + os.sep)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself or to a forbidden place counts as an unreadable file
        return False


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _is_candidate(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    """Whether it may be an image; a link that leads nowhere may, so that it is reported as missing."""
    kind = kind_that_is_no_image(entry.name)
    try:
        if not entry.is_file() and os.path.exists(entry.path):
            kind = "pipe" if stat.S_ISFIFO(entry.stat().st_mode) else "socket or device"
    except OSError:
        pass
    if kind is not None:
        left_out.kinds[kind] += 1
    return kind is None


def labels_of(files: Iterable[Path], root: Path) -> Iterator[tuple[Path, str | None]]:
    """Each file with the name of the first-level folder that holds it, if there is one."""
    depth = len(root.parts)
    for file in files:
        yield file, file.parts[depth] if len(file.parts) > depth + 1 else None
