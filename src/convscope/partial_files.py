"""Hidden files and folders that are being written, each locked by its run.

A run that is killed leaves its partial file behind, but not the lock on it: so the next run knows what it may
remove.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing removed
    fcntl = None  # type: ignore[assignment]

_HOST = re.sub(r"\W", "_", platform.node())[:64]
_A_DAY = 86_400  # seconds


@contextmanager
def partial_beside(place: Path, *, is_folder: bool) -> Iterator[Path]:
    """Make and lock a hidden file or folder beside ``place``; whatever stops the writing, it is removed."""
    made = [parent for parent in place.parents if not parent.exists()]  # the deepest first
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(place.parent)
        partial, lock = _locked(place.parent, is_folder)
        try:
            yield partial
        finally:
            os.close(lock)
            _remove(partial)  # exists only if something went wrong
    except BaseException:
        for parent in made:
            with suppress(OSError):  # another run has put something there
                parent.rmdir()
        raise


def _locked(folder: Path, is_folder: bool) -> tuple[Path, int]:
    """A new hidden file or folder, and the descriptor that holds its lock."""
    while True:
        partial = folder / f".convscope-{_HOST}-{secrets.token_hex(6)}.partial"
        partial.mkdir() if is_folder else partial.touch(exist_ok=False)
        try:
            lock = os.open(partial, os.O_RDONLY)
        except FileNotFoundError:  # another run removed it before it was locked
            continue
        if _is_locked(lock) and partial.exists():
            return partial, lock
        os.close(lock)


def _is_locked(descriptor: int) -> bool:
    """Lock it. False if another run holds the lock, as it does while it removes what we have just made."""
    with suppress(OSError):  # this file system has no locks, so that nothing is removed on it
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _remove_dead(folder: Path) -> None:
    """Remove what killed runs of this user have left in a folder."""
    if fcntl:
        for found in folder.glob(".convscope-*.partial"):
            with suppress(OSError):  # such as one that is locked, as its run is alive
                _remove_if_dead(found)


def _remove_if_dead(found: Path) -> None:
    descriptor = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        is_plain = stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)
        # On a shared file system the locks of other machines may be invisible.
        is_here = found.name.startswith(f".convscope-{_HOST}-") or time.time() - about.st_mtime > _A_DAY
        if is_plain and is_here and about.st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(found)
    finally:
        os.close(descriptor)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)
