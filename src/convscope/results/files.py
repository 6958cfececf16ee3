"""Results on disk: a directory of arrays.npz, picture.png and manifest.json, written all at once or not at all.

A field whose metadata says ``{"saved": False}`` is left out and comes back with its default.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import OutputError
from .base import Provenance, Result

AnyResult = TypeVar("AnyResult", bound=Result)
FORMAT = 1
_DAMAGE = (
    ImportError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    EOFError,
    IndexError,
    RecursionError,
    MemoryError,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
)
_KEY = ":"  # an array inside a mapping is stored as "field:key"


def save(result: Result, directory: str | Path) -> Path:
    """Write a result into a new directory. Refuses one that exists and holds anything."""
    with new_directory(directory) as partial:
        _write(result, partial)
    return Path(directory)


@contextmanager
def new_directory(directory: str | Path) -> Iterator[Path]:
    """A hidden directory beside ``directory`` to write into; it takes that name when all went well, or vanishes.

    Raises:
        OutputError: the directory exists and holds anything, or cannot be written.
    """
    directory = Path(directory)
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise OutputError(f"{directory}: exists already; choose another output or remove it")
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise OutputError(f"{directory}: cannot be written ({error.strerror})") from error
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        os.replace(partial, directory)
    except OSError as error:
        raise OutputError(f"{directory}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there only if something went wrong


def _write(result: Result, directory: Path) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    values: dict[str, Any] = {}
    for f in fields(result):
        if not f.metadata.get("saved", True):
            continue
        value = getattr(result, f.name)
        if isinstance(value, np.ndarray):
            arrays[f.name] = value
        elif isinstance(value, Mapping):
            arrays |= {f"{f.name}{_KEY}{key}": array for key, array in value.items()}
        elif f.name != "provenance":
            values[f.name] = value
    np.savez_compressed(directory / "arrays.npz", **arrays)  # type: ignore[arg-type]
    if result.has_picture:
        from ..render import save_png

        save_png(result, directory / "picture.png")
    manifest = {
        "format": FORMAT,
        "kind": type(result).__name__,
        "module": type(result).__module__,
        "values": values,
        "provenance": asdict(result.provenance),
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")


def load(kind: type[AnyResult], directory: str | Path) -> AnyResult:
    """Read a saved result; ``kind`` is its class, or `Result` for whatever it is."""
    directory = Path(directory)
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        with open(directory / "arrays.npz", "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
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
        return found(provenance=Provenance(**_tuples(manifest["provenance"])), **values)
    except FileNotFoundError as error:
        raise OutputError(f"{directory}: not a saved result ({Path(error.filename).name} is missing)") from error
    except _DAMAGE as error:
        raise OutputError(f"{directory}: not a saved {kind.__name__} ({error})") from error


def _class_of(manifest: Mapping[str, Any], kind: type[AnyResult], directory: Path) -> type[AnyResult]:
    """The class that a manifest names: a result of convscope's own, and of the kind that was asked for."""
    name, module = str(manifest["kind"]), str(manifest["module"])
    parts = module.split(".")
    if parts[0] != "convscope" or any(part.startswith("_") for part in parts):  # convscope.__main__ would run
        raise OutputError(f"{directory}: holds a {module}.{name}, which is no result of convscope")
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise OutputError(f"{directory}: holds {_a(name)}, not {_a(kind.__name__)}")
    return found


def _tuples(value: Any) -> Any:
    """JSON knows no tuples: its lists were tuples."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _a(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
