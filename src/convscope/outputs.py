"""Files and folders that convscope writes: whole or not at all, and never over what it did not write.

Everything is written under a hidden name beside its place, and moved there at the end. A run that is killed leaves
that behind, but not the lock that it held on it, so that the next run knows what it may remove.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from .errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing removed
    fcntl = None  # type: ignore[assignment]

AnyPath: TypeAlias = "str | os.PathLike[str]"
GENERATOR = f"convscope {version('convscope')}"  # by which a file of ours is known: see `_OURS`
# How our HTML and PNG files begin. Anybody's file may hold that text further on, as notes that quote a page do.
_OURS = re.compile(
    rb'\s*<!doctype html>\s*<html lang="en">\s*<head>\s*<meta charset="utf-8">\s*'
    rb'<meta name="generator" content="convscope[ "]'
    rb"|\x89PNG\r\n\x1a\n.{,256}tEXtSoftware\0convscope ",
    re.DOTALL,
)
_HEAD = 1024  # bytes in which that stands
_TABLE = os.path.join("images.lance", "_versions")  # what makes a folder a store
_RESULT = ("manifest.json", "arrays.npz")  # what makes it a saved result
_LONGEST_NAME = 255  # bytes
_HOST = re.sub(r"\W", "_", platform.node())[:64]
_A_DAY = 86_400  # seconds


def check_output(output: AnyPath, *, inputs: Iterable[AnyPath] = (), overwrite: bool = False) -> Path:
    """Where a file is going to be written: nowhere but in a new place, or over a file that convscope wrote.

    Args:
        output: path of the file.
        inputs: files that the same call reads; names of what is no file do no harm.
        overwrite: allow any regular file that is neither an input nor a part of a store or a saved result.

    Returns:
        The place, behind all links.

    Raises:
        OutputError: it is neither, or cannot be written.
    """
    with _explained(output):
        place = Path(os.path.realpath(output))
        _check_no_part(output, place)
        about = _about(place)
        if about is not None:
            _check_kind(output, about)
            check_no_input(place, inputs)  # one of our own may be one: a picture
            if not overwrite and not _is_ours(place):
                raise OutputError(
                    f"{output}: exists, and convscope did not write it; choose another output, or give "
                    "overwrite=True"
                )
            if not os.access(place, os.W_OK) or not about.st_mode & 0o222:  # root may write all the same
                raise OutputError(f"{output}: is read-only; choose another output")
        _check_folder(output, place)
    return place


def check_no_input(output: AnyPath, inputs: Iterable[AnyPath]) -> None:
    """`OutputError` where the output is a file that the same call reads, by whatever name."""
    try:
        about = os.stat(output)
    except (OSError, ValueError):  # it is not there yet
        return
    for one in inputs:
        with suppress(OSError, ValueError):  # no name of a file
            if os.path.samestat(os.stat(one), about):
                raise OutputError(f"{output}: is an input of this very call; choose another output")


def check_directory(directory: AnyPath) -> Path:
    """Where a folder is going to be written: a new one, or one that is empty.

    Returns:
        The place, behind all links.

    Raises:
        OutputError: it holds anything, or cannot be written.
    """
    with _explained(directory):
        place = Path(os.path.realpath(directory))
        _check_no_part(directory, place)
        about = _about(place)
        if about is not None:
            if not stat.S_ISDIR(about.st_mode) or any(place.iterdir()):
                raise OutputError(f"{directory}: exists already; choose another output or remove it")
            if place == Path.cwd():  # whoever stands in it would stand nowhere
                raise OutputError(f"{directory}: is the current folder; give the name of a new one")
        _check_folder(directory, place)
    return place


def replace_file(
    output: AnyPath, pieces: Iterable[str | bytes], *, inputs: Iterable[AnyPath] = (), overwrite: bool = False
) -> None:
    """Write a file whose reader finds the old one or the new one, never half of one. See `check_output`.

    Text is written as UTF-8; what is no text, as a file's name may be, as in ``\\udcff``.
    """
    place = check_output(output, inputs=inputs, overwrite=overwrite)  # again: something may have come meanwhile
    with _explained(output), _beside(place, is_folder=False) as partial, partial.open("wb") as file:
        for piece in pieces:
            file.write(piece.encode("utf-8", "backslashreplace") if isinstance(piece, str) else piece)
        file.flush()
        os.fsync(file.fileno())
        _move(partial, place)


@contextmanager
def new_directory(directory: AnyPath) -> Iterator[Path]:
    """A hidden folder beside ``directory`` to write into; it takes that name when all went well, or vanishes.

    Raises:
        OutputError: see `check_directory`; or writing failed.
    """
    place = check_directory(directory)
    with _explained(directory), _beside(place, is_folder=True) as partial:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        _move(partial, place)


@contextmanager
def _explained(output: AnyPath) -> Iterator[None]:
    """What the system says becomes an `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    except ValueError as error:
        if "embedded null" in str(error) or isinstance(error, UnicodeEncodeError):
            name = repr(os.fspath(output))
            raise OutputError(f"{name}: cannot be written, as no file can have that name") from error
        raise


def _about(place: Path) -> os.stat_result | None:
    """What is there; None for nothing."""
    try:
        return place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_no_part(output: AnyPath, place: Path) -> None:
    """`OutputError` for what belongs to a store or a saved result, which nothing else could make again."""
    for folder in place.parents:
        if (folder / _TABLE).is_dir():
            raise OutputError(f"{output}: lies inside the store {folder}; choose another output")
    if place.name in _RESULT and all((place.parent / name).is_file() for name in _RESULT):
        raise OutputError(f"{output}: is a part of the result saved in {place.parent}; choose another output")


def _check_kind(output: AnyPath, about: os.stat_result) -> None:
    if stat.S_ISDIR(about.st_mode):
        raise OutputError(f"{output}: is a folder; give the name of a file")
    if not stat.S_ISREG(about.st_mode):
        raise OutputError(f"{output}: is no regular file but a pipe, a socket or a device; choose another output")


def _is_ours(place: Path) -> bool:
    with place.open("rb") as file:
        return _OURS.match(file.read(_HEAD)) is not None


def _check_folder(output: AnyPath, place: Path) -> None:
    """Whether a file can be made in the folder that is to hold ``place``: one is made, and vanishes."""
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in place.parts):
        raise OutputError(f"{output}: cannot be written, as a name has at most {_LONGEST_NAME} bytes")
    folder = next(parent for parent in place.parents if parent.exists())
    if not folder.is_dir():
        raise OutputError(f"{output}: cannot be written, as {folder} is a file; choose another output")
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(4096))  # which a full disk does not take


@contextmanager
def _beside(place: Path, *, is_folder: bool) -> Iterator[Path]:
    """A hidden file or folder beside ``place``, locked; whatever stops the writing, nothing of it is left."""
    made = [parent for parent in place.parents if not parent.exists()]  # the deepest first
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(place.parent)
        partial, lock = _locked(place.parent, is_folder)
        try:
            yield partial
        finally:
            os.close(lock)
            _remove(partial)  # there only if something went wrong
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
        except FileNotFoundError:  # another run took us for dead, as there was no lock yet
            continue
        if _is_locked(lock) and partial.exists():
            return partial, lock
        os.close(lock)


def _is_locked(descriptor: int) -> bool:
    """Lock it. False where another run holds the lock, to remove what we have just made."""
    with suppress(OSError):  # no locks on this file system: nothing is removed there
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _remove_dead(folder: Path) -> None:
    """Remove what runs of this user that are dead have left in a folder."""
    if fcntl:
        for found in folder.glob(".convscope-*.partial"):
            with suppress(OSError):  # as for one that is locked: the run is alive
                _remove_if_dead(found)


def _remove_if_dead(found: Path) -> None:
    descriptor = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        is_plain = stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)
        # A shared file system may keep the locks of another machine from us.
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


def _move(partial: Path, place: Path) -> None:
    """Put it in its place, with the permissions and the owner of what was there."""
    about = _about(place)
    if about is not None:
        with suppress(OSError, AttributeError):  # only root may; Windows cannot
            os.chown(partial, about.st_uid, about.st_gid)
        partial.chmod(stat.S_IMODE(about.st_mode))
    os.replace(partial, place)
