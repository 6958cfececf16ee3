"""The folder of a scan or an atlas: its parts, the lock of the run that writes them, and the finished result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from ..outputs import check_directory
from ..partial_files import partial_beside
from ..results import Result

_PARTS, _LOCK = "parts", "run.lock"


@contextmanager
def scan_folder(output: Path) -> Iterator[Path]:
    """The folder of the parts of what is made in several runs, for one run at a time.

    Raises:
        OutputError: the output holds anything but such parts, cannot be written, or another run is writing it.
    """
    from filelock import FileLock, Timeout

    parts = output / _PARTS
    if not parts.is_dir():
        check_directory(output)
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with FileLock(parts / _LOCK, timeout=0):
            yield parts
    except Timeout:
        raise OutputError(f"{output}: another run is writing it; wait for it, or choose another") from None
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error


def publish(result: Result, output: Path) -> None:
    """Put a result into its folder, in place of that of an earlier run.

    The manifest goes first and comes last, so that a run that is killed leaves a folder that is no saved result
    yet; the next one makes it from the parts.
    """
    with partial_beside(output / _PARTS, is_folder=True) as partial:
        made = result.save(partial / "result")
        (output / "manifest.json").unlink(missing_ok=True)
        for name in ("arrays.npz", "picture.png", "manifest.json"):
            if (made / name).exists():
                os.replace(made / name, output / name)
