"""What --json lists and --csv writes, and what the terminal says of results that are cut."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from convscope import EmbeddingStore, neighbors
from convscope.cli.app import app
from convscope.cli.listing import Rows, write_csv
from convscope.errors import OutputError
from convscope.store import is_store

PLAIN = {"COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"}
N = 60


def invoke(*args: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], env=PLAIN, catch_exceptions=False)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingStore:
    """Two groups of images; the last three are copies of the first; four have no label."""
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).normal(size=(N, 6)) + 9 * np.eye(2, 6)[np.arange(N) % 2]
    points[-3:] = points[0]
    labels = [*(["a", "b"] * (N // 2 - 2)), None, None, None, None]
    return EmbeddingStore.of_vectors("s.lance", points, labels=labels)


SUSPECT_COLUMNS = ["rank", "path", "label", "suggested", "score", "by_neighbors", "by_linear", "by_network"]
SUSPECT_COLUMNS += ["predicted", "probability", "reason", "nearest"]
COMMANDS = {
    "cluster": (["cluster", "s.lance"], ["path", "label", "cluster"]),
    "project": (["project", "s.lance"], ["path", "label", "x", "y"]),
    "duplicates": (
        ["duplicates", "s.lance", "--threshold", "0.9"],
        ["path", "label", "other", "other_label", "score", "is_copy", "group", "keep"],
    ),
    "suspects": (["suspects", "s.lance"], SUSPECT_COLUMNS),
    "neighbors": (
        ["neighbors", "s.lance", "vector 3", "vector 4", "--k", 30],
        ["path", "label", "rank", "other", "other_label", "score"],
    ),
    "evaluate-retrieval": (
        ["evaluate-retrieval", "s.lance", "--worst", 25],
        ["path", "label", "share", "rank", "other", "other_label"],
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_rows_are_listed_and_written_alike(command: str, store: EmbeddingStore, tmp_path: Path) -> None:
    typed, columns = COMMANDS[command]
    done = invoke(*typed, "-o", "out", "--csv", "new/rows.csv", "--json")
    assert done.exit_code == 0
    listed = json.loads(done.stdout)["rows"]
    with open("new/rows.csv", newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert len(listed) == len(written) > 20
    assert all(list(row) == columns for row in (*listed, *written))
    for one, other in zip(listed, written, strict=True):
        assert {key: "" if value is None else str(value) for key, value in one.items()} == other
    refused = invoke(*typed, "-o", "out2", "--csv", "new/rows.csv")
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr
    assert not (tmp_path / "out2").exists()  # refused before the work


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("output", "csv_file"), [("new/w", "new/w"), ("new/w", "new"), (None, "out"), ("w", "./w/")]
)
def test_a_csv_that_would_be_the_folder_of_the_result_is_refused_before_the_work(
    command: str, output: str | None, csv_file: str, store: EmbeddingStore, tmp_path: Path
) -> None:
    refused = invoke(*COMMANDS[command][0], *(["-o", output] if output else []), "--csv", csv_file)
    assert refused.exit_code == 1
    assert "is the folder of the result, or one around it; choose another --csv" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s.lance"]


def test_a_name_that_no_store_can_have_may_be_that_of_a_folder_of_images() -> None:
    assert not is_store("caf\udce9")
    assert not is_store("a\nb")


def test_rows_say_what_the_library_says(store: EmbeddingStore) -> None:
    groups = json.loads(invoke("cluster", "s.lance", "-o", "c", "--json").stdout)
    in_store = {row["path"]: row for row in store.to_arrow(["path", "label", "cluster"]).to_pylist()}
    assert {row["path"]: row for row in groups["rows"]} == in_store
    places = json.loads(invoke("project", "s.lance", "-o", "p", "--json", "--n-components", 4).stdout)
    assert list(places["rows"][0]) == ["path", "label", "x1", "x2", "x3", "x4"]
    found = neighbors(store, ["vector 3"], k=2)
    listed = json.loads(invoke("neighbors", "s.lance", "vector 3", "-k", 2, "-o", "n", "--json").stdout)["rows"]
    assert [row["other"] for row in listed] == [found.names[i] for i in found.indices[0]]
    assert [row["score"] for row in listed] == [pytest.approx(score) for score in found.scores[0]]
    scores = json.loads(invoke("evaluate-retrieval", "s.lance", "-o", "r", "--json", "--worst", 3).stdout)
    assert [row["class"] for row in scores["classes"]] == ["a", "b"]
    assert scores["classes"][0]["feature_accuracy"] == 1
    assert len({row["path"] for row in scores["rows"]}) == 3
    assert [row["rank"] for row in scores["rows"][:5]] == [1, 2, 3, 4, 5]


def test_what_is_cut_is_said(store: EmbeddingStore) -> None:
    done = invoke("duplicates", "s.lance", "--threshold", "0.9", "--limit", 2, "-o", "d")
    assert "3 of equal images" in done.stdout
    assert "at or above 0.9 (cosine" in done.stdout
    assert "; 4 are kept" in done.stdout
    assert done.stdout.index("are kept") < done.stdout.index("written to")
    assert "Of 3 pairs of equal images, the first 2 are kept" in done.stderr
    done = invoke("duplicates", "s.lance", "-o", "d2")
    assert "was found: a fifth of the median distance" in done.stderr
    done = invoke("neighbors", "s.lance", "vector 3", "--k", 500, "-o", "n")
    assert "and 39 neighbors more" in done.stdout
    done = invoke("neighbors", "s.lance", *(f"vector {i}" for i in range(25)), "--k", 1, "-o", "n2")
    assert "and 5 queries more" in done.stdout
    done = invoke("evaluate-retrieval", "s.lance", "--worst", 30, "-o", "r")
    assert "and 10 queries more" in done.stdout
    for command in ("cluster", "project"):
        done = invoke(command, "s.lance", "-o", command)
        assert "3 of 60 vectors are equal to another one" in done.stderr
    refused = invoke("duplicates", "s.lance", "--metric", "dot", "-o", "d3")
    assert refused.exit_code == 2
    assert "no threshold of its own" in refused.stderr


def test_names_that_are_no_text_are_written_with_backslashes(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", Rows(("path", "score"), [("a\udcff.png", 0.5), ('b,"c"\nd', float("nan"))]))
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["path", "score"], ["a\\udcff.png", "0.5"], ['b,"c"\nd', ""]]
    write_csv(tmp_path / "none.csv", Rows(("path", "score"), []))
    assert (tmp_path / "none.csv").read_text() == "path,score\n"
    with pytest.raises(OutputError, match="convscope did not write it"):
        write_csv(tmp_path / "a.csv", Rows(("path",), []))
    assert "udcff" in (tmp_path / "a.csv").read_text()


def test_a_file_that_cannot_be_finished_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:3])
            raise OSError(28, "No space left on device")

    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args: Full(opened(self, *args)))
    with pytest.raises(OutputError, match="No space left"):
        write_csv(tmp_path / "a.csv", Rows(("path",), [("x",)]))
    assert list(tmp_path.iterdir()) == []
