"""A scan on disk while it is made: which images are in it, what was read of them, and the sums so far.

The folder holds numbered parts, each with some images, and moments.npz with the sums over the first n parts. A
part is written before the moments that count it, each of them whole or not at all, so that a run that is killed at
any moment leaves some whole parts behind, and sums that match them. A part that is not counted yet is forgotten.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import OutputError
from ..outputs import check_options, replace_file
from ..results import Array
from .channel_readings import Moments

WRITE_SECONDS, WRITE_IMAGES = 5.0, 512  # computed again after a kill: at most so much, and one turn
COLUMNS = ("peaks", "places", "means", "silent")
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Rows(NamedTuple):
    """Some images, with an error for those that cannot be read; by column and layer, (n, C) for the n others."""

    keys: Sequence[str]
    stamps: Sequence[str]
    errors: Sequence[str]
    values: Mapping[tuple[str, str], Array]


class ScanRow(NamedTuple):
    """An image in the scan: its row, counted over all parts, or -1 with the reason why it could not be read."""

    row: int
    stamp: str
    error: str = ""


class ScanState:
    """The parts of a scan in a folder, which one run at a time adds to.

    Args:
        folder: of the parts; exists.
        about: what the scan is of: the network and the layers, as JSON has it.
        layers: their names.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], layers: Sequence[str]) -> None:
        self._folder, self._layers = folder, tuple(layers)
        check_options(self._folder, about, "a scan")
        moments = self._read("moments.npz") or {}
        self._n_parts = int(moments.pop("n_parts", 0))
        split = {name: name.partition(":") for name in moments}
        sums = {
            layer: Moments({split[name][0]: value for name, value in moments.items() if split[name][2] == layer})
            for layer in layers
        }
        self.images: dict[str, ScanRow] = {}
        self.n_rows = 0
        for part in self._parts():
            self._count(part["keys"].tolist(), part["stamps"].tolist(), part["errors"].tolist())
        self._pending: tuple[list[Rows], dict[str, Moments]] = ([], sums)
        self._written = time.monotonic()

    @property
    def moments(self) -> dict[str, Moments]:
        """The sums of each layer over all that was added."""
        return self._pending[1]

    def add(self, rows: Rows, moments: dict[str, Moments]) -> None:
        """Take in images, and the sums that they are in; both or, on Ctrl-C, none of them."""
        self._pending = ([*self._pending[0], rows], moments)
        n = sum(len(some.keys) for some in self._pending[0])
        if n >= WRITE_IMAGES or time.monotonic() - self._written > WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was added since the last time; only then it is in `images`."""
        rows, moments = self._pending
        if not rows:
            return
        columns = ((each.keys, each.stamps, each.errors) for each in rows)
        texts = [[text for some in column for text in some] for column in zip(*columns, strict=True)]
        part = {name: np.array(texts[i], np.str_) for i, name in enumerate(("keys", "stamps", "errors"))}
        for name, layer in rows[0].values:
            part[f"{name}:{layer}"] = np.concatenate([each.values[name, layer] for each in rows])
        self._replace(_part_name(self._n_parts), part)
        sums = {f"{name}:{layer}": v for layer, m in moments.items() for name, v in m.state.items()}
        self._replace("moments.npz", {"n_parts": np.array(self._n_parts + 1), **sums})
        self._pending = ([], moments)
        self._n_parts += 1
        self._count(*texts)
        self._written = time.monotonic()

    def parts(self, name: str, layer: str) -> Iterator[tuple[int, Array]]:
        """One column of a layer: for each part, its first row and the values (n, C)."""
        first = 0
        for part in self._parts(f"{name}:{layer}"):
            values = part[f"{name}:{layer}"]
            yield first, values
            first += len(values)

    def _parts(self, *names: str) -> Iterator[dict[str, Array]]:
        for i in range(self._n_parts):
            part = self._read(_part_name(i), names or ("keys", "stamps", "errors"))
            if part is None:
                raise OutputError(f"{self._folder}: {_part_name(i)} is missing; scan into a new output")
            yield part

    def _count(self, keys: Sequence[str], stamps: Sequence[str], errors: Sequence[str]) -> None:
        for key, stamp, error in zip(keys, stamps, errors, strict=True):
            self.images[key] = ScanRow(-1 if error else self.n_rows, stamp, error)
            self.n_rows += not error

    def _read(self, name: str, wanted: Sequence[str] | None = None) -> dict[str, Array] | None:
        file = self._folder / name
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {key: stored[key] for key in (stored.files if wanted is None else wanted)}
        except _DAMAGE as error:
            raise OutputError(f"{file}: cannot be read ({error}); scan into a new output") from error

    def _replace(self, name: str, arrays: Mapping[str, Array]) -> None:
        data = io.BytesIO()
        np.savez(data, **arrays)  # type: ignore[arg-type]
        replace_file(self._folder / name, [data.getvalue()], overwrite=True)


def _part_name(i: int) -> str:
    return f"part-{i:06}.npz"
