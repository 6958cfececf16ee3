"""Commands on the rows of a store, and what is printed where there is no terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from convscope import EmbeddingStore
from convscope.cli.app import app

ROOT = Path(__file__).parent.parent.parent
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def invoke(*args: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).normal(size=(30, 4))
    names = [f"v{i}" for i in range(30)]
    EmbeddingStore.of_vectors("s.lance", vectors, names=names, labels=["cat", "dog"] * 15)
    return "s.lance"


def test_a_collection_is_listed_labeled_decided_on_and_exported(place: str) -> None:
    assert invoke("decide", place, "v0", "v2", "--drop").output == "2 rows: drop\n"
    assert invoke("decide", place, "--where", "path = 'v1'", "--relabel", "wolf").output == "1 row: relabel\n"
    assert invoke("set-label", place, "v4", "v5", "tiger").exit_code == 0
    Path("labels.csv").write_text("path,label\nv6,lion\nv7,\n")
    assert invoke("set-label", place, "--table", "labels.csv").exit_code == 0
    listed = invoke("ls", place, "--where", "decision IS NOT NULL OR label = 'tiger'")
    lines = listed.output.splitlines()
    assert lines[0].split() == [
        "label", "predicted", "probability", "decision", "decided_label", "decided_at", "path",
    ]  # fmt: skip
    (row,) = (line.split() for line in lines if line.endswith("v1"))
    assert row[:3] == ["dog", "relabel", "wolf"]
    assert lines[-1] == "5 rows, 1 to relabel, 2 to drop"
    assert invoke("ls", place).output.splitlines()[-2] == "and 10 rows more; --json and --csv list them all"
    rows = json.loads(invoke("ls", place, "--columns", "path,label", "--json").stdout)["rows"]
    labels = {row["path"]: row["label"] for row in rows}
    assert [labels[f"v{i}"] for i in range(3, 9)] == ["dog", "tiger", "tiger", "lion", None, "cat"]
    told = invoke("export", place, "rows.csv", "--where", "label = 'cat' OR label = 'dog'")
    assert told.stdout == "24 images written to rows.csv, 2 dropped, 1 relabeled\n"
    file = str(Path("a.png").resolve())
    Path(file).touch()
    EmbeddingStore.of_vectors("f.lance", np.eye(2), names=[file, "b"], labels=["cat", "dog"])
    found = json.loads(invoke("export", "f.lance", "links", "--format", "imagefolder", "--json").stdout)
    assert (found["n_images"], found["left_out"]) == (1, {"without a file": 1})
    told = invoke("duplicates", place, "--against", "absent")
    assert "--against absent: 0 of 30 images are in that folder, which does not exist" in told.stderr
    for wrong in (["ls", place, "--columns", "vector"], ["decide", place, "absent", "--drop"]):
        assert invoke(*wrong).exit_code == 2
    for misused in (["decide", place, "v0"], ["set-label", place], ["decide", place, "v0", "--drop", "--keep"]):
        assert invoke(*misused).exit_code == 2


def test_without_a_terminal_each_stage_is_logged_with_its_time(place: str) -> None:
    told = invoke("duplicates", place, "--where", "label = 'cat'", "--threshold", "0.9")
    assert told.exit_code == 0
    assert re.match(
        rf"{STAMP} duplicates \.\.\.\n"
        r"note: --where: 15 of 30 images; what is found is not kept in the store\n"
        rf"{STAMP} duplicates done in \d+\.\d s\n",
        told.stderr,
    )
    assert "\x1b" not in told.output
    assert invoke("duplicates", place, "--threshold", "0.9", "--quiet").stderr == ""


def test_the_dockerfile_runs_convscope_as_an_ordinary_user_without_secrets() -> None:
    text = (ROOT / "Dockerfile").read_text()
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] not in " #"]
    (image,) = (rest for word, rest in lines if word == "FROM")
    version = re.match(r"python:3\.(\d+)", image)
    assert version
    assert int(version[1]) >= 11
    assert any("pip install" in rest and rest.split("&&")[0].rstrip().endswith(" .") for _, rest in lines)
    users = [rest for word, rest in lines if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert ["ENTRYPOINT", '["convscope"]'] in lines
    assert not re.search(r"token|secret|passw|_key|ARG ", text, re.IGNORECASE)
    for word, rest in lines:
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
