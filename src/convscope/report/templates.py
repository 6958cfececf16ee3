"""The templates of the HTML files."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ..outputs import GENERATOR
from ..render.style import capital, in_words


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
    environment.filters["method"] = lambda name: capital(in_words(name))
    return environment.get_template(name)
