"""What was mistyped is answered before torch is imported, which takes seconds.

All is typed in one new process, where nobody has imported torch; it must not be there afterward.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
from timm.models import _registry
from torchvision import models

from convscope import EmbeddingStore
from convscope.cli import networks
from convscope.errors import ModelError
from convscope.models import DEFAULT_MODEL
from convscope.models.architectures import PACKAGED

pytestmark = pytest.mark.same_everywhere

TYPE_ALL = """
import json, sys
from typer.testing import CliRunner
from convscope.cli.app import app

for typed in json.load(sys.stdin):
    done = CliRunner().invoke(app, typed, env={"COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"})
    print(json.dumps([done.exit_code, done.output, [m for m in ("torch", "timm", "lancedb") if m in sys.modules]]))
"""

# What is typed, the exit code, and what is said; {photo} is a photo that is there.
CASES: list[tuple[str, int, str]] = [
    ("--help", 0, "Which pixels matter"),
    ("occlusion --help", 0, "Pixels from one window to the next"),
    ("visualize --help", 0, "Example: convscope visualize espresso"),
    ("embed --help", 0, "--store"),
    ("saliancy {photo}", 2, "No such command 'saliancy'. Did you mean 'saliency'?"),
    ("occlusion {photo} --widnow 3", 2, "No such option: --widnow"),
    ("saliency {photo} --kind loud", 2, "'loud' is not one of 'absolute'"),
    ("saliency {photo} --device", 2, "requires an argument"),
    ("visualize 3 --n-steps two", 2, "valid integer"),
    ("visualize 3 --preset natrual", 2, "'natrual' is not one of 'natural', 'maco', 'crisp', 'plain'"),
    ("atlas blocks.3 --output a --preset loud", 2, "'loud' is not one of 'natural'"),
    ("occlusion {photo} --shape round", 2, "'round' is not one of 'rectangle'"),
    ("visualize 3 --n-steps 0", 2, "error: --n-steps 0: expected a whole number from 1 to 100,000"),
    ("occlusion {photo} --window a", 2, "expected pixels, 32 or 32,16"),
    ("occlusion {photo} --window 0", 2, "error: --window 0: expected"),
    ("rise {photo} --keep 2", 2, "error: --keep 2.0: expected a number between 0 and 1"),
    ("saliency no.jpg", 1, "error: no.jpg: no such file or folder"),
    ("predict no.jpg", 1, "error: no.jpg: no such file or folder"),
    ("report no.jpg", 1, "error: no.jpg: no such file or folder"),
    ("report {photo} --collection no", 1, "error: no: no such file or folder"),
    ("report {photo} --method lyme", 2, "error: 'lyme' is no method; did you mean lime?"),
    ("evaluate --help", 0, "deletion_mean, deletion_blur, deletion_noise"),
    ("evaluate {photo} --method lime --measure rod", 2, "error: --measure rod: did you mean 'road'?"),
    ("embed no/", 1, "no: no such file or folder"),
    ("neighbors no 0", 1, "error: no: no such file or folder"),
    ("project no", 1, "error: no: no such file or folder"),
    ("duplicates no.lance", 1, "error: no.lance: no store there; `convscope embed photos/ --store no.lance`"),
    ("suspects no", 1, "error: no: no such file or folder"),
    ("suspects no --kind odd", 2, "'odd' is not one of 'label', 'outlier', 'uncertain'"),
    ("index no.lance", 1, "error: no.lance: no store there"),
    ("place no.lance {photo}", 1, "error: no.lance: no store there"),
    ("evaluate-retrieval no.lance", 1, "error: no.lance: no store there"),
    ("cluster no.lance --method kmeans", 1, "error: no.lance: no store there"),
    ("attribute-dataset no.lance --method lyme", 2, "did you mean lime?"),
    ("evaluate {photo} --method lyme", 2, "did you mean lime?"),
    ("evaluate {photo}", 2, "nothing to evaluate: give --method or --maps"),
    ("sanity-check {photo} --method lyme", 2, "did you mean lime?"),
    ("compare {photo} --method lyme", 2, "did you mean lime?"),
    ("compare {photo} --budget-s 1e10", 2, "error: --budget-s 10000000000.0: expected a number from"),
    ("mask-study {photo} --shape round", 2, "--shape round: expected 'rectangle', 'ellipse' or 'superpixel'"),
    ("predict {photo} --model resnet50", 1, "did you mean 'torchvision:resnet50' or 'timm:resnet50'?"),
    ("predict {photo} --model efficientnet_lite1", 1, "mean 'efficientnet-lite1' or 'timm:efficientnet_lite1'?)"),
    ("saliency {photo} --model torchvison:resnet50", 1, "(did you mean 'torchvision:resnet50'?)"),
    ("saliency {photo} --model torchvision:resnet5", 1, "has no network 'resnet5'; did you mean resnet50"),
    ("saliency {photo} --model timm:resnett50.a1_in1k", 1, "'resnett50.a1_in1k'; did you mean resnet50"),
    ("saliency {photo} --model my.pt", 1, "error: my.pt: no such file"),
    ("saliency {photo} --weights my.pt", 1, "error: my.pt: no such file"),
    ("saliency {photo} --weights my.pt --model shape_net:build", 1, "error: my.pt: no such file"),
    ("saliency {photo} --model shape_net:biuld", 1, "'biuld' is not in"),
    ("saliency {photo} --model shape_net.py:biuld", 1, "shape_net.py; did you mean build?"),
    ("saliency {photo} --model shap_net:build", 1, "'shap_net:build' (did you mean 'shape_net:build'?)"),
    ("saliency {photo} --model broken_net:build", 1, "cannot be imported: SyntaxError: "),
    ("saliency {photo} --input-size 3x", 2, "error: --input-size 3x: expected sides of the network's input"),
    ("saliency {photo} --mean a", 2, "error: --mean a: expected a number for each channel"),
    ("saliency {photo} --labels no.txt", 1, "error: no.txt: no such file"),
    ("saliency {photo} --model hf:vit", 1, "error: vit: no such folder; 'hf:FOLDER' takes one on this machine"),
    ("saliency {photo} --model ./own_vit", 1, "(did you mean 'hf:./own_vit'?)"),
    ("saliency {photo} --model zzqq:build", 1, "no module 'zzqq' in /"),
    ("saliency {photo} --inputsize 3", 2, "--input-size"),
    ("saliency {photo} --multi-label", 2, "--multilabel"),
    ("inspect my.pt", 1, "error: my.pt: no such file"),
    ("inspect torchvision:resnet5", 1, "has no network 'resnet5'; did you mean resnet50"),
    ("inspect my.pt --model other.pt", 2, "name the network as MODEL or by --model, not both"),
    ("saliency {photo} --output {photo}/map", 1, "is a file; choose another output"),
]  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    """What came of each: the exit code, what was printed, and what was imported that is heavy."""
    here = tmp_path_factory.mktemp("here")
    (here / "photo.jpg").write_bytes(b"")
    (here / "shape_net.py").write_text("import torch\ndef build(): ...\n")
    (here / "own_vit").mkdir()
    (here / "own_vit" / "config.json").write_text("{}")
    (here / "broken_net.py").write_text("def build(:\n")
    given = sorted(path.name for path in here.iterdir())
    typed = [[word.format(photo="photo.jpg") for word in case.split()] for case, *_ in CASES]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TYPE_ALL],
        cwd=here, input=json.dumps(typed), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in here.iterdir()) == given
    return {case: json.loads(line) for (case, *_), line in zip(CASES, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize(("typed", "code", "message"), CASES, ids=[typed for typed, *_ in CASES])
def test_an_answer_that_needs_no_network_imports_none(typed: str, code: int, message: str, answers: Any) -> None:
    exit_code, said, heavy = answers[typed]
    assert message in " ".join(said.replace("│", " ").split())
    assert exit_code == code
    assert "Traceback" not in said
    assert heavy == []


def test_networks_are_those_that_the_libraries_list() -> None:
    assert networks.DEFAULT_MODEL == DEFAULT_MODEL
    assert tuple(PACKAGED) == networks.PACKAGED
    assert set(networks.architectures("torchvision")) == set(models.list_models(module=models))
    assert set(networks.architectures("timm")) >= set(timm.list_models())
    assert networks.architectures("no_such_library") == []


def test_no_network_is_refused_that_the_library_takes() -> None:
    old = list(_registry._deprecated_models)
    assert old
    for name in [*timm.list_models(pretrained=True)[::50], *old[::10]]:
        networks.check_network(f"timm:{name}")


def test_files_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    network = tmp_path / "network"
    network.touch()
    networks.check_network(str(network))
    networks.check_network(DEFAULT_MODEL, network)
    with pytest.raises(ModelError, match="no such file"):
        networks.check_network(DEFAULT_MODEL, tmp_path / "weights.pt")


def test_commands_on_the_rows_of_a_store_do_without_torch(tmp_path: Path) -> None:
    EmbeddingStore.of_vectors(tmp_path / "s.lance", [[1.0, 0], [0, 1]], names=["a", "b"], labels=["x", "y"])
    (tmp_path / "t.csv").write_text("path,decision\na,keep\n")
    typed = ["ls s.lance --json", "set-label s.lance a z", "decide s.lance b --drop",
             "decide s.lance --table t.csv",
             "export s.lance rows.csv", "export s.lance rows.parquet --format parquet"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TYPE_ALL],
        input=json.dumps([one.split() for one in typed]),
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert [json.loads(line)[0] for line in done.stdout.splitlines()] == [0] * len(typed), done
    assert not {"torch", "timm"} & set(json.loads(done.stdout.splitlines()[-1])[2])
