"""Results on disk: a directory of arrays.npz, picture.png and manifest.json, written all at once or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import OutputError
from .base import Provenance, Result

AnyResult = TypeVar("AnyResult", bound=Result)
FORMAT = 1
_KEY = ":"  # an array inside a mapping is stored as "field:key"


def save(result: Result, directory: str | Path) -> Path:
    """Write a result into a new directory. Refuses one that exists and holds anything."""
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory}: exists already; choose another output or remove it")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise OutputError(f"{directory}: cannot be written ({error.strerror})") from error
    try:
        _write(result, partial)
        partial.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        os.replace(partial, directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return directory


def _write(result: Result, directory: Path) -> None:
    from ..render import save_png

    arrays: dict[str, np.ndarray[Any, Any]] = {}
    values: dict[str, Any] = {}
    for f in fields(result):
        value = getattr(result, f.name)
        if isinstance(value, np.ndarray):
            arrays[f.name] = value
        elif isinstance(value, Mapping):
            arrays |= {f"{f.name}{_KEY}{key}": array for key, array in value.items()}
        elif f.name != "provenance":
            values[f.name] = value
    np.savez_compressed(directory / "arrays.npz", **arrays)  # type: ignore[arg-type]
    save_png(result, directory / "picture.png")
    manifest = {
        "format": FORMAT,
        "kind": type(result).__name__,
        "values": values,
        "provenance": asdict(result.provenance),
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")


def load(kind: type[AnyResult], directory: str | Path) -> AnyResult:
    """Read a saved result; ``kind`` is its class, or `Result` for whatever it is."""
    directory = Path(directory)
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        stored = np.load(directory / "arrays.npz", allow_pickle=False)
        known = {c.__name__: c for c in (kind, *_descendants(kind))}
        found = known[manifest["kind"]]
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in manifest["values"].items()}
        for key in stored.files:
            name, _, inner = key.partition(_KEY)
            if inner:
                values.setdefault(name, {})[inner] = stored[key]
            else:
                values[name] = stored[key]
        origin = {k: tuple(v) if isinstance(v, list) else v for k, v in manifest["provenance"].items()}
        return found(provenance=Provenance(**origin), **values)
    except FileNotFoundError as error:
        raise OutputError(f"{directory}: not a saved result ({Path(error.filename).name} is missing)") from error
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise OutputError(f"{directory}: not a saved {kind.__name__} ({error})") from error


def _descendants(kind: type[Any]) -> list[type[Any]]:
    return [c for child in kind.__subclasses__() for c in (child, *_descendants(child))]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
