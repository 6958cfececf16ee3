"""What kind of file somebody gives as weights, told by its first bytes, and how much it would take to read it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import ModelError

Kind: TypeAlias = Literal["zip", "pickle", "safetensors", "torchscript"]

_MIB = 2**20
# Python's objects take some 60 times as much memory as the pickle that makes them. That of a checkpoint with its
# optimizer has a few hundred bytes for each tensor.
_LARGEST_PICKLE = 16 * _MIB
_HEADER = 512

# What a file begins with, and what is to be said of it.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS, not the weights: fetch them by `git lfs pull`",
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
    (b"\x89HDF", "is an HDF5 file, as Keras writes, not weights of PyTorch: convert it first"),
    (b"\x93NUMPY", "is an array of NumPy, not the weights of a network by their names"),
    (b"GGUF", "is a GGUF file, not weights of PyTorch: convert it first"),
)
_ONNX = (
    "is an ONNX graph, not weights of PyTorch: save the state dict of the network that it was exported from, or "
    "turn it into a module (onnx2torch does) and give Model(module)"
)


def kind_of(path: Path) -> Kind:
    """How to read a file; `ModelError` where it holds no weights, or would take far more memory than its size.

    One that is let through takes no more than its own size, and some 60 times that of its pickle.
    """
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; give the file with the weights in it (.pt, .pth or .safetensors)")
    try:
        size = path.stat().st_size
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
    if path.suffix == ".onnx" or (start[0] == 0x08 and b"pytorch" in start[:64]):
        raise ModelError(f"{path}: {_ONNX}")
    if start[257:262] == b"ustar" and start[0] != 0x80:
        raise ModelError(
            f"{path}: is a tar archive: unpack it, or, if torch.save of before 2017 wrote it, save it again by a "
            "version that can still read it"
        )
    if start[0] == 0x80:
        return "pickle"
    if _is_text(start):
        raise ModelError(f"{path}: is a text file, not weights: it begins with {start[:40].decode()!r}")
    raise ModelError(f"{path}: is neither of PyTorch (.pt, .pth) nor .safetensors: it begins with {start[:8]!r}")


def _kind_of_zip(path: Path, size: int) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"{path}: its end is missing, or it is damaged ({error}); copy or download it again"
        ) from None
    names = [record.filename for record in records]
    pickles = [record for record in records if record.filename.rpartition("/")[2] == "data.pkl"]
    if not pickles:
        what = "arrays of NumPy (.npz)" if any(name.endswith(".npy") for name in names) else ", ".join(names[:3])
        raise ModelError(f"{path}: is a zip archive of {what}, not one of torch.save")
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        return "torchscript"  # which compresses its code
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ModelError(
            f"{path}: is a compressed archive, and would take any amount of memory; torch.save never compresses: "
            "unpack it and put it together again without (zip -0 -r), or save it again"
        )
    total = sum(record.file_size for record in records)
    if total > size:
        raise ModelError(
            f"{path}: claims {total:,} bytes of weights and has {size:,}; it is damaged, or made to fool"
        )
    if pickles[0].file_size > _LARGEST_PICKLE:
        raise ModelError(
            f"{path}: has {pickles[0].file_size / _MIB:,.0f} MiB of Python objects beside its weights (at most "
            f"{_LARGEST_PICKLE // _MIB}), and reading them would take 60 times that: save model.state_dict() alone"
        )
    return "zip"


def _is_safetensors(start: bytes, size: int) -> bool:
    """Eight bytes of length, and then so much JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _is_text(start: bytes) -> bool:
    try:
        return all(c.isprintable() or c.isspace() for c in start[:64].decode("ascii"))
    except UnicodeDecodeError:
        return False
