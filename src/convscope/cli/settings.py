"""What describes the network: options, and what they do not say in the section [model] of a ``convscope.toml``.

The file is the nearest one in the current folder or above it, up to the repository or the home folder around it.
Paths in it start from its folder. What is typed wins; a typed ``--model`` that is another network leaves the
section out.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..checks import shown
from ..errors import ParameterError
from ..texts import printable
from .networks import DEFAULT_MODEL
from .setting_values import KEYS, Given

FILE, SECTION = "convscope.toml", "model"
_LARGEST = 1 << 20  # bytes


class Setting(NamedTuple):
    """A value, and where it is from: an option, the file, or "default"."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """Settings by key. ``folder``: where the user's own modules are; ``file``: the one that was used, if any."""

    by_key: Mapping[str, Setting]
    folder: Path
    file: Path | None = None
    note: str = ""

    def __getitem__(self, key: str) -> Any:
        return self.by_key[key].value if key in self.by_key else None


def settled(typed: Mapping[str, Any]) -> Settings:
    """What was typed, by key, completed by the file; None or False stands for what was not typed.

    Raises:
        ParameterError: a value, or the file, is not what was expected; the message says which.
        ModelError: a file that is named is not there.
    """
    here = Path.cwd()
    given = {
        key: Setting(KEYS[key].read(Given(value, KEYS[key].flag, here)), KEYS[key].flag)
        for key, value in typed.items()
        if value is not None and value is not False
    }
    file = _nearest(here)
    if file is None:
        return Settings(_with_default(given), here)
    own = _section(file)
    describes, chosen = own.get("source"), given.get("source")
    if describes and chosen and describes.value != chosen.value:
        note = f"{shown_path(file)} describes {describes.value} and was left out, as --model names another network"
        return Settings(given, here, note=note)
    folder = file.parent if describes and not chosen else here
    return Settings(_with_default({**own, **given}), folder, file)


def _with_default(found: dict[str, Setting]) -> dict[str, Setting]:
    return {"source": Setting(DEFAULT_MODEL, "default"), **found}


def _nearest(here: Path) -> Path | None:
    """The nearest file in this folder or above, up to the repository or the home folder around it.

    Elsewhere, as in /tmp, only in this folder: others may write above it, and the file can name code to run.
    """
    folders = (here, *here.parents)
    ends = [n for n, folder in enumerate(folders) if (folder / ".git").exists() or folder == Path.home()]
    found = (folder / FILE for folder in folders[: (ends or [0])[0] + 1])
    return next((file for file in found if file.is_file()), None)


def shown_path(file: Path) -> str:
    """The name of a file in the current folder, the whole path of another one."""
    return file.name if file.parent == Path.cwd() else printable(str(file))


def _section(file: Path) -> dict[str, Setting]:
    """The values of the section, each checked."""
    name = shown_path(file)
    for key in (content := _content(file, name)):
        if key != SECTION:
            raise ParameterError(f"{name}: unknown {shown(key)}; all keys stand below [{SECTION}]")
    section = content.get(SECTION, {})
    if not isinstance(section, Mapping):
        raise ParameterError(f"{name}: {SECTION} is no section; write [{SECTION}], and the keys below it")
    for key in section:
        if key not in KEYS:
            near = difflib.get_close_matches(key.replace("-", "_"), KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(KEYS)}"
            raise ParameterError(f"{name}: [{SECTION}] has no key {shown(key)}; {hint}")
    return {
        key: Setting(KEYS[key].read(Given(value, f"{name}: {key}", file.parent)), name)
        for key, value in section.items()
    }


def _content(file: Path, name: str) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST:
            raise ParameterError(f"{name}: is larger than 1 MB; expected a few lines")
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Notepad puts a mark before the text
    except (ValueError, RecursionError) as error:  # also of a number of 5,000 digits, or lists as deep
        raise ParameterError(f"{name}: is not TOML: {error}") from None
    except OSError as error:
        raise ParameterError(f"{name}: cannot be read ({error.strerror})") from None
