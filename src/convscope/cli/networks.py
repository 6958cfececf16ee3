"""Which networks there are, by name, known before the libraries that have them are imported."""

from __future__ import annotations

import difflib
import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .. import declared
from ..errors import ModelError
from ..user_code import Place, check, is_there, place_of

DEFAULT_MODEL: str = declared.value("DEFAULT_MODEL", "convscope.models.architectures")
PACKAGED = tuple(declared.value("PACKAGED", "convscope.models.architectures"))
RANDOM_WEIGHTS: str = declared.value("RANDOM_WEIGHTS", "convscope.models.architectures")
LIBRARIES = ("torchvision", "timm")
HUGGING_FACE = "hf:"
SUFFIXES: tuple[str, ...] = declared.value("SUFFIXES", "convscope.models.catalog")
_OTHER_NAMES: str = declared.value("OTHER_NAMES", "convscope.models.catalog")
# As both libraries write it: a decorator, perhaps another one, and the function that makes the network.
_MADE_BY = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def check_network(name: str, weights: Path | None = None, folder: Path | None = None) -> None:
    """`ModelError` for what names no network, and for a file that is not there; `load_model` finds the rest.

    ``folder`` is where modules of the user's own are, beside those that are installed.
    """
    library, colon, architecture = name.partition(":")
    if name in PACKAGED or os.path.isfile(name):
        pass
    elif name.startswith(HUGGING_FACE):
        saved = name.removeprefix(HUGGING_FACE)
        if not os.path.isdir(saved):
            raise ModelError(f"{saved or repr(name)}: no such folder; 'hf:FOLDER' takes one on this machine")
    elif name.endswith(SUFFIXES):
        raise ModelError(f"{name}: no such file")
    elif library in LIBRARIES and architecture:
        _check_architecture(library, architecture)
    elif (place := own_code(name)) is not None and is_there(place):
        check(place)
    else:
        hint = _hint(name, library if colon else "")
        is_module = place is not None and not hint
        where = f"no module {library!r} in {folder or Path.cwd()}, and none is installed; " if is_module else ""
        raise ModelError(f"no network {name!r}{hint}: {where}give {DEFAULT_MODEL!r}, {_OTHER_NAMES}")
    if weights is not None and not weights.exists():
        raise ModelError(f"{weights}: no such file")


def is_of_library(name: str) -> bool:
    """Whether a name is that of a network whose code and weights come with a library."""
    return name in PACKAGED or name.partition(":")[0] in LIBRARIES


def own_code(name: str) -> Place | None:
    """Where the code is that a name stands for; None for networks of libraries, files and folders."""
    is_known = name in PACKAGED or os.path.isfile(name) or name.partition(":")[0] in (*LIBRARIES, "hf")
    return None if is_known else place_of(name)


def _check_architecture(library: str, name: str) -> None:
    plain = name.partition(".")[0]  # timm's names may end in the weights that are meant
    text = source_of(library)
    known = _MADE_BY.findall(text)
    # A quoted name may be an old one, which the library still takes.
    if not known or plain in known or re.search(rf"""["']{re.escape(plain)}["']""", text):
        return
    near = difflib.get_close_matches(plain, known, n=4)
    meant = f"; did you mean {', '.join(near)}?" if near else f": give one of its {len(known)} names"
    raise ModelError(f"{library} has no network {name!r}{meant}")


def _hint(name: str, library: str) -> str:
    """What may have been meant: a packaged network, this name in a library, a folder, or a module that is here."""
    if os.path.isfile(os.path.join(name, "config.json")):
        return f" (did you mean {HUGGING_FACE + name!r}?)"
    architecture = name.rpartition(":")[2]
    libraries = difflib.get_close_matches(library, LIBRARIES, n=1) or LIBRARIES
    found = [
        *difflib.get_close_matches(name, PACKAGED, n=1),
        *(f"{one}:{architecture}" for one in libraries if architecture in architectures(one)),
        *(f"{one}{name[len(library.partition('.')[0]) :]}" for one in _modules_like(library.partition(".")[0])),
    ]
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def _modules_like(name: str) -> list[str]:
    """The modules and packages in the current folder with nearly this name."""
    here = [path.stem for path in Path.cwd().glob("*") if path.suffix == ".py" or (path / "__init__.py").exists()]
    return difflib.get_close_matches(name, here, n=2) if name else []


def architectures(library: str) -> list[str]:
    """The names that a library's source gives its networks; none where it is written in another way."""
    return _MADE_BY.findall(source_of(library))


@cache
def source_of(library: str) -> str:
    """The text of a library's networks; finding where a package is does not import it."""
    found = find_spec(library)
    folders = (found.submodule_search_locations or []) if found else []
    files = [file for folder in folders for file in sorted(Path(folder, "models").glob("*.py"))]
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
