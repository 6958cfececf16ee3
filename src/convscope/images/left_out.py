"""Which files of a folder are no images, and which folders are convscope's own; what was left out is counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from PIL import Image

from ..results.files import is_saved
from ..texts import listed

# Kinds of files that lie beside images. A name that is not here may be an image, and is opened to find out.
_KINDS = frozenset(
    f".{kind}"
    for kinds in (
        "txt md rst log csv tsv json jsonl ndjson geojson xml yaml yml toml ini cfg conf html htm css js",
        "pdf doc docx xls xlsx ppt pptx odt ods odp rtf tex bib srt vtt",
        "py pyc pyi ipynb sh bat ps1 c h cpp hpp java go rs r",
        "npy npz pt pth ckpt safetensors onnx pkl pickle joblib h5 hdf hdf5 grib bufr mat parquet arrow feather",
        "lance lmdb mdb db sqlite sqlite3 tfrecord record",
        "mp4 m4v mov avi mkv webm mpg mpeg wmv flv 3gp ts mp3 wav ogg oga m4a aac flac",
        "zip tar gz tgz bz2 xz 7z rar zst xmp aae lnk url lock",
    )
    for kind in kinds.split()
)
_NAMES = frozenset(
    name
    for names in (
        "thumbs.db desktop.ini icon readme license licence copying notice changelog authors makefile dockerfile",
        "md5sums sha1sums sha256sums",
    )
    for name in names.split()
)
_NOT_DECODED = ("BUFR", "GRIB", "HDF5", "MPEG")  # Pillow knows these by name only
_MOST_KINDS, _MOST_NAMED = 8, 5
_OWN_ROWS = "images.lance"  # in a store, which may have this name itself


@dataclass
class LeftOut:
    """What a search for images passed over, in all folders together."""

    kinds: Counter[str] = field(default_factory=Counter)  # files that are no images
    own: list[str] = field(default_factory=list)  # folders that convscope wrote
    links: list[str] = field(default_factory=list)  # to folders that were looked into already
    unreadable: list[str] = field(default_factory=list)  # folders that could not be looked into, with the reason

    def add(self, other: LeftOut) -> None:
        """What another search passed over, too."""
        self.kinds += other.kinds
        self.own += other.own
        self.links += other.links
        self.unreadable += [text for text in other.unreadable if text not in self.unreadable]

    def notes(self) -> list[str]:
        """A line for each sort."""
        notes = []
        if n := self.kinds.total():
            files = "file that is no image" if n == 1 else "files that are no images"
            notes.append(f"left out {n} {files}, by name or kind: {self._kinds()}")
        if self.own:
            named = listed(sorted(self.own), _MOST_NAMED)
            notes.append(f"left out {_counted(self.own, 'folder')} of convscope's own: {named}")
        if self.links:
            notes.append(
                f"left out {_counted(self.links, 'link')} to folders that are in here anyway, or lead back up: "
                f"{listed(sorted(self.links), _MOST_NAMED)}"
            )
        return notes

    def _kinds(self) -> str:
        ordered = sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))
        named = [kind if n == 1 and kind.lower() in _NAMES else f"{n} {kind}" for kind, n in ordered[:_MOST_KINDS]]
        n_others = sum(n for _, n in ordered[_MOST_KINDS:])
        return ", ".join([*named, *([f"{n_others} of other kinds"] if n_others else [])])


def kind_that_is_no_image(name: str) -> str | None:
    """What `LeftOut` counts a file as that is no image by its name; None for one that may be an image."""
    if name.strip().lower() in _NAMES:  # "Icon\r" is a file of macOS
        return name.strip()
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in _KINDS:
        return None
    taught = Image.EXTENSION.get(suffix)  # a plugin of the user's may open it
    return None if taught in Image.OPEN and taught not in _NOT_DECODED else suffix


def is_own(folder: str, inside: Collection[str]) -> bool:
    """Whether a folder is a result that convscope saved, or a store, by the names inside it."""
    if _OWN_ROWS in inside and os.path.isdir(os.path.join(folder, _OWN_ROWS, "_versions")):
        return True
    if folder.lower().endswith(".lance") and "_versions" in inside:
        return True
    return "manifest.json" in inside and is_saved(folder)


def _counted(things: Sequence[str], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
