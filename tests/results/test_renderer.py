"""Results find their renderer by name, when it is first needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.render.results import filters

from convscope.results.renderer import RENDERER, renderer


def test_results_load_no_renderer_and_no_matplotlib_before_one_is_drawn() -> None:
    script = """
import sys
from tests.render import results
found = results.filters()
repr(found)
assert not {"convscope.render", "matplotlib"} & set(sys.modules)
found._repr_html_()
assert {"convscope.render", "matplotlib"} <= set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_renderer_is_asked_for_each_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    module = ModuleType("sketch")
    module.plot = lambda result, ax, *, title, **options: asked.append(("plot", ax, title, options))
    module.data_uri = lambda result: asked.append(("data_uri",)) or "data:,"
    module.save_png = lambda result, path: asked.append(("save_png", path.name))
    monkeypatch.setitem(sys.modules, RENDERER, module)
    assert renderer() is module
    result = filters()
    result.plot(None, title="mine", tiles=3)
    assert 'src="data:,"' in result._repr_html_()
    result.save(tmp_path / "saved")
    assert asked == [("plot", None, "mine", {"tiles": 3}), ("data_uri",), ("save_png", "picture.png")]
    assert not (tmp_path / "saved" / "picture.png").exists()
