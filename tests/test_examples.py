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
