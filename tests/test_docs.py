"""The documentation: its links and pictures exist, and its examples use names and options that exist."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
import torch
from matplotlib import pyplot
from PIL import Image
from torch import nn
from torch.testing import assert_close
from torchvision.ops import box_iou
from typer.testing import CliRunner

import convscope
from convscope.attribution import ATTRIBUTIONS
from convscope.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITHOUT_A_PICTURE = {"attention_rollout"}  # it is on the page of transformers
RUN = ("detectors", "signals-and-volumes", "inputs-and-outputs")  # these bring their own networks
ON_ANOTHER_PAGE = {"occlusion_multiscale": "occlusion"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in BLOCK.findall(page.read_text("utf-8")) if language in languages]


@pages
def test_a_link_leads_to_a_file(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    places = [place.partition("#")[0] for place in LINK.findall(text) if "://" not in place]
    missing = [place for place in places if not (page.parent / place).exists()]
    assert not missing


@pytest.mark.parametrize("name", sorted(ATTRIBUTIONS))
def test_a_method_has_a_page_with_all_it_needs(name: str) -> None:
    page = ON_ANOTHER_PAGE.get(name, name).replace("_", "-")
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    assert name in text
    assert re.search(r"^    \S", text, re.MULTILINE), "a formula"
    for part in ("How to read it.", "When it misleads", "Cost.", "References."):
        assert f"**{part}**" in text
    for language in ("python", "sh"):
        assert f"```{language}" in text
    assert ("](pictures/" in text) != (name in WITHOUT_A_PICTURE)


def names_used(code: str) -> Iterator[str]:
    """Public names, as in ``from convscope import f`` and ``cs.f``."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "convscope":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cs":
            yield node.attr


@pages
def test_an_example_in_python_calls_what_exists(page: Path) -> None:
    for code in blocks(page, "python"):
        assert set(names_used(code)) <= set(convscope.__all__)
        for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func).removeprefix("cs.")
            if name in convscope.__all__:
                signature = inspect.signature(getattr(convscope, name))
                signature.bind_partial(*call.args, **{word.arg: word.value for word in call.keywords if word.arg})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg:UserWarning")
@pytest.mark.parametrize("name", RUN)
def test_an_example_of_your_own_network_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block after another, as a reader pastes them."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "samples" / "photos"
    photos.mkdir(parents=True)
    Image.fromarray(skimage.data.chelsea()).save(photos / "cat.png")
    given: dict[str, object] = {}
    for code in blocks(ROOT / "docs" / f"{name}.md", "python"):
        exec(compile(code, name, "exec"), given)
    pyplot.close("all")  # of what the reader sees; other tests count open figures


def test_the_reader_of_ones_own_detector_reads_it() -> None:
    """MTCNN's first stage: a cell of 12 px every 2 px, and offsets as shares of 11 px, by a loop over them."""
    (code,) = (code for code in blocks(ROOT / "docs" / "detectors.md", "python") if "def read(" in code)
    given = {"torch": torch, "Detection": convscope.Detection}
    exec(compile(code, "detectors", "exec"), given)
    offsets, faces = torch.randn(2, 4, 3, 5), torch.randn(2, 2, 3, 5).softmax(dim=1)
    boxes, scores = given["read"]((offsets, faces), (16, 20))
    assert (boxes.shape, scores.shape) == ((2, 15, 4), (2, 15, 1))
    for n, row, column in itertools.product(range(2), range(3), range(5)):
        cell = torch.tensor([2 * column + 1, 2 * row + 1, 2 * column + 12, 2 * row + 12])
        assert_close(boxes[n, 5 * row + column], cell + 11 * offsets[n, :, row, column])
        assert_close(scores[n, 5 * row + column, 0], faces[n, 1, row, column])
    target = given["target"]
    assert target.read is given["read"]

    class Finds(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return offsets[:1] + 0 * x.sum(), faces[:1] * x.mean()

    expected = (box_iou(torch.tensor([target.box]), boxes[0])[0] * scores[0, :, 0]).max()
    found = convscope.saliency(Finds(), torch.ones(1, 3, 16, 20), target=target)
    assert_close(torch.tensor(found.scores), expected[None])


@functools.cache
def help_of(command: str) -> str:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, command
    return shown.output


@pages
def test_an_example_for_the_terminal_has_options_that_exist(page: Path) -> None:
    for code in blocks(page, "sh", ""):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["convscope"]:
                continue
            shown = help_of(words[1])
            for option in (word for word in words[2:] if word.startswith("--")):
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), f"{words[1]} has no {option}"
