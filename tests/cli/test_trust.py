"""Commands that say how far a map can be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from convscope import Comparison
from convscope.cli.app import app


@pytest.mark.slow
def test_layers_are_compared_from_the_command_line(tmp_path: Path) -> None:
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "cat.png")
    done = CliRunner().invoke(
        app,
        ["compare", str(tmp_path / "cat.png"), "--method", "grad-cam", "--layers", "blocks.4", "--layers", "bn2",
         "--n-steps", "2", "--device", "cpu", "-o", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = Comparison.load(tmp_path / "out")
    assert set(found.ranking) == {"grad_cam @ blocks.4", "grad_cam @ bn2"}
    assert found.provenance.parameters["layers"] == ("blocks.4", "bn2")
    wrong = CliRunner().invoke(app, ["compare", str(tmp_path / "cat.png"), "--layers", "bn3", "--device", "cpu"])
    assert wrong.exit_code != 0
    assert "no layer 'bn3'; did you mean" in wrong.output
