"""`load_images`: turn whatever the user passes as images into an `ImageSet`, without opening any."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from .. import tables
from ..arguments import checks_arguments
from ..errors import ImageError, UnavailableError
from .folders import files_in, files_like, has_wildcards, labels_of
from .image_set import ImageSet
from .image_source import WHITE, Color, ImageSource, Item
from .left_out import LeftOut


@dataclass
class _Found:
    """The images found so far, and remarks on the search."""

    sources: list[ImageSource] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)  # searched
    tables: list[Path] = field(default_factory=list)  # read
    skips_errors: bool = False  # whether items of a list may be missing

    def add(self, content: Any, name: str, label: str | None = None) -> None:
        self.sources.append(ImageSource(name, content, label))


@checks_arguments
def load_images(
    source: Any,
    *,
    background: Color = WHITE,
    on_error: Literal["raise", "skip"] | None = None,
    at_least: int | None = None,
) -> ImageSet:
    """Collect images from a path, a folder, a table, a PIL image, an array, a data set, or a sequence of these.

    A folder is searched recursively, in sorted order, without hidden files; an image's label is the name of the
    first-level folder that holds it, or in a list of folders, the folder's own name. The search follows links to
    folders and visits each folder once. It leaves out files that are not images by their names, and folders that
    convscope wrote, and counts them in ``notes``. A pattern like "photos/**/*.jpg" finds files and labels each by
    the folder that holds it. A CSV or Parquet table lists files in a column ``path`` and may have a column
    ``label``. Files are opened only when you index the set.

    Args:
        source: path of a file, folder or table, or a pattern; PIL image; array (H, W), (H, W, C) or
            (N, H, W, C), uint8 in 0..255 or float in [0, 1]; a ``torch.utils.data.Dataset`` of these, with or
            without labels; or a sequence or iterator of these.
        background: the color (0..255) that shows through transparent pixels.
        on_error: "raise" or "skip" an image that cannot be read; by default folders, patterns and tables skip,
            everything else raises.
        at_least: pixels that both sides keep at least. Larger JPEG files are opened at a half, a quarter or an
            eighth of their size, which is several times as fast and not quite the same as scaling the whole image.
            By default every file is opened at its full size.

    Returns:
        An `ImageSet` of N images.

    Raises:
        ImageError: the path does not exist, the folder holds no images, or the type cannot be an image.
        ParameterError: an option is outside its range.

    Cost: lists the folder; reads no image.

    Example:
        >>> load_images(np.zeros((2, 8, 8, 3), np.uint8))
        ImageSet(2 images, 0 labels)
    """
    if isinstance(source, ImageSet):
        return _with_options(source, background, on_error, at_least)
    found = _Found(skips_errors=on_error == "skip")
    is_listing = _find(source, found)
    if not found.sources:
        if found.left_out.unreadable:
            raise UnavailableError(f"no image could be found: {'; '.join(found.left_out.unreadable[:3])}")
        raise ImageError(f"no images were given (an empty {type(source).__name__})")
    return ImageSet(
        found.sources,
        background=background,
        skip_errors=is_listing if on_error is None else on_error == "skip",
        at_least=at_least,
        notes=[*found.left_out.notes(), *found.notes],
        unreadable=found.left_out.unreadable,
        folders=found.folders,
        tables=found.tables,
    )


def _with_options(images: ImageSet, background: Color, on_error: str | None, at_least: int | None) -> ImageSet:
    """The set with the options that differ from the defaults; the set itself if none does."""
    if (background, on_error, at_least) == (WHITE, None, None):
        return images
    other = images.of(images.sources)
    other.background = images.background if background == WHITE else background
    other.skip_errors = images.skip_errors if on_error is None else on_error == "skip"
    other.at_least = images.at_least if at_least is None else at_least
    return other


def _find(source: Any, found: _Found) -> bool:
    """Add the images of a source; True if it is a folder, pattern or table, where some files may not be images."""
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)  # also a path of bytes
        if not path:  # would mean the current folder
            raise ImageError("an empty path was given")
        return _find_path(Path(path), found)
    if isinstance(source, ImageSet):
        found.sources += source.sources
        found.notes += [note for note in source.notes if note not in found.notes]
        found.folders += source.folders
        found.tables += source.tables
        found.left_out.unreadable += source.unreadable
        return source.skip_errors
    if isinstance(source, ImageSource):
        found.sources.append(source)
    elif isinstance(source, Image.Image):
        found.add(source, Path(os.fsdecode(getattr(source, "filename", "") or "image")).name)
    elif isinstance(source, np.ndarray) and source.dtype.kind not in "UO":
        if source.ndim == 4:
            for i, pixels in enumerate(source):
                found.add(pixels, f"image {i}")
        else:
            found.add(source, "image")
    elif isinstance(source, np.ndarray) and source.ndim == 1:  # names, such as a column of a table
        _find_each(source.tolist(), found)
    elif _is_data_set(source):
        _find_items(source, found)
    elif isinstance(source, Sequence | Iterator) and not isinstance(source, bytes | bytearray | memoryview):
        _find_each(source, found)
    else:
        hint = "; pass a path of bytes as os.fsdecode(path)" if isinstance(source, bytes) else ""
        raise ImageError(
            f"cannot read images from a {type(source).__name__}: give a path, a folder, a PIL image, "
            f"a numeric array (H, W, C), or a list of these{hint}"
        )
    return False


def _find_each(sources: Any, found: _Found) -> None:
    """Add the items of a list: number images without a name, and label the images of a folder by its name."""
    for i, item in enumerate(sources):
        first = len(found.sources)
        try:
            _find(item, found)
        except ImageError as error:
            if not found.skips_errors:
                raise
            found.left_out.unreadable.append(str(error))
            continue
        is_folder = isinstance(item, str | os.PathLike) and os.path.isdir(item)
        label = Path(os.fsdecode(item)).resolve().name if is_folder else None
        for place in range(first, len(found.sources)):
            source = found.sources[place]
            name = f"image {i}" if source.name == "image" else source.name
            found.sources[place] = replace(source, name=name, label=label if is_folder else source.label)


def _is_data_set(source: Any) -> bool:
    """Whether it is a data set of torch; checked without importing torch."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(source).__mro__}
    return "torch.utils.data.dataset.Dataset" in kinds and hasattr(source, "__len__")


def _find_items(data_set: Any, found: _Found) -> None:
    """Add the items of a data set without loading them; labels as in torchvision's data sets."""
    targets, classes = getattr(data_set, "targets", None), getattr(data_set, "classes", ())
    for i in range(len(data_set)):
        try:
            target = None if targets is None else int(targets[i])
        except (TypeError, ValueError, LookupError):  # boxes, or more than one label
            target = None
        named = target is not None and 0 <= target < len(classes)
        label = str(classes[target]) if named else None if target is None else str(target)  # type: ignore[index]
        found.add(Item(data_set, i), f"item {i}", label)


def _find_path(path: Path, found: _Found) -> bool:
    try:
        is_folder = path.is_dir()
        if not is_folder and not path.exists() and not path.is_symlink():
            if not has_wildcards(str(path)) or "\0" in str(path):
                raise UnavailableError(f"{path}: no such file or folder")
            _find_pattern(path, found)
        elif is_folder:
            _find_folder(path, found)
        elif path.suffix.lower() in tables.KINDS:
            _find_listed(path, found)
        else:
            found.add(path, str(path))
            return False
    except OSError as error:  # the name is too long, or the folder may not be entered
        raise UnavailableError(f"{path}: cannot be reached ({error.strerror})") from error
    return True


def _find_folder(path: Path, found: _Found) -> None:
    left_out = LeftOut()
    found.folders.append(path)
    files = files_in(path, left_out)
    _check_found(files, f"{path}: the folder holds no images", left_out)
    found.left_out.add(left_out)
    for file, label in labels_of(files, path):
        found.add(file, str(file), label)


def _find_pattern(pattern: Path, found: _Found) -> None:
    """Add files that match a pattern like photos/**/*.jpg; the folder that holds a file is its label."""
    left_out = LeftOut()
    files = files_like(pattern, left_out)
    _check_found(files, f"{pattern}: no image matches this pattern", left_out)
    folder = Path(*takewhile(lambda part: not has_wildcards(part), pattern.parts))
    if str(folder) != folder.anchor:  # the root holds all disks, including those not connected
        found.folders.append(folder)
    found.left_out.add(left_out)
    for file in files:
        found.add(file, str(file), file.parent.name or None)


def _check_found(files: Sequence[Path], text: str, left_out: LeftOut) -> None:
    """Raise `ImageError` if there are no files, and say what was left out."""
    if not files:
        kind = UnavailableError if left_out.unreadable else ImageError
        raise kind("; ".join([text, *left_out.notes(), *left_out.unreadable]))


def _find_listed(table: Path, found: _Found) -> None:
    listing = tables.read_table(table)
    found.notes += listing.notes
    found.tables.append(table)
    for file, label in listing.rows:
        found.sources.append(ImageSource(str(file), file, label, listing.says_label))
