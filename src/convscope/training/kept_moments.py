"""The moments of a training that are kept in a folder: which are due, which are dropped, how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import OutputError
from ..outputs import AnyPath
from ..partial_files import partial_beside

STRIP = "strip.png"
_NAME = re.compile(r"step-(\d{8,})")
_FILES = {"arrays.npz", "manifest.json", "picture.png"}  # of a saved result


def folder_of(step: int, output_dir: Path) -> Path:
    """Where a moment is kept."""
    return output_dir / f"step-{step:08}"


def moments_in(output_dir: AnyPath) -> dict[int, Path]:
    """The moments in a folder, by their step, in order.

    Raises:
        OutputError: there is something else in it.
    """
    folder = Path(output_dir)
    if not os.path.lexists(folder):
        return {}
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give a folder")
    found = {}
    for entry in folder.iterdir():
        if (name := _NAME.fullmatch(entry.name)) and entry.is_dir() and not entry.is_symlink():
            found[int(name[1])] = entry
        elif entry.name != STRIP and not entry.name.startswith(".convscope-"):
            raise OutputError(f"{folder}: holds {entry.name}, which is no part of a watch; give a new folder")
    return dict(sorted(found.items()))


def interval_at(step: int, every: int, n_moments: int) -> int:
    """The steps between kept moments: ``every``, doubled until those from 0 to this step are few enough."""
    interval = every
    while step // interval + 1 > n_moments:
        interval *= 2
    return interval


def is_due(step: int, taken: Iterable[int], every: int, n_moments: int) -> bool:
    """Whether no moment was taken in the interval of this step."""
    interval = interval_at(step, every, n_moments)
    return all(other // interval != step // interval for other in taken if other <= step)


def superfluous(step: int, taken: Iterable[int], every: int, n_moments: int) -> list[int]:
    """What to drop when a moment is taken: all but the first of each interval, and moments of another future."""
    interval, seen, found = interval_at(step, every, n_moments), set(), []
    for other in sorted(taken):
        if other >= step or other // interval in seen:
            found.append(other)
        seen.add(other // interval)
    return found


def remove(moments: Mapping[int, Path], steps: Iterable[int]) -> None:
    """Remove moments whole: a run that is killed meanwhile leaves no half of one.

    Raises:
        OutputError: somebody has put a file of his own there.
    """
    for step in steps:
        folder = moments[step]
        foreign = next((f for f in folder.rglob("*") if f.name not in _FILES and not f.is_dir()), None)
        if foreign is not None:
            raise OutputError(f"{foreign}: is no part of a watch, so {folder.name} is not removed; move it away")
        with partial_beside(folder, is_folder=True) as partial:
            os.replace(folder, partial / folder.name)
