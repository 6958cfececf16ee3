"""What describes the network: options, the file, their order, and what is said of a mistake."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from convscope.cli.networks import check_network, own_code
from convscope.cli.setting_values import KEYS
from convscope.cli.settings import settled
from convscope.errors import ConvscopeError, ModelError, ParameterError
from convscope.models import load_model
from convscope.user_code import Place

pytestmark = pytest.mark.same_everywhere

FILE = """
[model]
source = "nets.shapes:build"
weights = "runs/best.pt"
input_size = [48, 64]
mean = [0.3, 0.3, 0.3]
std = [0.2, 0.2, 0.2]
labels = "labels.txt"
output = "logits"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings; it is the current one."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "best.pt").touch()
    (tmp_path / "labels.txt").write_text("disk\nred square\n\n")
    (tmp_path / "convscope.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def values(**typed: Any) -> dict[str, Any]:
    return {key: value for key, (value, _) in settled(typed).by_key.items()}


def test_every_argument_of_load_model_can_be_typed_and_written() -> None:
    arguments = {"name": "source", "pretrained": "random_weights"}
    assert {arguments.get(name, name) for name in inspect.signature(load_model).parameters} == KEYS.keys()


def test_the_file_says_what_was_not_typed(folder: Path) -> None:
    expected = {
        "source": "nets.shapes:build",
        "weights": Path("runs/best.pt"),
        "input_size": (48, 64),
        "mean": (0.3, 0.3, 0.3),
        "std": (0.2, 0.2, 0.2),
        "labels": ("disk", "red square"),
        "output": "logits",
    }
    assert values() == expected
    found = settled({"mean": "0.5", "weights": None, "random_weights": False})
    assert {key: value for key, (value, _) in found.by_key.items()} == expected | {"mean": (0.5,)}
    origins = {key: origin for key, (_, origin) in found.by_key.items()}
    assert origins == dict.fromkeys(expected, "convscope.toml") | {"mean": "--mean"}


def test_paths_start_from_the_file_and_modules_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = folder / "photos" / "more"
    deep.mkdir(parents=True)
    (folder / "net.py").touch()
    monkeypatch.chdir(deep)
    found = settled({})
    assert found["weights"] == folder / "runs" / "best.pt"
    assert found.folder == folder
    assert found.by_key["mean"].origin == str(folder / "convscope.toml")
    (folder / "convscope.toml").write_text('[model]\nsource = "net.py:build"\n')
    assert settled({})["source"] == f"{folder / 'net.py'}:build"


@pytest.mark.parametrize("source", ["hf:runs/vit", "net.onnx", "runs/net.pt2"])
def test_networks_in_files_and_folders_start_from_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Also those that are not there: another of the same name, in the current folder, is not meant."""
    deep = folder / "photos"
    deep.mkdir()
    (deep / "net.onnx").touch()
    (folder / "convscope.toml").write_text(f'[model]\nsource = "{source}"\n')
    prefix, _, place = source.rpartition(":")
    path = str(folder / place)
    monkeypatch.chdir(deep)
    assert settled({})["source"] == (f"hf:{path}" if prefix else path)
    with pytest.raises(ModelError, match=f"^{re.escape(path)}: no such"):
        check_network(settled({})["source"])
    assert settled({"source": f"{prefix}:../{place}" if prefix else f"../{place}"})["source"] == (
        f"{prefix}:../{place}" if prefix else f"../{place}"
    )


def test_code_of_ones_own_is_told_from_other_networks(folder: Path) -> None:
    (folder / "net.onnx").touch()
    for name in ("hf:tiny", "torchvision:resnet18", "timm:resnet18", "efficientnet-lite0", "net.onnx"):
        assert own_code(name) is None
    assert own_code("nets.shapes:build") == Place("nets.shapes", None, "build")
    assert own_code("nets/shapes.py:build") == Place("shapes", Path("nets/shapes.py"), "build")


def test_another_network_leaves_the_file_out(folder: Path) -> None:
    found = settled({"source": "torchvision:resnet18"})
    assert dict(found.by_key) == {"source": ("torchvision:resnet18", "--model")}
    assert found.note == (
        "convscope.toml describes nets.shapes:build and was left out, as --model names another network"
    )
    assert settled({"source": "nets.shapes:build"})["output"] == "logits"
    (folder / "convscope.toml").write_text("[model]\ninput_size = 32\n")
    assert values(source="timm:resnet18") == {"source": "timm:resnet18", "input_size": 32}


def test_the_search_ends_at_a_repository_and_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = folder / "repository" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert settled({}).file == folder / "convscope.toml"
    (folder / "repository" / ".git").mkdir()
    assert settled({}).file is None
    (folder / "repository" / "convscope.toml").touch()
    assert settled({}).file == folder / "repository" / "convscope.toml"


def test_outside_of_both_only_the_current_folder_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may write into folders above, as into /tmp, and the file can name code to run."""
    (folder / "elsewhere").mkdir()
    monkeypatch.setattr(Path, "home", lambda: folder / "home")
    assert settled({}).file == folder / "convscope.toml"
    monkeypatch.chdir(folder / "elsewhere")
    assert settled({}).file is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[model]\nweigths = 1", r"convscope.toml: \[model\] has no key 'weigths'; did you mean weights\?"),
        ("[model]\ninput-size = 1", r"has no key 'input-size'; did you mean input_size\?"),
        ("[model]\nxyz = 1", r"has no key 'xyz'; expected source, weights, "),
        ("[modle]\n", r"unknown 'modle'; all keys stand below \[model\]"),
        ("source = 'a'", r"unknown 'source'; all keys stand below \[model\]"),
        ("model = 3", r"model is no section; write \[model\]"),
        ("[model]\nmean = [", r"is not TOML: "),
        ("[model]\nlabels = " + 2000 * "[" + 2000 * "]", "is not TOML: "),
        ("[model]\ninput_size = " + 5000 * "9", "is not TOML: "),
        ("[model]\nsource = 3", "convscope.toml: source = 3: expected a text"),
        (
            "[model]\ninput_size = [1, 2, 3, 4]",
            r"toml: input_size = \[1, 2, 3, 4\]: .* 224, \[64, 48\]",
        ),
        ("[model]\ninput_size = true", "input_size = True: expected sides"),
        ("[model]\nmean = [0.5, 'a']", r"mean = \[0.5, 'a'\]: expected a number for each channel"),
        ("[model]\nmean = []", "expected a number for each channel"),
        ("[model]\nmean = nan", "expected a number for each channel"),
        ("[model]\nlabels = [1]", "labels = .*expected names of classes"),
        ("[model]\nrandom_weights = 1", "expected true or false"),
        ("[model]\nweights = 'no.pt'", r"no.pt: no such file \(convscope.toml: weights\)"),
    ],
)
def test_a_mistake_in_the_file_is_named(folder: Path, content: str, message: str) -> None:
    (folder / "convscope.toml").write_text(content)
    with pytest.raises(ConvscopeError, match=message):
        settled({})


def test_notepads_mark_before_the_text_is_no_part_of_it(folder: Path) -> None:
    (folder / "convscope.toml").write_text("\ufeff[model]\nmean = [0.5]", encoding="utf-8")
    assert settled({})["mean"] == (0.5,)


def test_only_the_ends_of_lines_part_labels(folder: Path) -> None:
    (folder / "odd.txt").write_bytes("a\u2028b\r\nc\x0cd\ne\x85\n\n".encode())
    assert values(labels=Path("odd.txt"))["labels"] == ("a\u2028b", "c\x0cd", "e")
    (folder / "none.txt").write_text("\n\n")
    with pytest.raises(ParameterError, match=r"none.txt: it is empty"):
        values(labels=Path("none.txt"))


@pytest.mark.parametrize("key", ["source", "labels", "weights"])
def test_a_name_longer_than_any_files_is_no_file(folder: Path, key: str) -> None:
    (folder / "convscope.toml").write_text(f"[model]\n{key} = '{300 * 'x'}'")
    if key == "source":
        assert settled({})["source"] == 300 * "x"
        return
    with pytest.raises(ModelError, match="no such file"):
        settled({})


def test_values_as_they_are_typed(folder: Path) -> None:
    for text in ("48,64", "48x64"):
        assert values(input_size=text)["input_size"] == (48, 64)
    assert values(input_size="32")["input_size"] == 32
    assert values(input_size="8,16,16")["input_size"] == (8, 16, 16)
    assert values(std="0.2,.5,1e-1")["std"] == (0.2, 0.5, 0.1)
    for key, value in {"input_size": "0", "mean": "a,b", "std": ""}.items():
        with pytest.raises(ParameterError, match=f"^{KEYS[key].flag} {value}: expected"):
            values(**{key: value})
    with pytest.raises(ModelError, match=r"^no.txt: no such file$"):
        values(labels=Path("no.txt"))
    Path("gap.txt").write_text("a\n\nb\n")
    with pytest.raises(ParameterError, match=r"gap.txt: line 2 is empty"):
        values(labels=Path("gap.txt"))
