"""The archive of a TorchScript file or of an exported program, read within limits and as PyTorch reads it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from ..errors import ModelError
from .checkpoints import summary

_LARGEST_PART = 2**26  # of what is neither weights nor an input
_MOST_PARTS = 100_000


class ProgramArchive:
    """The records of an open file by name, without the name of the folder that holds them all.

    Two readers of zip archives need not see the same in a file that was made for it. Records are therefore read as
    PyTorch will read them, and only if Python's reader lists the same.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.path, self._file = path, file
        listed, self._python = self._list()
        try:
            file.seek(0)
            self._torch: Any = torch._C.PyTorchFileReader(file)
            names = list(self._torch.get_all_records())
        except RuntimeError:  # programs of PyTorch 2.7 and before, which it reads by Python
            self._torch, names = None, list(listed)
        else:
            listed = {name.partition("/")[2]: size for name, size in listed.items()}
        if sorted(names) != sorted(listed) or len({name.lower() for name in names}) != len(names):
            raise ModelError(f"{path}: is damaged, or made to mislead: its list of parts can be read in two ways")
        self.sizes: dict[str, int] = listed

    @property
    def is_of_python(self) -> bool:
        """Whether PyTorch reads the file by Python's own reader, as it did before 2.8."""
        return self._torch is None

    def _list(self) -> tuple[dict[str, int], zipfile.ZipFile]:
        self._file.seek(0)
        try:
            archive = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ModelError(f"{self.path}: is cut short or damaged ({error})") from None
        records = archive.infolist()
        roots = {record.filename.partition("/")[0] for record in records if "/" in record.filename}
        total, size = sum(record.file_size for record in records), self.path.stat().st_size
        packed = sum(r.file_size for r in records if r.compress_type != zipfile.ZIP_STORED)
        if len(records) > _MOST_PARTS or packed > _LARGEST_PART or total - packed > size:
            raise ModelError(
                f"{self.path}: has {len(records):,} parts and expands from {size:,} to {total:,} bytes; it is "
                "damaged or malicious"
            )
        if len({record.filename for record in records}) != len(records) or len(roots) > 1 + (
            "extra_files" in roots
        ):
            raise ModelError(f"{self.path}: is damaged, or made to mislead: it holds parts twice")
        return {record.filename: record.file_size for record in records}, archive

    def read(self, name: str, *, limit: int | None = _LARGEST_PART) -> bytes:
        """The bytes of a record; `ModelError` above the limit."""
        if limit is not None and self.sizes[name] > limit:
            raise ModelError(
                f"{self.path}: its part {name} has {self.sizes[name]:,} bytes; at most {limit:,} are read"
            )
        try:
            return bytes(self._python.read(name) if self._torch is None else self._torch.get_record(name))
        except Exception as error:
            raise ModelError(f"{self.path}: its part {name} is damaged ({summary(error)})") from None

    def matching(self, pattern: str) -> Iterator[str]:
        """The names of the records that fit a regular expression."""
        return (name for name in self.sizes if re.fullmatch(pattern, name))

    def refuse_pickled_code(self, name: str) -> None:
        """`ModelError` unless a record that torch.save has written holds tensors and plain values alone."""
        content = io.BytesIO(self.read(name, limit=None))
        try:
            torch.load(content, weights_only=True, map_location="meta")
        except Exception as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f"a {found[1]}" if found else "more than tensors"
            raise harmful(self.path, f"its part {name} holds {what}, and reading that can run any code") from None


def harmful(path: Path, what: str) -> ModelError:
    """The error for a file that is not known to be harmless."""
    return ModelError(
        f"{path}: was not loaded: {what}. If you know who made the file, and trust it: load_model(PATH, "
        "trust_pickle=True)"
    )
