"""The one place where results meet what draws them.

`render` lies above `results` and imports it, so no result can import `render`. As in pandas and its plotting
backend, a result knows its renderer by name alone: the module is looked up when a result is first plotted, saved,
or shown in a notebook. Until then matplotlib is not loaded. The page that a projection is saved with is found in
the same way.
"""

from __future__ import annotations

import importlib
from types import ModuleType

RENDERER = "convscope.render"
MAP_PAGES = "convscope.report.projection_map"


def renderer() -> ModuleType:
    """The module that draws results: its `plot`, `data_uri` and `save_png` take a result of any kind."""
    return importlib.import_module(RENDERER)


def map_pages() -> ModuleType:
    """The module whose `projection_map` writes a projection as a page."""
    return importlib.import_module(MAP_PAGES)
