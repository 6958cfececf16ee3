"""What comes from outside does nothing to a terminal, and nothing that a pipe does ends in a traceback."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from convscope.cli.app import app
from convscope.cli.console import EXIT_CODES, reporting
from convscope.errors import ImageError, LayerError, NotEmbeddedError, OutputError, ParameterError, TargetError

pytestmark = pytest.mark.same_everywhere

SMALL = ["--model", "torchvision:shufflenet_v2_x0_5", "--random-weights", "--device", "cpu"]
ODD = "\x1b[2J\udcff\r\n[red]:cat:\u202egpj.jpg"
SHOWN = r"\x1b[2J\udcff\r\n[red]:cat:\u202egpj.jpg"
HARMFUL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")


def invoke(*args: object) -> Any:
    environment = {"COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, [str(a) for a in args], env=environment, catch_exceptions=False)


def process(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], stderr=subprocess.PIPE, text=True, env=environment, **options
    )


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: np.ndarray) -> Path:
    """A photo with a name that would clear the screen, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.fromarray(cat[::4, ::4]).save("photos/plain.jpg")
    return Path("photos/plain.jpg").rename(f"photos/{ODD}")


def test_names_of_files_are_shown_escaped(photo: Path) -> None:
    (photo.parent / f"broken {ODD}").write_bytes(b"\xff\xd8\xff")
    for command in ("predict", "saliency"):
        done = invoke(command, "photos", *SMALL)
        assert done.exit_code == 0
        assert not HARMFUL.search(done.stdout + done.stderr)
        assert f"photos/{SHOWN}" in done.stdout.replace("\n", "")  # a title is as wide as its table
        assert f"  photos/broken {SHOWN}: " in done.stderr
    found = json.loads(invoke("predict", "photos", "--json", *SMALL).stdout)
    assert list(found) == [str(photo)]


def test_errors_show_names_escaped(photo: Path) -> None:
    for arguments in (["no " + ODD], ["photos", f"--{ODD}"], ["photos", "--model", ODD]):
        done = invoke("predict", *arguments)
        assert done.exit_code > 0
        assert not HARMFUL.search(done.stderr)
        assert r"\x1b[2J" in done.stderr


def test_a_terminal_that_knows_few_characters_is_given_no_others() -> None:
    code = (
        "import sys; sys.argv = ['convscope', 'layers', '--model', '猫\\udcff']\n"
        "from convscope.cli import main; main()"
    )
    done = process(code)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no network '\\u732b\\udcff'")


MANY_LINES = """
import sys
from convscope.cli.app import app, main
from convscope.cli.console import out, print_json, reporting

@app.command()
@reporting
def many():
    for i in range(10_000):
        {prints}

sys.argv = ["convscope", "many"]
main()
"""


@pytest.mark.parametrize("prints", ["out.print('line')", "print_json([1])"])
def test_a_closed_pipe_ends_a_command_without_a_word(prints: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = process(MANY_LINES.format(prints=prints), stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_behind_standard_output_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    @reporting
    def command() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 1
    assert "error: standard output could not be written (No space left on device)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *((mistake, 2) for mistake in (ParameterError, NotEmbeddedError, LayerError, TargetError)),
        *((failure, 1) for failure in (ImageError, OutputError)),
        (KeyboardInterrupt, 130),
    ],
)
def test_a_mistake_in_the_command_has_the_exit_code_of_usage(error: type[BaseException], code: int) -> None:
    @reporting
    def command() -> None:
        raise error("no")

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == code


def test_the_page_on_servers_has_every_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {0, *EXIT_CODES.values()}


def test_a_report_replaces_no_photo_and_no_weights(photo: Path) -> None:
    before = photo.read_bytes()
    Path("w.pth").write_bytes(b"weights")
    Path("notes.html").write_text("mine")
    for output, chosen, message in (
        (
            "notes.html",
            [],
            "convscope did not write it; choose another output, or give --overwrite",
        ),
        (photo, ["--overwrite"], "is an input of this very call"),
        ("w.pth", ["--weights", "w.pth", "--overwrite"], "w.pth: is an input of this very call"),
    ):
        done = invoke("report", photo, "--output", output, *chosen, *SMALL)
        assert done.exit_code == 1
        assert message in done.stderr
    assert photo.read_bytes() == before
    assert Path("w.pth").read_bytes() == b"weights"
    assert Path("notes.html").read_text() == "mine"


@pytest.mark.parametrize("command", ["predict", "saliency", "report", "embed", "compare"])
def test_a_folder_in_which_nothing_can_be_read_is_an_error(photo: Path, command: str) -> None:
    photo.write_bytes(b"\xff\xd8\xff")
    done = invoke(command, "photos", *SMALL)
    assert done.exit_code == 1
    assert "none of the 1 images could be read" in done.stderr
    assert os.listdir() == ["photos"]


def test_ctrl_c_while_commands_are_imported_is_one_word() -> None:
    code = (
        "import sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'convscope.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from convscope.cli import main; main()"
    )
    done = process(code)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
