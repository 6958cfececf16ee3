"""Identify a weights file by its first bytes, and refuse one that would take too much memory to read."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import ModelError

Kind: TypeAlias = Literal["zip", "pickle", "safetensors", "torchscript", "exported", "onnx"]

_MIB = 2**20
# Unpickled Python objects take about 60 times the memory of their pickle. The pickle of a checkpoint with its
# optimizer has a few hundred bytes per tensor.
_LARGEST_PICKLE = 16 * _MIB
_HEADER = 512

# The first bytes of other files, and what the error says about each.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the weights: fetch them with `git lfs pull`",
    ),
    (
        b"<",
        "is a web page or XML, not weights (did the download need a login?): download it again",
    ),
    (b"\x1f\x8b", "is compressed by gzip: unpack it first"),
    (b"BZh", "is compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it first"),
    (b"Rar!", "is a rar archive: unpack it first"),
    (b"\x89HDF", "is an HDF5 file, as written by Keras, not PyTorch weights: convert it first"),
    (b"\x93NUMPY", "is a NumPy array, not a network's weights by name"),
    (b"GGUF", "is a GGUF file, not PyTorch weights: convert it first"),
)
# ONNX files have no magic number. They are Protocol Buffers that begin with field 1, the version of the format,
# and go on with another field of a model.
_ONNX_VERSION, _ONNX_VERSIONS_AT_MOST, _ONNX_FIELDS = 0x08, 32, b"\x12\x1a\x22\x28\x32\x3a\x42\x72"


def kind_of(path: Path) -> Kind:
    """How to read a file; `ModelError` if it has no weights or would take far more memory than its size.

    Reading an accepted file takes at most its size plus about 60 times the size of its pickle.
    """
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise ModelError(f"{path}: is a folder; give the weights file in it (.pt, .pth or .safetensors)")
        if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for a writer
            raise ModelError(f"{path}: is no regular file but a pipe, a socket or a device; give a file")
        size = about.st_size
        with path.open("rb") as file:
            start = file.read(_HEADER)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    if not start:
        raise ModelError(f"{path}: is empty (0 bytes); copy or download it again")
    if start.startswith(b"PK"):
        return _kind_of_zip(path, size)
    if _is_safetensors(start, size):
        return "safetensors"
    for magic, what in _OTHERS:
        if start.lstrip().startswith(magic):
            raise ModelError(f"{path}: {what}")
    if path.suffix.lower() == ".onnx" or _is_onnx(start):
        return "onnx"
    if start[257:262] == b"ustar" and start[0] != 0x80:
        raise ModelError(
            f"{path}: is a tar archive: unpack it, or, if it was written by torch.save before 2017, save it again "
            "with a version of PyTorch that can still read it"
        )
    if start[0] == 0x80:
        return "pickle"
    if _is_text(start):
        raise ModelError(f"{path}: is a text file, not weights: it begins with {start[:40].decode()!r}")
    raise ModelError(
        f"{path}: is neither a PyTorch file (.pt, .pth) nor .safetensors: it begins with {start[:8]!r}"
    )


def _kind_of_zip(path: Path, size: int) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path}: is cut short or damaged ({error}); copy or download it again") from None
    names = [record.filename for record in records]
    if any(name.endswith("/archive_format") or name == "serialized_exported_program.json" for name in names):
        return "exported"
    pickles = [record for record in records if record.filename.rpartition("/")[2] == "data.pkl"]
    if not pickles:
        what = "NumPy arrays (.npz)" if any(name.endswith(".npy") for name in names) else ", ".join(names[:3])
        raise ModelError(f"{path}: is a zip archive of {what}, not one written by torch.save")
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        return "torchscript"  # its code may be compressed
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ModelError(
            f"{path}: is a compressed archive, which may expand to any size; torch.save never compresses: repack "
            "it uncompressed (zip -0 -r), or save it again"
        )
    total = sum(record.file_size for record in records)
    if total > size:
        raise ModelError(f"{path}: claims {total:,} bytes of weights but has {size:,}; it is damaged or malicious")
    if pickles[0].file_size > _LARGEST_PICKLE:
        raise ModelError(
            f"{path}: has {pickles[0].file_size / _MIB:,.0f} MiB of Python objects besides its weights (at most "
            f"{_LARGEST_PICKLE // _MIB}), and reading them would take 60 times that: save only model.state_dict()"
        )
    return "zip"


def _is_safetensors(start: bytes, size: int) -> bool:
    """Whether it starts with eight bytes that hold the length of a header, and then the header as JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _is_onnx(start: bytes) -> bool:
    """Whether it begins as a Protocol Buffer with an ONNX model: the version of the format, and another field."""
    is_version = start[0] == _ONNX_VERSION and len(start) > 2 and 0 < start[1] <= _ONNX_VERSIONS_AT_MOST
    return is_version and start[2] in _ONNX_FIELDS


def _is_text(start: bytes) -> bool:
    try:
        return all(c.isprintable() or c.isspace() for c in start[:64].decode("ascii"))
    except UnicodeDecodeError:
        return False
