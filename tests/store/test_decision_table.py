"""Decisions from a table that somebody edited in a spreadsheet: all of them, or none."""

from __future__ import annotations

import csv
import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from convscope import EmbeddingStore, ImageError, ParameterError, export
from convscope.cli.app import app
from convscope.tables import csv_text, read_cells
from convscope.texts import as_cell, from_cell

pytestmark = pytest.mark.same_everywhere

ODD = [
    "=1+1",
    "'=1+1",
    "''-x",
    "-1",
    "-x",
    "+1",
    "@a",
    "\tb",
    "a\rb",
    "c\nd",
    'e"f',
    " g",
    "h,i;j",
    "'k",
    "🐈",
    "\\udcff",
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingStore:
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).normal(size=(12, 4))
    vectors[4] = vectors[5] = vectors[3]  # copies
    names = [f"/photos/{i}/a.png" if i < 2 else f"/photos/{i}.png" for i in range(12)]
    return EmbeddingStore.of_vectors("s.lance", vectors, names=names, labels=["cat", "dog"] * 6)


def invoke(*args: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def decisions(store: EmbeddingStore) -> dict[str, tuple[str, str | None]]:
    if "decision" not in store.schema.names:
        return {}
    rows = store.to_arrow(["path", "decision", "decided_label"], "decision IS NOT NULL").to_pylist()
    return {row["path"].removeprefix("/photos/"): (row["decision"], row["decided_label"]) for row in rows}


def edited(file: str, edits: dict[str, dict[str, str]], *, separator: str = ",", encoding: str = "utf-8") -> str:
    """A file of --csv as a spreadsheet saves it, with more columns; rows without an edit are deleted."""
    with Path(file).open(newline="", encoding="utf-8") as opened:
        rows = [row | edits[row["path"]] for row in csv.DictReader(opened) if row["path"] in edits]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    Path("edited.csv").write_bytes(text.getvalue().encode(encoding))
    return "edited.csv"


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16")])
def test_suspects_that_a_spreadsheet_edited_are_decided_on(
    store: EmbeddingStore, separator: str, encoding: str
) -> None:
    assert invoke("suspects", "s.lance", "--csv", "suspects.csv", "--k", 2).exit_code == 0
    edits = {
        "/photos/2.png": {"decision": "drop"},
        "/photos/3.png": {"decision": " Relabel", "label": "wolf"},
        "/photos/4.png": {"decision": ""},
        "/photos/0/a.png": {"decision": "keep"},
    }
    table = edited("suspects.csv", edits, separator=separator, encoding=encoding)
    store.decide(["/photos/11.png"], "keep")
    store.decide(["/photos/11.png"], None)  # so that the columns are there
    before = store.table.version
    done = invoke("decide", "s.lance", "--table", table)
    assert (done.exit_code, done.stdout) == (0, "3 rows: 1 drop, 1 keep, 1 relabel\n")
    assert decisions(store) == {"2.png": ("drop", None), "3.png": ("relabel", "wolf"), "0/a.png": ("keep", None)}
    assert store.by_path("decided_at", "decided_at > '2026'").keys() == edits.keys() - {"/photos/4.png"}
    assert store.table.version == before + 1


def test_names_as_pages_show_them_are_enough(store: EmbeddingStore) -> None:
    Path("t.csv").write_text("name,decision\n1/a.png,drop\n 7.png,keep\n")
    assert store.decide_table("t.csv") == {"drop": 1, "keep": 1}
    assert decisions(store) == {"1/a.png": ("drop", None), "7.png": ("keep", None)}


def test_one_decision_for_all_rows_of_a_table(store: EmbeddingStore) -> None:
    Path("t.csv").write_text("path,score,decision\n/photos/8.png,1,\n/photos/9.png,2,\n")
    assert invoke("decide", "s.lance", "--table", "t.csv", "--relabel", "lion").stdout == "2 rows: 2 relabel\n"
    assert decisions(store) == {"8.png": ("relabel", "lion"), "9.png": ("relabel", "lion")}
    for wrong in (["--drop", "--keep"], ["--undo"], ["--drop", "--where", "label = 'cat'"]):
        assert invoke("decide", "s.lance", "--table", "t.csv", *wrong).exit_code == 2
    assert invoke("decide", "s.lance", "/photos/8.png", "--table", "t.csv", "--drop").exit_code == 2


def test_all_copies_but_the_one_to_keep_are_dropped_by_one_command(store: EmbeddingStore) -> None:
    assert invoke("duplicates", "s.lance", "--csv", "pairs.csv", "--threshold", "0.999").exit_code == 0
    kept = {row["keep"] for _, row in read_cells(Path("pairs.csv"))}
    assert kept == {"/photos/3.png"}
    assert invoke("decide", "s.lance", "--table", "pairs.csv", "--drop").stdout == "2 rows: 2 drop\n"
    assert decisions(store) == {"4.png": ("drop", None), "5.png": ("drop", None)}
    assert export(store, "rows.csv").n_images == 10
    assert "lists pairs" in invoke("decide", "s.lance", "--table", "pairs.csv", "--keep").stderr


PAIRS = "path,other,group,keep\n/photos/3.png,/photos/4.png,0,{0}\n/photos/4.png,/photos/5.png,0,{0}\n"


@pytest.mark.parametrize("keep", ["3.png", " /photos/3.png", "photos/3.png "])
def test_what_to_keep_may_be_written_like_any_other_name(store: EmbeddingStore, keep: str) -> None:
    Path("t.csv").write_text(PAIRS.format(keep))
    assert store.decide_table("t.csv", "drop") == {"drop": 2}
    assert decisions(store).keys() == {"4.png", "5.png"}


@pytest.mark.parametrize(
    ("keep", "trouble"),
    [
        ("", "line 2: the column keep is empty"),
        ("/photos/3.jpg", "line 2: s.lance has no row of '/photos/3.jpg'"),
        ("a.png", "line 2: 'a.png': 2 rows have paths that end so"),
    ],
)
def test_a_group_of_copies_is_never_dropped_as_a_whole(store: EmbeddingStore, keep: str, trouble: str) -> None:
    Path("t.csv").write_text(PAIRS.format(keep))
    with pytest.raises(ParameterError, match=trouble):
        store.decide_table("t.csv", "drop")
    assert decisions(store) == {}


def test_copies_of_an_image_that_was_dropped_before_are_not_dropped_too(store: EmbeddingStore) -> None:
    store.decide(["/photos/3.png"], "drop")
    Path("t.csv").write_text(PAIRS.format("/photos/3.png"))
    with pytest.raises(ParameterError, match=r"line 2: keeps '/photos/3.png', which an earlier decision drops"):
        store.decide_table("t.csv", "drop")
    assert decisions(store).keys() == {"3.png"}


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("path,decision\n2.png,drop\nnone.png,drop\n", "line 3: s.lance has no row of 'none.png'"),
        ("path,decision\n2.png,drop\na.png,drop\n", "line 3: 'a.png': 2 rows have paths that end so"),
        ("path,decision\n2.png,drop\n3.png,delete\n", "line 3: decision='delete': expected 'keep'"),
        ("path,decision,label\n2.png,keep,\n3.png,relabel, \n", "line 3: relabel of '3.png' has no label"),
        ("path,decision,label\n3.png,relabel,dog\n", "line 2: relabel of '/photos/3.png' to 'dog', which is its"),
        ("path,decision\n2.png,drop\n3.png,keep\n2.png,keep\n", "lines 2 and 4 decide differently on '2.png'"),
        ("path,decision\n2.png,drop\n,drop\n", "line 3: names no image"),
        ("path,decision\n2.png,\n", "has no decision; fill the column"),
        ("path,score\n2.png,1\n", "no column decision; add one, or give one decision for all rows"),
        ("file,decision\n2.png,drop\n", "no column path or name among decision, file"),
        ("path,other,decision\n2.png,3.png,drop\n", "lists pairs, which have no decision"),
        ("", "no column path or name among none"),
    ],
)
def test_a_table_that_is_wrong_records_nothing_and_says_where(
    store: EmbeddingStore, text: str, trouble: str
) -> None:
    Path("t.csv").write_text(text)
    before = store.table.version
    with pytest.raises(ParameterError) as refused:
        store.decide_table("t.csv")
    assert trouble in str(refused.value)
    assert "t.csv" in str(refused.value)
    assert store.table.version == before
    assert invoke("decide", "s.lance", "--table", "t.csv").exit_code == 2


def test_a_decision_in_a_row_is_not_overruled_by_one_for_all(store: EmbeddingStore) -> None:
    Path("t.csv").write_text("path,decision\n/photos/2.png,\n/photos/3.png,keep\n")
    with pytest.raises(ParameterError, match="line 3: decision='keep', while one decision is given for all rows"):
        store.decide_table("t.csv", "drop")
    assert decisions(store) == {}


@pytest.mark.parametrize("text", ["path,path\na,b\n", "path,decision\na,b,c\n", 'path,decision\n"a,drop\n'])
def test_a_file_that_is_no_table_is_refused(store: EmbeddingStore, text: str) -> None:
    Path("t.csv").write_text(text)
    with pytest.raises(ImageError, match=r"t\.csv"):
        store.decide_table("t.csv")


def test_no_cell_is_a_formula_and_each_text_comes_back() -> None:
    for text in ODD:
        assert from_cell(as_cell(text)) == text
        assert text == "-1" or as_cell(text)[0] not in "=+-@\t\r\n"
    text_of_all = csv_text([["path", "n"], *([text, -1.5] for text in ODD)])
    assert "-1.5" in text_of_all
    assert [row[0] for row in csv.reader(io.StringIO(text_of_all, newline=""))][1:] == [
        as_cell(text) for text in ODD
    ]


def test_odd_names_and_labels_survive_the_way_through_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).normal(size=(len(ODD), 4))
    store = EmbeddingStore.of_vectors("odd.lance", vectors, names=ODD, labels=[f"={i}" for i in range(len(ODD))])
    assert invoke("ls", "odd.lance", "--columns", "path,label", "--csv", "rows.csv").exit_code == 0
    rows = [row for _, row in read_cells(Path("rows.csv"))]
    assert [(row["path"], row["label"]) for row in rows] == [(name, f"={i}") for i, name in enumerate(ODD)]
    Path("t.csv").write_text(
        csv_text([["path", "label", "decision"], *([row["path"], "+new", "relabel"] for row in rows)]),
        encoding="utf-8", newline="",
    )  # fmt: skip
    assert store.decide_table("t.csv") == {"relabel": len(ODD)}
    assert set(store.by_path("decided_label").values()) == {"+new"}
    export(store, "export.csv")
    assert [row["path"] for _, row in read_cells(Path("export.csv"))] == ODD


def test_images_of_the_training_set_are_dropped_from_the_test_set(store: EmbeddingStore) -> None:
    vectors = store.vectors_of(store.rows)
    EmbeddingStore.of_vectors("test.lance", vectors[:2], names=["/test/0.png", "/test/1.png"])
    command = ["duplicates", "s.lance", "--against", "test.lance", "--threshold", "0.999", "--csv", "pairs.csv"]
    assert invoke(*command).exit_code == 0
    assert invoke("decide", "test.lance", "--table", "pairs.csv", "--drop").stdout == "2 rows: 2 drop\n"
    assert decisions(EmbeddingStore.open("test.lance")).keys() == {"/test/0.png", "/test/1.png"}


def test_pairs_of_two_stores_drop_images_of_the_second_alone(store: EmbeddingStore) -> None:
    vectors = store.vectors_of(store.rows)
    test = EmbeddingStore.of_vectors(
        "test.lance", vectors[:3], names=["/test/0.png", "/test/1.png", "/test/2.png"]
    )
    Path("t.csv").write_text(
        "path,other,keep\n/photos/3.png,/test/0.png,/photos/3.png\n/photos/4.png,/test/0.png,/photos/3.png\n"
        "/photos/2.png,/test/1.png,/test/1.png\n"
    )
    assert test.decide_table("t.csv", "drop") == {"drop": 1}
    assert decisions(test).keys() == {"/test/0.png"}
    with pytest.raises(ParameterError, match=r"s\.lance has no row of '/test/"):
        store.decide_table("t.csv", "drop")


@pytest.mark.parametrize("encoding", ["cp1252", "cp1250", "latin-1"])
def test_letters_of_an_unknown_encoding_are_not_guessed(store: EmbeddingStore, encoding: str) -> None:
    Path("t.csv").write_bytes("path,decision,label\n2.png,relabel,caf\u00e9\n".encode(encoding))
    with pytest.raises(ImageError, match=r"t\.csv: neither UTF-8 nor UTF-16.*; save it as CSV UTF-8"):
        store.decide_table("t.csv")
    assert decisions(store) == {}


def test_a_read_only_store_says_what_to_do(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    done = invoke("decide", "s.lance", "/photos/2.png", "--drop")
    assert done.exit_code == 1
    assert "s.lance: cannot be written (Permission denied); copy the store" in done.stderr
    assert invoke("project", "s.lance", "--output", "whole").exit_code == 1
    assert (
        invoke("project", "s.lance", "--where", "true", "--output", "part").exit_code == 0
    )  # as the error advises
    assert (Path("part") / "picture.png").exists()


def test_one_labeled_image_has_no_neighbors_that_vote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    EmbeddingStore.of_vectors("one.lance", np.eye(2), labels=["a", None])
    assert "1 image has a label: the vote of neighbors" in invoke("evaluate-retrieval", "one.lance").stderr
