"""Open, orient and convert images: the one place that reads image files.

An opened image is a NumPy array (H, W, C): uint8 in 0..255, or float32 in [0, 1]. Files and PIL images
always open as uint8 (H, W, 3): the EXIF orientation applied, transparency laid over a stated background,
16-bit samples scaled to 8, the first frame of an animation. Nothing here knows about networks.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from . import tables
from .errors import ImageError

_ORIENTATION = 0x0112  # EXIF tag
_FIRST_ON_ITS_SIDE = 5  # value of that tag: from there on, rows are columns
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Only what Pillow decodes by itself: EPS, which it knows by content, would go to Ghostscript, which runs it.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "TGA", "ICO")
_RGB = 3  # torchvision's ImageReadMode.RGB

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Color: TypeAlias = tuple[int, int, int]
WHITE: Color = (255, 255, 255)

# Pillow's own limit for a single image, made an error: 8-bit RGB of this size takes about 270 MB.
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485


@dataclass(frozen=True, eq=False)
class Source:
    """One image that has not been opened yet: its name for messages, its label, and where it comes from.

    ``says_label``: whether a label of None means that it has none, as an empty cell of a table's column does.
    """

    name: str
    content: Path | Image.Image | Pixels | Item
    label: str | None = None
    says_label: bool = False


@dataclass(frozen=True, eq=False)
class Item:
    """One item of a data set: an image, or an image with its label."""

    data_set: Any
    number: int

    def image(self) -> Image.Image | Pixels:
        """What the data set holds, as `open_image` takes it; a tensor (C, H, W) becomes an array (H, W, C)."""
        item = self.data_set[self.number]
        image = item[0] if isinstance(item, tuple | list) else item
        if hasattr(image, "permute"):
            return np.asarray(image.permute(1, 2, 0).numpy())
        return image  # type: ignore[no-any-return]


class ImageSet(Sequence[Pixels]):
    """Images that are opened when they are looked at, so a folder of any size takes no memory.

    Indexing opens one image and returns an array (H, W, C). ``skip_errors`` tells a long run to go on
    after an image that cannot be read (the default for folders) instead of raising. ``notes`` are remarks on how
    they were found, as of files that are no images; ``unreadable`` are folders that could not be looked into, and
    ``folders`` those that were given.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        background: Color = WHITE,
        skip_errors: bool = False,
        at_least: int | None = None,
        notes: Sequence[str] = (),
        unreadable: Sequence[str] = (),
        folders: Sequence[Path] = (),
    ):
        self.notes = tuple(notes)
        self.unreadable = tuple(unreadable)
        self.folders = tuple(folders)
        self.sources = tuple(sources)
        self.background = background
        self.skip_errors = skip_errors
        self.at_least = at_least

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> ImageSet: ...
    def __getitem__(self, index: int | slice) -> Pixels | ImageSet:
        if isinstance(index, slice):
            return self.of(self.sources[index])
        return open_image(self.sources[index], background=self.background, at_least=self.at_least)

    def of(self, sources: Sequence[Source]) -> ImageSet:
        """Other sources, opened in the same way."""
        return ImageSet(
            sources,
            background=self.background,
            skip_errors=self.skip_errors,
            at_least=self.at_least,
            notes=self.notes,
            unreadable=self.unreadable,
            folders=self.folders,
        )

    def noted(self, notes: Sequence[str]) -> ImageSet:
        """The same with further remarks."""
        found = self.of(self.sources)
        found.notes = (*self.notes, *notes)
        return found

    def __iter__(self) -> Iterator[Pixels]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        classes = len({label for label in self.labels if label is not None})
        return f"ImageSet({len(self)} images, {classes} labels)"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    @property
    def labels(self) -> tuple[str | None, ...]:
        return tuple(source.label for source in self.sources)


def load_images(
    source: Any,
    *,
    background: Color = WHITE,
    on_error: Literal["raise", "skip"] | None = None,
    at_least: int | None = None,
) -> ImageSet:
    """Collect images from a path, a folder, a table, a PIL image, an array, a data set, or a sequence of these.

    A folder is searched recursively, in sorted order, without hidden files; the name of its first-level folder
    becomes an image's label; in a list of folders each is the label of what it holds. A pattern like
    "photos/**/*.jpg" finds files, labeled by the folder that holds them. A CSV or Parquet table lists them in a
    column ``path``, with or without one ``label``. Nothing is opened yet: files are read when the set is indexed.

    Args:
        source: path of a file, folder or table, or a pattern; PIL image; array (H, W), (H, W, C) or
            (N, H, W, C), uint8 in 0..255 or float in [0, 1]; a ``torch.utils.data.Dataset`` of such, alone or with
            labels; or a sequence or iterator of these.
        background: the color (0..255) that shows through transparent pixels.
        on_error: "raise" or "skip" an image that cannot be read; by default folders, patterns and tables skip, all
            else raises.
        at_least: pixels that both sides have to keep. Larger JPEG files are opened at a half, a quarter or an
            eighth of their size, as their blocks give it: some times as fast, and not quite the same as scaling
            the whole. By default every file is opened as it is.

    Returns:
        An `ImageSet` of N images.

    Raises:
        ImageError: the path does not exist, the folder holds no files, or the type is not an image.

    Example:
        >>> load_images(np.zeros((2, 8, 8, 3), np.uint8))
        ImageSet(2 images, 0 labels)
    """
    if isinstance(source, ImageSet):
        return source
    sources = list(_find(source))
    if not sources:
        raise ImageError(f"no images were given (an empty {type(source).__name__})")
    is_listing = isinstance(source, str | os.PathLike) and sources[0].content != Path(source)
    skip = is_listing if on_error is None else on_error == "skip"
    folders = _folders(source)
    return ImageSet(sources, background=background, skip_errors=skip, at_least=at_least, folders=folders)


def _folders(source: Any) -> list[Path]:
    """The folders among what was given."""
    given = source if isinstance(source, list | tuple) else [source]
    return [Path(one) for one in given if isinstance(one, str | os.PathLike) and one and os.path.isdir(one)]


def _find(source: Any) -> Iterator[Source]:
    if isinstance(source, str) and not source:  # which would mean the current folder
        raise ImageError("an empty path was given")
    if isinstance(source, str | os.PathLike):
        yield from _find_path(Path(source))
    elif isinstance(source, Source):
        yield source
    elif isinstance(source, Image.Image):
        yield Source(Path(getattr(source, "filename", "") or "image").name, source)
    elif isinstance(source, np.ndarray) and source.dtype.kind not in "UO":
        if source.ndim == 4:
            yield from (Source(f"image {i}", pixels) for i, pixels in enumerate(source))
        else:
            yield Source("image", source)
    elif isinstance(source, np.ndarray) and source.ndim == 1:  # of names, as a table's column gives them
        yield from _find(source.tolist())
    elif _is_data_set(source):
        yield from _find_items(source)
    elif isinstance(source, Sequence | Iterator) and not isinstance(source, bytes | bytearray):
        for i, item in enumerate(source):
            folder = Path(item) if isinstance(item, str | os.PathLike) and os.path.isdir(item) else None
            for found in _find(item):
                name = f"image {i}" if found.name == "image" else found.name
                yield Source(name, found.content, found.label if folder is None else folder.resolve().name)
    else:
        raise ImageError(
            f"cannot read images from a {type(source).__name__}: give a path, a folder, a PIL image, "
            "a numeric array (H, W, C), or a list of these"
        )


def _is_data_set(source: Any) -> bool:
    """Whether it is one of torch's, found out without importing torch."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(source).__mro__}
    return "torch.utils.data.dataset.Dataset" in kinds and hasattr(source, "__len__")


def _find_items(data_set: Any) -> Iterator[Source]:
    """The items of a data set, made when they are looked at; labels as torchvision's data sets have them."""
    targets, classes = getattr(data_set, "targets", None), getattr(data_set, "classes", ())
    for i in range(len(data_set)):
        target = None if targets is None else int(targets[i])
        named = target is not None and target < len(classes)
        label = str(classes[target]) if named else None if target is None else str(target)  # type: ignore[index]
        yield Source(f"item {i}", Item(data_set, i), label)


def _find_path(path: Path) -> Iterator[Source]:
    try:
        is_folder = path.is_dir()
        if not is_folder and not path.exists():
            if _is_pattern(path):
                yield from _find_pattern(path)
                return
            raise ImageError(f"{path}: no such file or folder")
    except OSError as error:  # a name too long, a folder that may not be entered
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    if not is_folder and path.suffix.lower() in tables.KINDS:
        yield from (Source(str(file), file, label) for file, label in tables.listed(path))
        return
    if not is_folder:
        yield Source(str(path), path)
        return
    inside = sorted(p for p in path.rglob("*") if _is_file(p) and not _is_hidden(p.relative_to(path)))
    if not inside:
        raise ImageError(f"{path}: the folder holds no files")
    for file in inside:
        parts = file.relative_to(path).parts
        yield Source(str(file), file, parts[0] if len(parts) > 1 else None)


def _is_pattern(path: Path) -> bool:
    return any(sign in str(path) for sign in "*?[")


def _find_pattern(pattern: Path) -> Iterator[Source]:
    """Files whose names fit a pattern like photos/**/*.jpg; the folder that holds a file is its label."""
    files = sorted(Path(name) for name in glob.iglob(str(pattern), recursive=True) if _is_file(Path(name)))
    if not files:
        raise ImageError(f"{pattern}: no file has such a name")
    yield from (Source(str(file), file, file.parent.name or None) for file in files)


def _is_file(path: Path) -> bool:
    """A file, or a link that leads nowhere: that is an image which is missing, and has to be heard of."""
    return path.is_file() or (path.is_symlink() and not path.is_dir() and not os.path.exists(path))


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def open_image(source: Source, *, background: Color = WHITE, at_least: int | None = None) -> Pixels:
    """Open one image as uint8 (H, W, 3), or check and pass on an array; `ImageError` names what failed.

    ``at_least`` is as `load_images` has it.
    """
    if isinstance(source.content, Item):
        with _naming(source.name):
            image = source.content.image()
            if not isinstance(image, np.ndarray | Image.Image):
                raise ImageError(
                    f"{source.name}: a {type(image).__name__}; expected a PIL image, an array or a tensor"
                )
        return open_image(Source(source.name, image), background=background)
    if isinstance(source.content, np.ndarray):
        return _check_array(source.content, source.name)
    if isinstance(source.content, Image.Image):
        with _naming(source.name):
            return _from_pil(source.content, background, source.name)
    return _read_file(source.content, background, at_least)


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file as it is shown, from its first bytes."""
    with _naming(str(path)), Image.open(path, formats=_FORMATS) as image:
        is_turned = image.getexif().get(_ORIENTATION, 1) >= _FIRST_ON_ITS_SIDE
        return image.size if is_turned else (image.height, image.width)


def _read_file(path: Path, background: Color, at_least: int | None) -> Pixels:
    with _naming(str(path)):
        if path.exists() and not path.is_file():  # reading a pipe would wait forever
            raise ImageError(f"{path}: not a file")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty")
        with Image.open(path, formats=_FORMATS) as image:
            size = image.size
            _check_size(size, str(path))
            if image.format == "JPEG" and at_least is not None:
                image.draft(None, (at_least, at_least))
                if image.size != size:
                    return _from_pil(image, background, str(path))
            if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
                pixels = _decode_jpeg(path.read_bytes())
                if pixels is not None:
                    return _turn_upright(pixels, image.getexif().get(_ORIENTATION, 1))
            return _from_pil(image, background, str(path))


def _decode_jpeg(data: bytes) -> Pixels | None:
    """The fast path, up to 2.5 times as fast as Pillow, with the same pixels; None where it cannot be taken.

    torchvision has deprecated the Python function around its decoder, so this calls the decoder itself. Where
    that is gone, or refuses a file, Pillow takes over, and says what is wrong with the file.
    """
    import torch
    import torchvision  # noqa: F401 -- registers its operations with torch

    try:
        decoded = torch.ops.image.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), _RGB, False)
    except (AttributeError, RuntimeError):
        return None
    return np.asarray(decoded.permute(1, 2, 0).contiguous().numpy())


def _turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """What `ImageOps.exif_transpose` does to a PIL image."""
    method = _UPRIGHT.get(orientation)
    return pixels if method is None else np.array(Image.fromarray(pixels).transpose(method))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Whatever goes wrong in reading an image becomes an `ImageError` that names it."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not an image, or of a kind that cannot be read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{name}: more than {MAX_PIXELS:,} pixels; scale it down first") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them raise
        raise ImageError(f"{name}: cannot be read ({error})") from error


def _from_pil(image: Image.Image, background: Color, name: str) -> Pixels:
    _check_size(image.size, name)
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return np.repeat(_scale_to_8_bits(upright, name)[:, :, None], 3, axis=2)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        canvas = Image.new("RGBA", upright.size, (*background, 255))
        upright = Image.alpha_composite(canvas, upright)
    return np.array(upright.convert("RGB"))


def _scale_to_8_bits(image: Image.Image, name: str) -> Pixels:
    """Gray samples of more than 8 bits: integers are 16-bit (divided by 257), floats are in [0, 1]."""
    samples = np.asarray(image).astype(np.float64)
    low, high = float(samples.min()), float(samples.max())
    full = 1.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= full):
        raise ImageError(
            f"{name}: samples from {low:g} to {high:g} in a {image.mode!r} image, expected 0 to {full:g}; "
            "scale it and pass it as a float array in [0, 1]"
        )
    return np.rint(samples * (255.0 / full)).astype(np.uint8)


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the image has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width} x {height} is more than {MAX_PIXELS:,} pixels; scale it down first")


def _check_array(array: Pixels, name: str) -> Pixels:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise ImageError(f"{name}: an array of shape {array.shape}; expected (H, W) or (H, W, C)")
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name}: an array of {array.dtype}; expected uint8 in 0..255 or float in [0, 1]")
    if not (array.min() >= 0 and array.max() <= 1):  # written so that NaN fails too
        raise ImageError(
            f"{name}: float values from {array.min():g} to {array.max():g}; expected [0, 1] (divide "
            "by 255?). For an input that is already preprocessed, pass a torch tensor (N, C, H, W)"
        )
    return array.astype(np.float32)
