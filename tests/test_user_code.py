"""Names of the user's own code: what they stand for, what is checked before it runs, and its errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convscope import ModelError
from convscope.user_code import Place, check, importable, imported, is_there, place_of

CODE = """
import math as maths
from os import path, sep as separator
if maths.pi > 3:
    def build(): return 1
    VALUE, (other, *rest) = 2, (3, 4)
class Net:
    inner = 1
def _hidden():
    local = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a module, which cannot be imported, as nothing is to be run."""
    (tmp_path / "my_nets_here").mkdir()
    (tmp_path / "my_nets_here" / "__init__.py").write_text("raise SystemError")
    (tmp_path / "my_nets_here" / "shapes.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_places() -> None:
    assert place_of("nets.shapes:build") == Place("nets.shapes", None, "build")
    assert place_of("../my nets/shape-net.py:Net") == Place("shape-net", Path("../my nets/shape-net.py"), "Net")
    assert place_of("C:\\nets\\a.py:Net") == Place(Path("C:\\nets\\a.py").stem, Path("C:\\nets\\a.py"), "Net")
    for text in (
        "resnet50",
        "nets/shapes:build",
        "a.b:c.d",
        "timm:resnet50.a1_in1k",
        "a..b:c",
        ":c",
        "a:",
        "1:a",
        "",
    ):
        assert place_of(text) is None


def test_names_are_checked_without_running_anything(folder: Path) -> None:
    for name in ("build", "Net", "VALUE", "other", "rest", "maths", "path", "separator", "_hidden"):
        check(Place("my_nets_here.shapes", None, name))
        check(Place("shapes", folder / "my_nets_here" / "shapes.py", name))
    for name in ("local", "inner", "os", "sep"):
        with pytest.raises(ModelError, match=f"'{name}' is not in .*shapes.py; it has maths, path, separator, "):
            check(Place("my_nets_here.shapes", None, name))
    with pytest.raises(ModelError, match=r"'biuld' is not in .*; did you mean build\?"):
        check(Place("my_nets_here.shapes", None, "biuld"))
    assert not [name for name in sys.modules if name.startswith("my_nets_here")]


@pytest.mark.parametrize("line", ["from os import *", "def __getattr__(name): ...", "globals().update(build=1)"])
def test_names_that_show_when_it_runs_are_not_refused(line: str, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(line)
    check(Place("net", file, "build"))


def test_modules_that_are_not_there(folder: Path) -> None:
    assert is_there(Place("my_nets_here.none", None, "build"))
    assert not is_there(Place("my_nets", None, "build"))
    with pytest.raises(ModelError, match=r"no module 'my_nets_here.shape': .* did you mean my_nets_here.shapes\?"):
        check(Place("my_nets_here.shape", None, "build"))
    with pytest.raises(ModelError, match=r"no module 'my_nets_here.shapes.deep': my_nets_here.shapes has no "):
        check(Place("my_nets_here.shapes.deep", None, "build"))
    with pytest.raises(ModelError, match=r"none.py: no such file"):
        check(Place("none", folder / "none.py", "build"))


def test_an_error_is_told_with_its_last_line_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_code.py").write_text("x = 1\nimport json\njson.loads('{')\ndef build(): ...\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit(2)\ndef build(): ...\n")
    (tmp_path / "syntax.py").write_text("x = 1\ndef build(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError) as caught:  # the line of the user's, not that of the library it called
        imported(Place("broken_code", None, "build"))
    assert str(caught.value) == (
        "importing broken_code failed: json.decoder.JSONDecodeError: Expecting property name enclosed in double "
        f"quotes: line 1 column 2 (char 1) ({tmp_path / 'broken_code.py'}:3: json.loads('{{'))"
    )
    with pytest.raises(ModelError, match=r"SystemExit: 2 .*__main__.*script.py:2: sys.exit\(2\)"):
        imported(Place("script", tmp_path / "script.py", "build"))
    with pytest.raises(ModelError, match=r"syntax.py cannot be imported: SyntaxError: .*syntax.py:2: def build"):
        imported(Place("syntax", tmp_path / "syntax.py", "build"))


def test_a_file_takes_nobodys_place(tmp_path: Path) -> None:
    """A file that is called like an installed module is another one, and is read anew each time."""
    json, file = sys.modules["json"], tmp_path / "json.py"
    for value in (1, 2):
        file.write_text(f"import beside\nbuild = beside.VALUE + {value}\n\n" + "#" * value)
        (tmp_path / "beside.py").write_text("VALUE = 10\n")
        with importable(tmp_path):
            assert imported(Place("json", file, "build")) == 10 + value
    assert sys.modules["json"] is json
    assert str(tmp_path) not in sys.path
    del sys.modules["beside"]
