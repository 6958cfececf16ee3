"""The examples run as they are, without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pictures"), [("look_inside.py", 5), ("own_network.py", None)])
def test_an_example_runs(name: str, pictures: int | None, tmp_path: Path) -> None:
    arguments = [str(tmp_path / "out")] if pictures else []
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if pictures:
        assert len(list(tmp_path.rglob("picture.png"))) == pictures


@pytest.mark.slow
def test_the_notebook_runs_and_shows_a_picture_of_each_result(tmp_path: Path) -> None:
    """Every cell runs as it is; a figure has no caption of its own below it, as the picture has one."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [data for output in outputs if (data := output.get("data"))]
    pages = [data["text/html"] for data in shown if "<img" in data.get("text/html", "")]
    assert len(pages) + sum("image/png" in data for data in shown) == 11
    assert not any("figcaption" in page for page in pages)
