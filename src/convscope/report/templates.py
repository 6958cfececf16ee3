"""The templates of the HTML files."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from ..outputs import GENERATOR
from ..render.style import capital, in_words

REPORT_SCRIPT = Path(__file__).parent / "report.js"
_HEAD = 1 << 14  # characters of a data URI within which a picture says its size; 4 of them are 3 bytes


def template(name: str) -> Template:
    """A template of this folder. Everything is escaped, as names of files and classes come from outside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["generator"] = GENERATOR  # lets `outputs` recognize a file that it may replace
    environment.globals["size_of"] = _size_of
    environment.filters["method"] = lambda name: capital(in_words(name))
    return environment.get_template(name)


def with_script(path: Path) -> dict[str, Markup | str]:
    """What a template with a script needs; the page's policy lets only the script with this ``digest`` run."""
    script = path.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {"script": Markup(script), "digest": digest}  # not escaped, as it is ours


def _size_of(uri: str) -> tuple[int, int]:
    """The (width, height) of a picture in a data URI; with it the page does not jump while pictures load."""
    start = uri.index(",") + 1
    return Image.open(io.BytesIO(base64.b64decode(uri[start : start + _HEAD]))).size
