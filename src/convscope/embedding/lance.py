"""What a store needs of LanceDB and of the disk: a connection, a lock, errors in our own words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..errors import ConvscopeError, ParameterError, StoreError

ROWS = "images"  # the table of the rows
LOCK = ".lock"
KEPT_FOR = timedelta(minutes=10)  # old versions, which somebody may be reading


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def connected(place: str) -> Any:
    import lancedb

    try:
        return lancedb.connect(place)
    except Exception as error:  # of the store's own library, which has none in common
        raise StoreError(f"{place}: cannot be opened ({error})") from error


def tables(database: Any) -> list[str]:
    return list(database.list_tables().tables)


def as_place(place: object) -> str:
    """A folder, with ~ for the home, or an address."""
    if not isinstance(place, str | Path) or not str(place):
        raise ParameterError(f"{place!r} is no place of a store: give a folder or an address")
    return os.path.expanduser(str(place)) if is_local(str(place)) else str(place)


def is_local(place: str) -> bool:
    return "://" not in place


def make_folder(folder: Path) -> None:
    """A folder that is a store, or may become one; `StoreError` where it is anything else."""
    try:
        if folder.exists() and (not folder.is_dir() or not _is_free(folder)):
            raise StoreError(f"{folder} exists and is no store; choose another place")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name that no system takes
        raise StoreError(f"{folder}: cannot be made ({getattr(error, 'strerror', None) or error})") from error


def _is_free(folder: Path) -> bool:
    inside = {path.name for path in folder.iterdir()}
    return f"{ROWS}.lance" in inside or inside <= {LOCK}  # which another process may be making into one


def has_table(folder: Path) -> bool:
    return os.path.isdir(folder / f"{ROWS}.lance")


@contextmanager
def lock(place: str) -> Iterator[None]:
    """One writer at a time, as LanceDB would let two insert the same path; an object store has only the key."""
    if not is_local(place):
        yield
        return
    from filelock import FileLock

    held = FileLock(Path(place) / LOCK)
    try:
        held.acquire()
    except OSError as error:
        raise StoreError(f"{place}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def explained(where: str | None = None) -> Iterator[None]:
    """LanceDB's remark on a condition that the user gave, or on a store that is damaged, as an error of ours."""
    try:
        yield
    except ConvscopeError:
        raise
    except Exception as error:
        if where is None:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise StoreError(f"the store is damaged, gone, or cannot be written ({first})") from error
        raise ParameterError(f"where={where!r}: {(str(error).splitlines() or [''])[0]}") from error
