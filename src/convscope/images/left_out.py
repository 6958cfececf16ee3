"""What a search for images leaves out, and counts: files that are not images, and what convscope wrote itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from PIL import Image

from ..results.files import is_saved
from ..texts import counted, listed

# Files that often lie next to images. Any other name may be an image; it is opened to find out.
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
_NOT_DECODED = ("BUFR", "GRIB", "HDF5", "MPEG")  # Pillow knows these but cannot decode them
_MOST_KINDS, _MOST_NAMED = 8, 5
_OWN_ROWS = "images.lance"  # the table inside a store, whose folder may have this name, too


@dataclass
class LeftOut:
    """What a search for images left out, in all folders together."""

    kinds: Counter[str] = field(default_factory=Counter)  # files that are not images
    own: list[str] = field(default_factory=list)  # folders that convscope wrote
    links: list[str] = field(default_factory=list)  # to folders that are read anyway
    unreadable: list[str] = field(default_factory=list)  # folders that could not be read, with the reason

    def add(self, other: LeftOut) -> None:
        """Add what another search left out."""
        self.kinds += other.kinds
        self.own += other.own
        self.links += other.links
        self.unreadable += [text for text in other.unreadable if text not in self.unreadable]

    def notes(self) -> list[str]:
        """One line for each reason."""
        notes = []
        if n := self.kinds.total():
            files = "file that is not an image" if n == 1 else "files that are not images"
            notes.append(f"left out {n} {files}, judging by name or kind: {self._kinds()}")
        if self.own:
            named = listed(sorted(self.own), _MOST_NAMED)
            notes.append(f"left out {counted(len(self.own), 'folder')} that convscope wrote: {named}")
        if self.links:
            notes.append(
                f"left out {counted(len(self.links), 'link')} back up or to folders that are read anyway: "
                f"{listed(sorted(self.links), _MOST_NAMED)}"
            )
        return notes

    def _kinds(self) -> str:
        ordered = sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))
        named = [kind if n == 1 and kind.lower() in _NAMES else f"{n} {kind}" for kind, n in ordered[:_MOST_KINDS]]
        n_others = sum(n for _, n in ordered[_MOST_KINDS:])
        return ", ".join([*named, *([f"{n_others} of other kinds"] if n_others else [])])


def kind_that_is_no_image(name: str) -> str | None:
    """The kind under which `LeftOut` counts a file, by its name; None if it may be an image."""
    if name.strip().lower() in _NAMES:  # strip: macOS has files named "Icon\r"
        return name.strip()
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in _KINDS:
        return None
    taught = Image.EXTENSION.get(suffix)  # a plugin of the user may open it
    return None if taught in Image.OPEN and taught not in _NOT_DECODED else suffix


def is_own(folder: str, inside: Collection[str]) -> bool:
    """Whether a folder is a saved result or a store, judging by the names inside it."""
    if _OWN_ROWS in inside and os.path.isdir(os.path.join(folder, _OWN_ROWS, "_versions")):
        return True
    if folder.lower().endswith(".lance") and "_versions" in inside:
        return True
    return "manifest.json" in inside and is_saved(folder)
