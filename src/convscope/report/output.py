"""An HTML file: from a template, and onto the disk as the old one or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ..errors import OutputError
from ..render.style import capital, in_words


def template(name: str) -> Template:
    """A template of this folder. Autoescape is on: names of files and classes come from outside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["method"] = lambda name: capital(in_words(name))
    return environment.get_template(name)


def check_output(output: Path) -> None:
    """`OutputError` where an HTML file cannot be written, before the long work starts."""
    if output.is_dir():
        raise OutputError(f"{output}: is a folder; give the name of an HTML file, such as {output / 'page.html'}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: its folder cannot be made ({error.strerror})") from error
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"{output}: its folder cannot be written to")


def replace_file(output: Path, pieces: Iterable[str]) -> None:
    """Write beside the file and rename, so that a reader finds the old page or the new one, never half of one."""
    partial = None
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        # A file name need not be Unicode; what cannot be written is shown as \\udcff.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(pieces)
        os.chmod(partial, output.stat().st_mode & 0o777 if output.exists() else 0o644)  # mkstemp makes it private
        os.replace(partial, output)
    except BaseException as error:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"{output}: cannot be written ({error.strerror})") from error
        raise
