"""The command line: what a stranger types, and what comes back.

`run` starts a real process, which takes seconds to import torch; `invoke` calls the same commands in this one.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import typing
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import convscope.embedding
from convscope import (
    ATTRIBUTIONS,
    Attribution,
    Contrast,
    EmbeddingStore,
    Interrupted,
    Visualization,
    declared,
    embed,
)
from convscope.cli import cleaning, console, embedding, explore, stores
from convscope.cli.app import app
from convscope.cli.methods import LOOKS, argument_help, command_name
from convscope.cli.options import chosen_target
from convscope.cli.phrasing import help_text
from convscope.errors import OutputError

# A small network, so that a command takes little more than the time to import torch.
SMALL = ["--model", "torchvision:shufflenet_v2_x0_5", "--random-weights", "--device", "cpu"]


PLAIN = {"COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"}


def run(*args: object, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "convscope", *map(str, args)]
    environment = {**os.environ, **PLAIN}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=environment)


def invoke(*args: object) -> Any:
    """The same in this process: ``exit_code``, ``stdout`` and ``stderr``."""
    return CliRunner().invoke(app, [str(a) for a in args], env=PLAIN, catch_exceptions=False)


def words(text: str) -> str:
    """What a terminal shows, without the boxes and the line breaks."""
    return " ".join(text.replace("│", " ").split())


def others(found: dict[str, Any]) -> list[Path]:
    """The neighbors in what --json prints."""
    return [Path(row["other"]) for row in found["rows"]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(tmp_path: Path, cat: np.ndarray, coffee: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    for label, pixels in (("cat", cat), ("cup", coffee)):
        (folder / label).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / label / "one.jpg")
        Image.fromarray(pixels[:, ::-1]).save(folder / label / "two.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.mark.same_everywhere
def test_every_registered_method_is_a_command_and_help_lists_them_under_headings() -> None:
    shown = words(invoke("--help").stdout)
    headings = [
        "Start here",
        "Look at a network",
        "Which pixels matter",
        "How far to trust a map",
        "Collections of images",
    ]
    places = [shown.index(f"─ {heading} ─") for heading in headings]
    assert places == sorted(places)
    pixels = shown[places[2] : places[3]]
    assert all(f" {command_name(name)} " in pixels for name in ATTRIBUTIONS)
    assert all(f" {command_name(name)} " in shown[places[1] : places[2]] for name in LOOKS)
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        assert command.rich_help_panel in headings, command.name
        assert (command.help or "").split("\n")[0].endswith((".", "?")), command.name


@pytest.mark.parametrize("name", sorted(ATTRIBUTIONS))
@pytest.mark.same_everywhere
def test_every_option_has_the_help_of_its_docstring(name: str) -> None:
    command = command_name(name)
    done = invoke(command, "--help")
    assert done.exit_code == 0
    shown = words(done.stdout)
    assert f"Example: convscope {command} photo.jpg" in shown
    for option, text in argument_help(inspect.getdoc(ATTRIBUTIONS[name]) or "").items():
        if option not in ("model", "images", "progress"):
            assert f"--{command_name(option)}" in shown
            assert help_text(option, text).replace("\\[", "[")[:20].strip() in shown


# Words that are typed as they stand here, at the beginning of a help.
SPELLED = {"efficientnet-lite0", "cuda", "local"}
# What no terminal can give, and how Python writes things.
OF_PYTHON = re.compile(
    r"\b(callable|tensors?|arrays?|None|True|False|module|convscope\.\w+)\b|``|\([A-Z](, [A-Z])*\)"
)


@pytest.mark.parametrize("name", typer.main.get_command(app).commands)  # type: ignore[attr-defined]
@pytest.mark.same_everywhere
def test_the_help_of_an_option_is_a_sentence_for_a_terminal(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    for parameter in command.params:
        text = parameter.help or ""
        first = text.split()[0].rstrip(",:;")
        assert first[0].isupper() or first[0] in "\"'" or first in SPELLED, (parameter.name, text)
        assert not text.startswith("Of "), (parameter.name, text)
        assert not OF_PYTHON.search(text), (parameter.name, text)


def test_the_arguments_of_a_docstring_are_found() -> None:
    doc = """A method.

    Args:
        kind: first of
            all.
        other, more: "a" or [b].

    Returns:
        Nothing.
    """
    found = argument_help(inspect.cleandoc(doc))
    assert found == {"kind": "first of all.", "other": '"a" or [b].', "more": '"a" or [b].'}


@pytest.mark.parametrize(
    "command",
    [
        cleaning.duplicates,
        cleaning.suspects,
        embedding.embed,
        stores.attribute_dataset,
        stores.cluster,
        stores.evaluate_retrieval,
        explore.project,
    ],
)
def test_a_command_that_is_written_out_has_the_choices_of_the_library(command: Any) -> None:
    takes = declared.function(command.__name__).parameters
    for name, hint in typing.get_type_hints(command).items():
        if typing.get_origin(hint) is Literal:
            assert set(typing.get_args(hint)) == set(typing.get_args(takes[name].annotation)), name


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("7", 7),
        ("7,1,2", (7, 1, 2)),
        ("tabby", "tabby"),
        ("1,2", "1,2"),
        (None, None),
        ("tabby rather than lynx", Contrast("tabby", "lynx")),
        ("282 rather than 287", Contrast(282, 287)),
        ("tabby rather than 287", Contrast("tabby", 287)),
        ("rather than", "rather than"),
        ("a rather than b rather than c", "a rather than b rather than c"),
    ],
)
def test_a_target_is_an_index_a_unit_a_label_or_a_contrast(text: str | None, target: Any) -> None:
    assert chosen_target(text) == target


@pytest.mark.slow
def test_predict_as_json_skips_and_lists_what_it_cannot_read(photos: Path) -> None:
    done = run("predict", photos, "--top", 2, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [Path(name).parent.name for name in found] == ["cat", "cat", "cup", "cup"]
    assert found[str(photos / "cup" / "one.jpg")][0]["label"] == "espresso"
    assert "skipped 1" in done.stderr
    assert "broken.jpg" in done.stderr


@pytest.mark.slow
def test_a_method_writes_its_result_and_never_over_another(photos: Path, here: Path) -> None:
    image = photos / "cat" / "one.jpg"
    done = run(
        "occlusion",
        image,
        "--window",
        "112,56",
        "--baseline",
        "blur",
        "--target",
        "5",
        "-o",
        "map",
        *SMALL,
        cwd=here,
    )
    assert done.returncode == 0, done.stderr
    saved = Attribution.load(here / "map")
    assert saved.provenance.parameters["window"] == (112, 56)
    assert saved.provenance.parameters["baseline"] == "blur"
    assert (here / "map" / "picture.png").stat().st_size > 1000
    again = invoke("occlusion", image, "-o", "map", *SMALL)
    assert again.exit_code == 1
    assert "map: exists already" in again.stderr
    assert sorted(p.name for p in here.iterdir()) == ["map", "photos"]


def test_without_an_output_the_first_free_folder_under_out_is_taken(here: Path) -> None:
    for place in ("filters", "filters-2"):
        done = invoke("filters", "--json", *SMALL)
        assert json.loads(done.stdout)["output"] == f"out/{place}"
        assert (here / "out" / place / "manifest.json").is_file()


def test_an_output_that_cannot_be_made_is_known_before_the_work(here: Path) -> None:
    (here / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/map: cannot be written, as .*file is a file"):
        console.free_output(Path("file/map"), "occlusion")
    assert console.free_output(Path("new/deep/map"), "occlusion") == Path("new/deep/map")
    assert not (here / "new").exists()
    (here / "out").write_text("")
    with pytest.raises(OutputError, match="out/occlusion: cannot be written"):
        console.free_output(None, "occlusion")


def test_a_place_that_another_run_takes_meanwhile_loses_no_work(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_model = convscope.models.load_model

    def taken(*args: Any, **options: Any) -> Any:
        (here / "f").mkdir(exist_ok=True)
        (here / "f" / "theirs").touch()
        return load_model(*args, **options)

    monkeypatch.setattr("convscope.models.load_model", taken)
    done = invoke("filters", "-o", "f", "--json", *SMALL)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["output"] == "f-2"
    assert "meanwhile another run has written to f" in done.stderr
    assert [p.name for p in (here / "f").iterdir()] == ["theirs"]


def test_several_targets_and_layers(photos: Path, here: Path) -> None:
    images = [photos / "cat" / "one.jpg", photos / "cup" / "one.jpg"]
    done = invoke("saliency", *images, "--target", "3", "--target", "4", "-o", "s", "--json", *SMALL)
    assert json.loads(done.stdout)["provenance"]["parameters"]["target"] == [3, 4]
    options = ["--layer", "conv1", "--layer", "conv5.2", "-o", "f", "--json"]
    done = invoke("feature-maps", images[0], *options, *SMALL)
    assert set(json.loads(done.stdout)["values"]) == {"conv1", "conv5.2"}


def test_a_target_may_be_one_class_rather_than_another(photos: Path, here: Path) -> None:
    image = photos / "cat" / "one.jpg"
    found = {}
    for name, text in {"both": "tabby rather than lynx", "one": "281", "other": "lynx"}.items():
        done = invoke("saliency", image, "--kind", "signed", "--target", text, "-o", name, *SMALL)
        assert done.exit_code == 0, done.stderr
        found[name] = Attribution.load(here / name)
    assert found["both"].targets == ("tabby rather than lynx",)
    assert found["both"].provenance.parameters["target"] == "tabby rather than lynx"
    expected = found["one"].values - found["other"].values
    np.testing.assert_allclose(found["both"].values, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_contrasts_may_be_one_an_image(photos: Path, here: Path) -> None:
    images = [photos / "cat" / "one.jpg", photos / "cup" / "one.jpg"]
    targets = ["--target", "281 rather than 287", "--target", "espresso rather than cup"]
    found = json.loads(invoke("saliency", *images, *targets, "-o", "s", "--json", *SMALL).stdout)
    assert found["targets"] == ["tabby rather than lynx", "espresso rather than cup"]
    mixed = invoke("saliency", *images, "--target", "281", *targets[2:], "-o", "m", *SMALL)
    assert mixed.exit_code == 2
    assert "mixes contrasts and plain classes" in words(mixed.stderr)
    assert '"A rather than B" for the difference of two classes' in words(invoke("saliency", "--help").stdout)


@pytest.mark.slow
def test_occlusion_says_which_engine_ran_and_counts_windows(photos: Path, here: Path, monkeypatch: Any) -> None:
    rates = []

    def seen(what: str, unit: str) -> Any:
        rates.append(unit)
        return contextlib.nullcontext(lambda done, total: None)

    monkeypatch.setattr("convscope.cli.methods.progress_bar", seen)
    options = ["--window", "56", "--engine", "incremental", "--precision", "float32", "-o", "o", "--json"]
    done = invoke("occlusion", photos / "cup" / "one.jpg", *options, *SMALL)
    measured = json.loads(done.stdout)["provenance"]["measured"]
    assert measured["engine"] == "incremental"
    assert measured["deviation"] < 1e-4
    assert rates == ["windows"]


def test_visualize_a_channel(here: Path) -> None:
    few = ["--layer", "conv1", "--n-steps", "2", "--size-px", "48"]
    done = invoke("visualize", "3", *few, "--film", "few.gif", "--json", *SMALL)
    assert json.loads(done.stdout)["target"] == "conv1, channel 3"
    assert json.loads(done.stdout)["frames"]["shape"][0] == 3  # all there are
    assert (here / "few.gif").read_bytes()[:6] == b"GIF89a"


@pytest.mark.slow
def test_what_starts_from_a_photo(photos: Path, here: Path) -> None:
    photo = photos / "cup" / "one.jpg"
    done = invoke("accentuate", photo, "--target", "3", "--n-steps", "3", "--n-frames", "2", "--json",
        *SMALL)  # fmt: skip
    assert json.loads(done.stdout)["original"]["shape"][2] == 3
    done = invoke("invert", photo, "--layers", "conv1", "--layers", "stage2", "--n-steps", "1", "--json", *SMALL)
    assert json.loads(done.stdout)["layers"] == ["conv1", "stage2"]
    done = invoke("deep-dream", photo, "--layer", "stage2", "--n-octaves", "1", "--n-steps", "1", "--json", *SMALL)
    assert json.loads(done.stdout)["provenance"]["method"] == "deep_dream"


def test_a_film_that_cannot_be_written_is_refused_before_the_work(here: Path) -> None:
    done = invoke("visualize", "3", "--film", "a.avi", *SMALL)
    assert done.exit_code == 2
    assert "a film is a file that ends in .gif, .webp, .mp4" in words(done.stderr)


def test_an_atlas_goes_on_in_its_folder(here: Path) -> None:
    options = ["conv1", "--channels", "0-1,5", "--n-steps", "1", "--size-px", "32", "-o", "atlas", *SMALL]
    done = invoke("atlas", *options, "--json")
    assert json.loads(done.stdout)["channels"]["shape"] == [3]
    assert "3 of 24 channels" in words(invoke("atlas", *options).stdout)
    refused = invoke("atlas", *options, "--seed", "1")
    assert "holds an atlas that differs in seed" in words(refused.stderr)
    assert invoke("atlas", "conv1", "--channels", "0-", "-o", "b", *SMALL).exit_code == 2


def test_a_picture_that_the_network_takes_for_another_class_is_said_to_be_so(photos: Path, here: Path) -> None:
    """After one small step from a photo two classes have nearly one picture, which cannot be of both."""
    options = ["--start", photos / "cup" / "one.jpg", "--preset", "plain", "--n-steps", "1", *SMALL]
    done = [invoke("visualize", target, "-o", target, *options) for target in ("3", "4")]
    assert any("note: the network takes the finished picture for" in one.stderr for one in done)
    assert not any("note: the network takes" in one.stdout for one in done)


def test_numbers_that_are_found_when_not_given_are_numbers_when_given(here: Path) -> None:
    options = ["--layer", "conv1", "--n-steps", "1", "--size-px", "48", "--json", *SMALL]
    found = json.loads(invoke("visualize", "3", "-o", "a", *options).stdout)["provenance"]["parameters"]
    options += ["--n-steps", "2", "--l2", "0.5"]
    given = json.loads(invoke("visualize", "3", "-o", "b", *options).stdout)["provenance"]["parameters"]
    assert found["n_steps"] == 1
    assert given["n_steps"] == 2
    assert given["l2"] == 0.5
    refused = invoke("visualize", "3", *options, "--n-steps", "two")
    assert refused.exit_code == 2
    assert "valid integer" in words(refused.stderr)


def test_embed_then_neighbors_then_project(photos: Path, here: Path) -> None:
    done = invoke("embed", photos, "-o", "vectors")
    assert "written to vectors (arrays.npz, manifest.json)" in done.stdout
    assert "broken.jpg" in done.stderr
    cat, cup = photos / "cat" / "one.jpg", photos / "cup" / "one.jpg"
    found = json.loads(invoke("neighbors", "vectors", 0, "--k", 1, "-o", "row", "--json").stdout)
    assert others(found) == [photos / "cat" / "two.png"]  # the mirrored cat
    assert found["rows"][0]["score"] > 0.9
    done = invoke("neighbors", "vectors", cup, 0, "--k", 1, "-o", "name", "--json")
    mirrored = [photos / "cup" / "two.png", photos / "cat" / "two.png"]
    assert others(json.loads(done.stdout)) == mirrored  # an image of the collection is no neighbor of itself
    (here / "new.jpg").write_bytes(cup.read_bytes())
    done = invoke("neighbors", "vectors", "new.jpg", cat, "--k", 1, "-o", "new", "--json")
    assert others(json.loads(done.stdout)) == [cup, cat]
    done = invoke("project", "vectors", "--seed", 1, "-o", "p", "--json")
    found = json.loads(done.stdout)
    assert [set(row) for row in found["rows"]] == [{"path", "label", "x", "y"}] * 4
    assert found["provenance"]["parameters"]["seed"] == 1


def test_neighbors_in_a_folder_of_images_load_one_network_and_list_what_is_skipped(
    photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load_model = convscope.models.load_model

    def counted(*args: Any, **options: Any) -> Any:
        loaded.append(args)
        return load_model(*args, **options)

    monkeypatch.setattr("convscope.models.load_model", counted)
    (here / "new.jpg").write_bytes((photos / "cup" / "one.jpg").read_bytes())
    done = invoke("neighbors", photos, "new.jpg", "--k", 1, "-o", "n", "--json", *SMALL)
    assert others(json.loads(done.stdout)) == [photos / "cup" / "one.jpg"]
    assert len(loaded) == 1
    assert done.stderr.count("skipped 1") == 1
    assert "broken.jpg" in done.stderr


def test_json_of_embeddings_has_what_is_saved(photos: Path, here: Path) -> None:
    found = json.loads(invoke("embed", photos / "cat", "-o", "v", "--json", *SMALL).stdout)
    assert found["vectors"]["shape"] == [2, 1024]
    assert "model" not in found


def test_an_interrupted_embed_prints_json_too(photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(model: Any, images: Any, **options: Any) -> None:
        raise Interrupted(embed(model, images[:1]))

    monkeypatch.setattr(convscope.embedding, "embed", interrupted)
    done = invoke("embed", photos / "cat", "-o", "v", "--json", *SMALL)
    assert done.exit_code == 130
    found = json.loads(done.stdout)
    assert (found["output"], found["vectors"]["shape"][0]) == ("v", 1)


def test_report_says_what_each_image_is(photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def written(model: Any, images: Any, *, output: Path, **options: Any) -> Path:
        given.update(options)
        return output

    monkeypatch.setattr(import_module("convscope.report"), "report", written)
    images = [photos / "cup" / "one.jpg"] * 13
    done = invoke("report", *images, "--target", 504)
    assert given["target"] == 504
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"{images[0]}: espresso (")]
    assert len(lines) == 12
    assert " or " in lines[0]
    assert "report written to out/report.html" in done.stdout


def test_layers_as_json() -> None:
    found = json.loads(invoke("layers", "--json", *SMALL).stdout)
    assert found[0] == {
        "name": "conv1.0",
        "kind": "Conv2d",
        "shape": [24, 112, 112],
        "receptive_field": [3, 3],
        "pixels": [[-1, 2, 2], [-1, 2, 2]],
        "held": "maps",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["layers", "--model", "resnet"], 1, "no network 'resnet'"),
        (["saliency", "{photo}", "--target", "tigr", "-o", "x"], 2, "did you mean"),
        (["saliency", "{photo}", "--target", "tabby rather than linx", "-o", "x"], 2, "did you mean 'lynx'"),
        (["saliency", "{photo}", "--kind", "loud"], 2, "loud"),
        (["occlusion", "{photo}", "--window", "a"], 2, "expected pixels"),
        (["filters", "--layer", "nine"], 2, "layer 'nine' does not exist"),
        (["filters", "-o", "{photo}/map"], 1, "one.jpg is a file; choose another output"),
        (["neighbors", "{photo}", "0"], 2, "no row is left to be a neighbor"),
    ],
)
@pytest.mark.same_everywhere
def test_errors_are_one_message_and_an_exit_code(
    arguments: list[str], code: int, message: str, photos: Path, here: Path
) -> None:
    done = invoke(*[a.format(photo=photos / "cat" / "one.jpg") for a in arguments])
    assert done.exit_code == code, done.stderr
    assert message in words(done.stderr)
    assert [p.name for p in here.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["predict", "no/such.jpg"], 1, "no/such.jpg: no such file or folder"), (["nonsense"], 2, "nonsense")],
)
@pytest.mark.same_everywhere
def test_a_process_that_fails_leaves_no_traceback(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_saves_the_picture_so_far(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    options = ["--layer", "conv1", "--n-steps", "100000", "--size-px", "48", "-o", "v", *SMALL]
    code = (  # where tests run in the background, a child would ignore Ctrl-C
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from convscope.cli import main; main()"
    )
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, "visualize", "3", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},
    )
    os.close(terminal)
    try:
        shown = read_until(screen, b"/100000")  # the progress bar counts steps: the work is under way
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)
        with contextlib.suppress(OSError):  # the end of a terminal that nobody holds
            while more := os.read(screen, 65536):
                shown += more
    finally:
        process.kill()
        os.close(screen)
    assert process.returncode == 130, shown
    assert "written to v (arrays.npz, manifest.json, picture.png)" in stdout
    assert b"interrupted after" in shown
    assert b"Traceback" not in shown
    assert 1 < len(Visualization.load(tmp_path / "v").scores) < 100_000


def read_until(screen: int, wanted: bytes, seconds: float = 100) -> bytes:
    seen = b""
    ends = time.monotonic() + seconds
    while wanted not in seen:
        assert time.monotonic() < ends, seen
        if select.select([screen], [], [], 1)[0]:
            seen += os.read(screen, 65536)
    return seen


@pytest.mark.slow
def test_a_store_is_filled_once_and_asked(photos: Path, here: Path) -> None:
    done = invoke("embed", photos, "--store", "photos.lance")
    assert (
        "photos.lance: 5 new, 0 changed, 0 moved, 0 relabeled, 0 gone; 5 images in all, 1 of them without a vector"
        in done.stdout
    )
    assert "broken.jpg" in done.stderr
    (photos / "broken.jpg").unlink()
    found = json.loads(invoke("embed", photos, "--store", "photos.lance", "--prune", "--json").stdout)
    told = {
        name: found[name] for name in ("store", "images", "new", "gone", "pruned", "skipped", "without_vector")
    }
    assert list(told.values()) == ["photos.lance", 4, 0, 1, 1, [], 0]
    cat = photos / "cat" / "one.jpg"
    found = json.loads(invoke("neighbors", "photos.lance", cat, "--k", 1, "-o", "n", "--json").stdout)
    assert [row["path"] for row in found["rows"]] == [str(cat)]
    Image.open(cat).save("new.jpg")
    done = invoke("neighbors", "photos.lance", "new.jpg", "--k", 1, "-o", "new", "--where", "label = 'cup'")
    assert "cup" in done.stdout
    assert invoke("project", "photos.lance", "-o", "map").exit_code == 0
    placed = json.loads(invoke("place", "photos.lance", cat, "--json").stdout)
    assert placed["names"] == [str(cat)]
    by_path = {row["path"]: row["pca_x"] for row in EmbeddingStore.open("photos.lance").to_arrow().to_pylist()}
    assert placed["coordinates"][0][0] == pytest.approx(by_path[str(cat)], abs=1e-3)


@pytest.mark.parametrize("method", ["pca", pytest.param("tsne", marks=pytest.mark.slow)])
def test_a_store_is_projected_clustered_and_evaluated(here: Path, method: str) -> None:
    points = np.random.default_rng(0).normal(size=(40, 6)) + 9 * np.eye(2, 6)[np.arange(40) % 2]
    EmbeddingStore.of_vectors("s.lance", points, labels=["a", "b"] * 20)
    done = invoke("project", "s.lance", "--method", method, "-o", "map")
    assert "map.html" in done.stdout
    assert "trustworthiness" in done.stdout
    assert (here / "map" / "map.html").stat().st_size > 100_000
    assert "agreement with the labels: 1.00" in invoke("cluster", "s.lance", "-o", "c").stdout
    assert "feature: accuracy 1.000" in invoke("evaluate-retrieval", "s.lance", "-o", "r").stdout
    found = json.loads(invoke("evaluate-retrieval", "s.lance", "-o", "rj", "--json").stdout)
    assert found["scores"]["feature"]["accuracy"] == 1
    found = json.loads(invoke("duplicates", "s.lance", "--threshold", "0.5", "-o", "d", "--json").stdout)
    assert found["n_pairs"] >= len(found["rows"]) > 0
    assert found["rows"][0]["is_copy"] is False


def test_suspects_are_shown_with_what_the_network_looked_at(photos: Path, here: Path) -> None:
    Image.open(photos / "cat" / "one.jpg").rotate(2).save(photos / "cup" / "tilted.png")
    invoke("embed", photos, "--store", "s.lance")
    done = invoke("suspects", "s.lance", "--k", 2, "--maps", 1, "-o", "s", "--json")
    told = json.loads(done.stdout)["maps"]
    assert [row["path"] for row in told["rows"]] == [json.loads(done.stdout)["rows"][0]["path"]]
    assert told["output"] == str(Path("s") / "maps")
    maps = Attribution.load(told["output"])
    assert list(maps.names) == [row["path"] for row in told["rows"]]
    page = (here / "s" / "suspects.html").read_text()
    assert page.count('class="heat"') == 1
    assert "network: efficientnet-lite0, as the record names it" in done.stderr
    refused = invoke("suspects", "s.lance", "--kind", "outlier", "--maps", 1, "-o", "p")
    assert (refused.exit_code, (here / "p").exists()) == (2, False)
    points = np.random.default_rng(0).normal(size=(8, 6))
    EmbeddingStore.of_vectors("v.lance", points, labels=["a", "b"] * 4)
    refused = invoke("suspects", "v.lance", "--maps", 1, "-o", "p")
    assert (refused.exit_code, (here / "p").exists()) == (2, False)
    assert "no network made these vectors" in words(refused.stderr)


# What to type after each command that takes a store and a network.
WITH_A_NETWORK = {
    "attribute-dataset": ["s.lance"],
    "embed": ["photos", "--store", "s.lance"],
    "neighbors": ["s.lance", "new.jpg"],
    "place": ["s.lance", "new.jpg"],
    "project": None,  # of a store it runs no network
    "suspects": None,  # neither does this, but for --maps
    "report": None,  # takes a folder of images, and no store
}


def test_every_command_that_takes_a_store_and_a_network_is_checked() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    options = {name: {parameter.name for parameter in command.params} for name, command in commands.items()}
    found = {name for name, given in options.items() if "model_name" in given and given & {"store", "collection"}}
    assert found == set(WITH_A_NETWORK)


@pytest.mark.parametrize("command", [name for name, given in WITH_A_NETWORK.items() if given])
@pytest.mark.same_everywhere
def test_a_store_of_another_network_is_refused(command: str, photos: Path, here: Path) -> None:
    invoke("embed", photos / "cat", "--store", "s.lance")
    assert invoke("project", "s.lance", "-o", "map").exit_code == 0
    Image.open(photos / "cup" / "one.jpg").save("new.jpg")
    before = EmbeddingStore.open("s.lance").to_arrow()
    done = invoke(command, *(WITH_A_NETWORK[command] or ()), *SMALL)
    assert done.exit_code == 1
    said = words(done.stderr)
    assert "s.lance holds vectors of efficientnet-lite0 (" in said
    assert "not of torchvision:shufflenet_v2_x0_5 (" in said
    assert "give the network that made this store, or choose another one" in said
    assert EmbeddingStore.open("s.lance").to_arrow().equals(before)


@pytest.mark.same_everywhere
def test_saved_vectors_of_another_network_are_refused(photos: Path, here: Path) -> None:
    invoke("embed", photos / "cat", "-o", "vectors")
    Image.open(photos / "cup" / "one.jpg").save("new.jpg")
    done = invoke("neighbors", "vectors", "new.jpg", *SMALL)
    assert done.exit_code == 2
    said = words(done.stderr)
    assert "these by efficientnet-lite0" in said
    assert "give the network that made them" in said


def test_vectors_that_were_brought_along_place_no_image(photos: Path, here: Path) -> None:
    EmbeddingStore.of_vectors("own.lance", np.random.default_rng(0).normal(size=(20, 1280)))
    invoke("project", "own.lance", "-o", "map")
    for command in ("place", "neighbors"):
        done = invoke(command, "own.lance", photos / "cat" / "one.jpg")
        assert done.exit_code == 1
        assert "holds vectors that were brought along" in words(done.stderr)


@pytest.mark.same_everywhere
def test_what_a_store_refuses(photos: Path, here: Path) -> None:
    invoke("embed", photos / "cat", "--store", "s.lance")
    cat = photos / "cat" / "one.jpg"
    for arguments, code, message in (
        (("neighbors", "s.lance", cat, "--where", "lable = 1"), 2, "lable"),
        (("index", "s.lance"), 1, "an index pays from"),
        (("neighbors", "s.lance", cat, "--approximate"), 1, "has no index for 'cosine'"),
        (("embed", photos, "--store", "s.lance", "--output", "o"), 2, "--output belongs to a run without a store"),
        (("index", "nothing.lance"), 1, "no store there"),
        (("embed", photos, "--prune"), 2, "belong to --store"),
        (("neighbors", photos, "0", "--where", "label = 1"), 2, "ask a store"),
        (("embed", photos, "--store", "s.lance", *SMALL), 1, "Vectors of different networks cannot be compared"),
    ):
        done = invoke(*arguments)
        assert done.exit_code == code
        assert message in words(done.stderr)
