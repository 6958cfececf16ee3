"""What a store needs from LanceDB and the disk: a connection, a lock, errors in plain words."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..after_fork import after_fork
from ..errors import ConvscopeError, ParameterError, StoreError

ROWS, FITS = "images", "fits"  # the tables: of the rows, and of what was fitted to them
LOCK = ".lock"
KEPT_FOR = timedelta(minutes=10)  # old versions, which somebody may be reading
WAIT_SECONDS, TOLD_SECONDS = 600.0, 5.0  # for another writer, and after which it is said who that is
_FULL = ("No space left on device", f"os error {errno.ENOSPC}", "Disk quota exceeded", f"os error {errno.EDQUOT}")
_READ_ONLY = (
    'copy the store to a place of your own; or ask a part of it, by store.where("true") or --where true, of which '
    "nothing is kept in the store"
)
_NO_NAME = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # LanceDB takes another place for it, or none
_log = logging.getLogger(__name__)


class _Forks:
    """Whether this process was forked from one that had used a store, and so lacks LanceDB's threads."""

    cut_off = False


def _note_fork() -> None:
    _Forks.cut_off = _Forks.cut_off or "lancedb" in sys.modules


after_fork(_note_fork)


def check_not_forked(place: str) -> None:
    """Raise `StoreError` if LanceDB would wait forever for threads that a fork did not copy."""
    if _Forks.cut_off:
        raise StoreError(
            f"{place}: this process was forked from one that had used a store, whose threads did not come along; "
            "start processes by multiprocessing.get_context('spawn'), or open no store before the fork"
        )


def connected(place: str) -> Any:
    check_not_forked(place)
    import lancedb

    try:
        return lancedb.connect(place)
    except Exception as error:  # of the store's own library, which has none in common
        raise StoreError(f"{place}: cannot be opened ({error})") from error


def tables(database: Any, place: str) -> list[str]:
    """The names of the tables; a folder without any commit, as a kill may leave, is not one."""
    found = database.list_tables().tables
    return [name for name in found if not is_local(place) or has_table(Path(place), name)]


def as_place(place: object) -> str:
    """A folder, with ~ for the home, or an address."""
    if not isinstance(place, str | Path) or not str(place):
        raise ParameterError(f"{place!r} is no place of a store: give a folder or an address")
    if _NO_NAME.search(str(place)):
        raise ParameterError(f"{str(place)!r}: a store's name is UTF-8 without control characters; choose another")
    return os.path.expanduser(str(place)) if is_local(str(place)) else str(place)


def is_local(place: str) -> bool:
    return "://" not in place


def is_store(place: str | Path) -> bool:
    """Whether a place names a store: a folder with a table of rows, or any address, which is not looked up."""
    local = os.path.expanduser(place)
    return not is_local(str(place)) or has_table(Path(local))


def make_folder(folder: Path) -> None:
    """Make the folder of a store; `StoreError` if something else is there."""
    try:
        if folder.exists() and (not folder.is_dir() or not _is_free(folder)):
            raise StoreError(f"{folder} exists and is no store; choose another place")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name that no system takes
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(_full(str(folder))) from error
        raise StoreError(f"{folder}: cannot be made ({getattr(error, 'strerror', None) or error})") from error


def _is_free(folder: Path) -> bool:
    inside = {path.name for path in folder.iterdir()}
    # What another process may be making into one, or a kill has left.
    own = {LOCK, f"{ROWS}.lance", f"{FITS}.lance"}
    return f"{ROWS}.lance" in inside or inside <= own


def has_table(folder: Path, name: str = ROWS) -> bool:
    """Whether a folder has a table with at least one committed version."""
    try:
        return any(file.suffix == ".manifest" for file in (folder / f"{name}.lance" / "_versions").iterdir())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that no folder can have
        return False
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read ({error.strerror})") from error


@contextmanager
def lock(place: str) -> Iterator[None]:
    """Let one process write at a time, as LanceDB lets two insert the same path.

    An object store cannot be locked; there the primary key of the table brings two such writers into conflict.
    """
    if not is_local(place):
        yield
        return
    from filelock import FileLock, Timeout

    check_not_forked(place)
    file = Path(place) / LOCK
    held = FileLock(file)
    try:
        try:
            held.acquire(timeout=min(TOLD_SECONDS, WAIT_SECONDS))
        except Timeout:
            _log.warning("%s: waiting for %s, which is writing to it", place, _holder(file))
            held.acquire(timeout=max(0.0, WAIT_SECONDS - TOLD_SECONDS))
        _sign(file)
    except Timeout:
        raise StoreError(
            f"{place}: {_holder(file)} has been writing to it all the {WAIT_SECONDS / 60:.0f} minutes that this "
            "process waited; try again when it is done, or end it"
        ) from None
    except OSError as error:
        todo = f"; {_READ_ONLY}" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else ""
        raise StoreError(f"{place}: cannot be written ({error.strerror}){todo}") from error
    try:
        yield
    finally:
        held.release()


def _sign(file: Path) -> None:
    """Write into a held lock who holds it; a full disk is no reason to fail here."""
    try:
        file.write_text(
            f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}"
        )
    except OSError:
        return


def _holder(file: Path) -> str:
    try:
        return file.read_text(errors="replace") or "another process"
    except OSError:
        return "another process"


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what LanceDB raises for a damaged or missing store, or a full disk, into `StoreError`."""
    try:
        yield
    except ConvscopeError:
        raise
    except Exception as error:
        if any(sign in str(error) for sign in _FULL):
            raise StoreError(_full(what)) from error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(f"{what} is damaged, gone, or cannot be written ({first})") from error


def _full(what: str) -> str:
    return (
        f"{what}: the disk is full; what was written before is not lost. Make room, and run the same command again"
    )
