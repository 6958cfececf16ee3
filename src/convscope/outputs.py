"""Where convscope may write, and how: never over what it did not write, and whole or not at all.

Everything is written under a hidden name beside its place and moved there at the end, see `partial_files`.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from .errors import OutputError
from .partial_files import partial_beside

AnyPath: TypeAlias = "str | os.PathLike[str]"
GENERATOR = f"convscope {version('convscope')}"  # by which a file of ours is recognized, see `_OURS`
# How our HTML, PNG and JSON files begin. Only the beginning counts: notes may quote a page further on.
_OURS = re.compile(
    rb'\s*<!doctype html>\s*<html lang="en">\s*<head>\s*<meta charset="utf-8">\s*'
    rb'<meta name="generator" content="convscope[ "]'
    rb"|\x89PNG\r\n\x1a\n.{,256}tEXtSoftware\0convscope "
    rb'|\{\s*"generator": "convscope ',
    re.DOTALL,
)
_HEAD = 1024  # bytes that hold this beginning
_TABLE = os.path.join("images.lance", "_versions")  # what makes a folder a store
_RESULT = ("manifest.json", "arrays.npz")  # what makes a folder a saved result
_LONGEST_NAME = 255  # bytes


def check_output(output: AnyPath, *, inputs: Iterable[AnyPath] = (), overwrite: bool = False) -> Path:
    """Check that a file may be written: to a new place, or over a file that convscope wrote.

    Args:
        output: path of the file.
        inputs: files that the same call reads; names of what is no file do no harm.
        overwrite: also allow any other regular file, unless it is an input or part of a store or a saved result.

    Returns:
        The path with all links resolved.

    Raises:
        OutputError: the file may not be replaced, or cannot be written.
    """
    with _explained(output):
        place = Path(os.path.realpath(output))
        _check_no_part(output, place)
        about = _about(place)
        if about is not None:
            _check_kind(output, about)
            check_no_input(place, inputs)  # a picture of ours may be an input
            if not overwrite and not _is_ours(place):
                raise OutputError(
                    f"{output}: exists, and convscope did not write it; choose another output, or give "
                    "overwrite=True"
                )
            if not os.access(place, os.W_OK) or not about.st_mode & 0o222:  # root may write all the same
                raise OutputError(f"{output}: is read-only; choose another output")
        _check_folder(output, place)
    return place


def check_new(output: AnyPath) -> None:
    """Raise `OutputError` if anything is there, also a file that convscope wrote."""
    if os.path.lexists(output):
        raise OutputError(f"{output}: exists already; choose another output or remove it")


def check_no_input(output: AnyPath, inputs: Iterable[AnyPath]) -> None:
    """Raise `OutputError` if the output is a file that the same call reads, by whatever name."""
    try:
        about = os.stat(output)
    except (OSError, ValueError):  # it does not exist yet
        return
    for one in inputs:
        with suppress(OSError, ValueError):  # no name of a file
            if os.path.samestat(os.stat(one), about):
                raise OutputError(f"{output}: is an input of this very call; choose another output")


def check_directory(directory: AnyPath) -> Path:
    """Check that a folder may be written: a new one, or one that is empty.

    Returns:
        The path with all links resolved.

    Raises:
        OutputError: the folder holds anything, or cannot be written.
    """
    with _explained(directory):
        place = Path(os.path.realpath(directory))
        _check_no_part(directory, place)
        about = _about(place)
        if about is not None:
            if not stat.S_ISDIR(about.st_mode) or any(place.iterdir()):
                raise OutputError(f"{directory}: exists already; choose another output or remove it")
            if place == Path.cwd():  # it would be replaced under whoever works in it
                raise OutputError(f"{directory}: is the current folder; give the name of a new one")
        _check_folder(directory, place)
    return place


def replace_file(
    output: AnyPath, pieces: Iterable[str | bytes], *, inputs: Iterable[AnyPath] = (), overwrite: bool = False
) -> None:
    """Write a file such that readers find the old one or the new one, never half of one. See `check_output`.

    Text is written as UTF-8; bytes of a file's name that are no text are escaped, as in ``\\udcff``.
    """
    with new_file(output, inputs=inputs, overwrite=overwrite) as partial, partial.open("wb") as file:
        for piece in pieces:
            file.write(piece.encode("utf-8", "backslashreplace") if isinstance(piece, str) else piece)


@contextmanager
def new_file(output: AnyPath, *, inputs: Iterable[AnyPath] = (), overwrite: bool = False) -> Iterator[Path]:
    """Give a hidden file to write; it takes its place on success and vanishes on failure. See `check_output`."""
    place = check_output(output, inputs=inputs, overwrite=overwrite)  # again: one may have appeared
    with _explained(output), partial_beside(place, is_folder=False) as partial:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        _move(partial, place)


def check_options(folder: Path, about: Mapping[str, Any], kind: str) -> None:
    """`OutputError` if a folder of unfinished work, such as "a scan", is one with other options; an empty one gets
    these."""
    file, about = folder / "about.json", json.loads(json.dumps(about))
    if not file.exists():
        replace_file(file, [json.dumps(about)])
        return
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: cannot be read ({error}); choose another output") from error
    differ = [name for name in about if not isinstance(known, dict) or known.get(name) != about[name]]
    if differ:
        raise OutputError(
            f"{folder.parent}: holds {kind} that differs in {' and '.join(differ)}; choose another output"
        )


@contextmanager
def new_directory(directory: AnyPath) -> Iterator[Path]:
    """Give a hidden folder to write into; it is renamed to ``directory`` on success and vanishes on failure.

    Raises:
        OutputError: see `check_directory`; or writing failed.
    """
    place = check_directory(directory)
    with _explained(directory), partial_beside(place, is_folder=True) as partial:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        _move(partial, place)


@contextmanager
def _explained(output: AnyPath) -> Iterator[None]:
    """Turn errors of the system into `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    except ValueError as error:
        if "embedded null" in str(error) or isinstance(error, UnicodeEncodeError):
            name = repr(os.fspath(output))
            raise OutputError(f"{name}: cannot be written: no file can have this name") from error
        raise


def _about(place: Path) -> os.stat_result | None:
    """The status of what is there; None for nothing."""
    try:
        return place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_no_part(output: AnyPath, place: Path) -> None:
    """Raise `OutputError` for a part of a store or of a saved result, which nobody could make again."""
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
    """Check that the folder of ``place`` can hold a file, by making one that vanishes."""
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in place.parts):
        raise OutputError(f"{output}: cannot be written, as a name has at most {_LONGEST_NAME} bytes")
    folder = next(parent for parent in place.parents if parent.exists())
    if not folder.is_dir():
        raise OutputError(f"{output}: cannot be written, as {folder} is a file; choose another output")
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(4096))  # fails on a full disk


def _move(partial: Path, place: Path) -> None:
    """Put it in its place, with the permissions and the owner of what was there."""
    about = _about(place)
    if about is not None:
        with suppress(OSError, AttributeError):  # only root may; Windows cannot
            os.chown(partial, about.st_uid, about.st_gid)
        partial.chmod(stat.S_IMODE(about.st_mode))
    os.replace(partial, place)
