"""Results on disk: their arrays as arrays.npz, everything else as manifest.json.

A field whose metadata says ``{"saved": False}`` is not written and is read back as its default. A field that is a
result itself goes into a folder with its name.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import OutputError
from .provenance import Provenance

Kind = TypeVar("Kind")  # a class of results
FORMAT = 1
_DAMAGE = (  # what reading a damaged file can raise
    ImportError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    EOFError,
    IndexError,
    MemoryError,
    OSError,
    RuntimeError,  # an encrypted archive
    zipfile.BadZipFile,
    zlib.error,
)
_MANIFEST_SAYS = b'"module": "convscope'
_MANIFEST_START = 1 << 16  # bytes, within which it says so
_KEY = ":"  # an array inside a mapping is stored as "field:key"


def write(result: Any, directory: Path) -> None:
    """Write a result's arrays.npz and manifest.json into a directory."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    values: dict[str, Any] = {}
    parts: list[str] = []
    for f in fields(result):
        if not f.metadata.get("saved", True):
            continue
        value = getattr(result, f.name)
        if isinstance(value, np.ndarray):
            arrays[f.name] = value
        elif isinstance(value, Mapping):
            arrays |= {f"{f.name}{_KEY}{key}": array for key, array in value.items()}
        elif hasattr(value, "provenance"):
            parts.append(f.name)
            (directory / f.name).mkdir()
            write(value, directory / f.name)
        elif f.name != "provenance":
            values[f.name] = value
    np.savez_compressed(directory / "arrays.npz", **arrays)  # type: ignore[arg-type]
    manifest = {
        "format": FORMAT,
        "kind": type(result).__name__,
        "module": _room(type(result).__module__),
        "values": values,
        "parts": parts,
        "provenance": asdict(result.provenance),
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")


def is_saved(folder: str | Path) -> bool:
    """Whether a folder holds a saved result, judged by its files and the start of its manifest."""
    manifest = Path(folder) / "manifest.json"
    try:
        if not (manifest.is_file() and manifest.with_name("arrays.npz").is_file()):  # reading a pipe never ends
            return False
        with manifest.open("rb") as file:
            return _MANIFEST_SAYS in file.read(_MANIFEST_START)
    except (OSError, ValueError):  # ValueError: no file can have that name
        return False


def read(kind: type[Kind], directory: str | Path) -> Kind:
    """Read a saved result; ``kind`` is its class or a base class of it."""
    directory = Path(directory)
    try:
        _check_size(directory / "manifest.json")
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        arrays = _arrays(directory / "arrays.npz")
        if manifest["format"] != FORMAT:
            raise OutputError(f"{directory}: written in format {manifest['format']}, this version reads {FORMAT}")
        found = _class_of(manifest, kind, directory)
        values: dict[str, Any] = _tuples(manifest["values"])
        for key, array in arrays.items():
            name, _, inner = key.partition(_KEY)
            if inner:
                values.setdefault(name, {})[inner] = array
            else:
                values[name] = array
        for name in {f.name for f in fields(found)} & {*manifest.get("parts", ())}:  # type: ignore[arg-type]
            values[name] = read(kind.__mro__[-2], directory / name)  # any kind of result: the base of all
        return found(provenance=Provenance(**_tuples(manifest["provenance"])), **values)
    except FileNotFoundError as error:
        raise OutputError(f"{directory}: not a saved result ({Path(error.filename).name} is missing)") from error
    except _DAMAGE as error:
        raise OutputError(f"{directory}: not a saved {kind.__name__} ({error})") from error


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read all arrays, after their headers have shown that they are as long as they claim and fit into memory."""
    _check_size(path)
    with zipfile.ZipFile(path) as archive:
        _check_total(path, sum(_claimed(archive, info) for info in archive.infolist()))
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def _claimed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """The size of an array in bytes according to its header; nothing else of it is read."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is compressed by a method that NumPy does not use")
    with archive.open(info) as file:
        is_first = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        claimed = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or claimed != info.file_size - file.tell():
            raise ValueError(
                f"{info.filename} claims to hold {claimed:,} bytes but has {info.file_size - file.tell():,}"
            )
    return claimed


def _check_size(path: Path) -> None:
    """Refuse what is no regular file, as reading it may never end, and what memory has no room for."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{path.name} is no regular file")
    _check_total(path, about.st_size)


def _check_total(path: Path, n_bytes: int) -> None:
    limit = memory_limit()
    if n_bytes > limit:
        raise OutputError(
            f"{path}: holds {n_bytes / 1e9:,.1f} GB, more than half of the memory of this machine "
            f"({limit / 1e9:,.1f} GB), which is the limit; read it on a larger one"
        )


def memory_limit() -> int:
    """The bytes that a saved result may take: half of the machine's memory, or 8 GB where that is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # Windows
        return 8 * 10**9


def _class_of(manifest: Mapping[str, Any], kind: type[Kind], directory: Path) -> Callable[..., Kind]:
    """The class that a manifest names; refused unless convscope defines it and it is of the kind asked for."""
    name, module = str(manifest["kind"]), str(manifest["module"])
    parts = module.split(".")
    if parts[0] != "convscope" or any(part.startswith("_") for part in parts):  # convscope.__main__ would run
        raise OutputError(f"{directory}: holds a {module}.{name}, which is no result of convscope")
    found = getattr(importlib.import_module(_room(module)), name)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise OutputError(f"{directory}: holds {_a(name)}, not {_a(kind.__name__)}")
    return found


def _room(module: str) -> str:
    """The package that exports a class, such as "convscope.results": it stays the same when files move."""
    return ".".join(module.split(".")[:2])


def _tuples(value: Any) -> Any:
    """Lists back to tuples, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _a(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"
