"""Names of links and folders that every system takes, also Windows, and no two of which are the same there."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter

_REFUSED = re.compile('[<>:"/\\\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')  # the last: bytes of no text
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE)  # of Windows
_LONGEST = 200  # bytes, which leaves room for a number


def safe_name(name: str) -> str:
    """A name that leads into no other folder, and that every system takes.

    Example:
        >>> safe_name("../a:b"), safe_name("nul.jpg"), safe_name("dog. ")
        ('_.._a_b', '_nul.jpg', 'dog')
    """
    safe = _REFUSED.sub("_", name).rstrip(" .")
    if not safe or safe[0] in ". " or _DEVICES.match(safe):
        safe = f"_{safe}"
    stem, suffix = os.path.splitext(safe)
    while len(f"{stem}{suffix}".encode()) > _LONGEST:
        stem, suffix = (stem[:-1], suffix) if stem else ("_", suffix[:8])
    return stem + suffix


class FreeNames:
    """Gives names of one folder, each once: the later of equal ones get a number before the suffix.

    Equal are names that differ only in the case of letters, in how an accent is written, or in the suffix, since
    formats of labels name files without it.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._tried: Counter[str] = Counter()

    def free(self, name: str) -> str:
        stem, suffix = os.path.splitext(safe_name(name))
        return self._numbered(stem) + suffix

    def free_folder(self, name: str) -> str:
        """The same for a folder, whose name has no suffix."""
        return self._numbered(safe_name(name))

    def _numbered(self, stem: str) -> str:
        key, found = _folded(stem), stem
        while _folded(found) in self._taken:
            self._tried[key] += 1
            found = f"{stem}-{self._tried[key] + 1}"
        self._taken.add(_folded(found))
        return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
