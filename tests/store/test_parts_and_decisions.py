"""Parts of a store, labels and decisions, and what is exported of them."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from torch import nn
from torchvision.datasets import ImageFolder

from convscope import (
    EmbeddingStore,
    Model,
    OutputError,
    ParameterError,
    cluster,
    compare_stores,
    duplicates,
    embed,
    evaluate_retrieval,
    export,
    neighbors,
    project,
    suspects,
)
from convscope.store.keys import as_key
from convscope.store.link_names import FreeNames, safe_name

# Names that collide without their folder, are no UTF-8, or that Windows does not take.
FILES = ["x/a.png", "y/a.png", "y/A.jpg", "y/con.png", "y/b:c?.png", os.fsdecode(b"y/d\xff.png"), "y/" + "l" * 240]
LABELS = ["../up", "cat/dog", "Cat", "cat", "cat", None, "NUL"]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """Files with odd names, and 13 names of no file; 20 vectors in all."""
    files = [tmp_path / "img" / name for name in FILES]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(file, "png")
    vectors = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    names = [*(as_key(str(file)) for file in files), *(f"v{i}" for i in range(13))]
    return EmbeddingStore.of_vectors(
        tmp_path / "s.lance", vectors, names=names, labels=LABELS + ["cat", None] * 6 + ["b"]
    )


def test_every_question_takes_a_part_of_a_store(store: EmbeddingStore) -> None:
    part = store.where("label IS NOT NULL").where("label = 'cat'")
    here = [name for name, label in zip(store.names, store.labels, strict=True) if label == "cat"]
    assert (part.names, len(part), part.n_vectors) == (tuple(here), 8, 8)
    query, vectors = store.names[0], store.vectors_of(store.rows)
    assert query not in here
    cosines = (vectors @ vectors[0]) / np.linalg.norm(vectors, axis=1)
    expected = sorted(here, key=lambda name: -cosines[store.names.index(name)])
    assert list(neighbors(part, query, k=8).names) == expected
    two = store.where("label = 'cat' OR label IS NULL")
    assert project(part).names == tuple(here)
    assert set(duplicates(part, threshold=-1).names) == set(here)
    assert cluster(two, method="kmeans", n_clusters=2).names == two.names
    assert evaluate_retrieval(store.where("label IN ('cat', 'Cat')"), k=2).counts.tolist() == [1, 8]
    asked = [
        neighbors(part, query, where="path != 'v0'"), project(part), duplicates(part, threshold=-1),
        cluster(two, method="kmeans", n_clusters=2), evaluate_retrieval(two, k=2), suspects(two, kind="outlier"),
        compare_stores(two, part, k=2),
    ]  # fmt: skip
    of_part = "(label IS NOT NULL) AND (label = 'cat')"
    assert [result.provenance.parameters["where"] for result in asked] == [
        f"({of_part}) AND (path != 'v0')", of_part, of_part, *[two.condition] * 4,
    ]  # fmt: skip
    assert f"s.lance where {of_part}: " in asked[-1].encoders[1]
    against = duplicates(store.where("label IS NULL"), threshold=-1, against=part).provenance.parameters
    assert against["against"] == f"s.lance where {of_part}"
    assert "where" not in duplicates(store).provenance.parameters
    assert not {"pca_x", "cluster"} & set(store.schema.names), "what is found in a part is not kept"
    with pytest.raises(ParameterError, match="no column 'lable'"):
        store.where("lable = 'cat'")


@pytest.mark.parametrize(
    ("where", "trouble"),
    [
        ("label = 'cat' AN label = 'dog'", "cannot be read as a condition, at 'AN'"),
        ("label = 'cat' LIMIT 1", "at 'LIMIT'"),
        ("label = 'cat') OR (1 = 1", "the parentheses do not match"),
        ("label = 'cat' -- or not", "without '--'"),
        ("label = ?", "without '?'"),
    ],
)
def test_no_question_takes_a_condition_for_a_part_of_it(store: EmbeddingStore, where: str, trouble: str) -> None:
    """LanceDB takes the first for "label = 'cat'", the third for all rows where another condition follows."""
    for ask in (store.where, store.count, store.delete, lambda where: list(store.batches(["path"], where))):
        with pytest.raises(ParameterError, match=re.escape(trouble)):
            ask(where)
    assert store.count("label = 'a -- (;?' OR (label IN ('cat'))") == 8
    assert len(store) == 20


def test_labels_and_decisions_are_set_all_or_none(store: EmbeddingStore) -> None:
    before = store.table.version
    for call in (
        lambda: store.set_labels({"v1": "dog", "absent": "dog"}),
        lambda: store.set_labels({"v1": " "}),
        lambda: store.decide(["v1", "absent"], "drop"),
        lambda: store.decide(["a.png"], "drop"),  # of two folders
        lambda: store.decide(["con.pn"], "drop"),
        lambda: store.decide(["v1"], "relabel"),
        lambda: store.decide(["v1"], "drop", label="dog"),
    ):
        with pytest.raises(ParameterError):
            call()
    assert store.table.version == before
    assert store.set_labels({"v1": "dog", "v2": None}) == 2
    assert store.table.version == before + 1
    assert store.decide(["v1", "v1"], "relabel", label="lion") == 1
    assert store.by_path("label", "path IN ('v1', 'v2')") == {"v1": "dog", "v2": None}
    assert store.by_path("decided_label", "decided_at > '2026'") == {"v1": "lion"}
    store.decide(["v1"], None)
    assert store.decide(["x/a.png", "con.png"], "keep") == 2
    assert sorted(Path(path).name for path in store.by_path("decision", "decision = 'keep'")) == [
        "a.png",
        "con.png",
    ]
    store.decide(["x/a.png", "con.png"], None)
    assert not store.count("decision IS NOT NULL OR decided_at IS NOT NULL")


def test_an_export_counts_the_files_that_could_not_be_read(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no image")
    model = Model(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), input_size=(4, 4), mean=[0.5] * 3, std=[0.5] * 3)
    made = embed(model, tmp_path, layer="0", store=tmp_path / "s.lance")
    found = export(made, tmp_path / "rows.csv")
    assert (found.n_images, found.left_out) == (2, {"that could not be read": 1})


def test_an_export_carries_out_decisions_inside_of_its_folder(store: EmbeddingStore, tmp_path: Path) -> None:
    files = [str(tmp_path / "img" / name) for name in FILES]
    store.decide([files[1]], "drop")
    store.decide([files[2], "v0"], "relabel", label="lion")
    table = export(store, tmp_path / "rows.csv")
    assert (table.n_images, table.n_dropped, table.n_relabeled) == (19, 1, 2)
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert (len(rows), rows[files[2]], rows["v0"], rows["v1"]) == (19, "lion", "lion", "")
    export(store.where("label = 'b'"), tmp_path / "rows.parquet", format="parquet")
    (row,) = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert row["path"] == "v12"
    np.testing.assert_array_equal(row["vector"], store.vectors_of(store.find(["v12"]))[0])

    found = export(store, tmp_path / "folder", format="imagefolder")
    assert (found.n_images, found.left_out) == (5, {"without a file": 7, "without a label": 7})
    assert found.folders == {"../up": "_.._up", "NUL": "_NUL"}
    read = ImageFolder(tmp_path / "folder", is_valid_file=lambda _: True)
    assert sorted(read.classes) == sorted(["_.._up", "_NUL", "cat", "lion"])
    by_link = {os.path.realpath(path): read.classes[number] for path, number in read.samples}
    assert by_link == {files[0]: "_.._up", files[2]: "lion", files[3]: "cat", files[4]: "cat", files[6]: "_NUL"}
    for made in (tmp_path / "folder").rglob("*"):
        assert made.name == safe_name(made.name)

    export(store, tmp_path / "coco", format="coco")
    coco = json.loads((tmp_path / "coco" / "labels.json").read_text())
    named = {c["id"]: c["name"] for c in coco["categories"]}
    labels = {a["image_id"]: named[a["category_id"]] for a in coco["annotations"]}
    at = {
        os.path.realpath(tmp_path / "coco" / "data" / i["file_name"]): labels.get(i["id"]) for i in coco["images"]
    }
    expected = dict(zip(files, LABELS, strict=True)) | {files[2]: "lion"}
    del expected[files[1]]
    assert at == expected

    export(store, tmp_path / "fiftyone", format="fiftyone")
    told = json.loads((tmp_path / "fiftyone" / "labels.json").read_text())
    links = {link.stem: link for link in (tmp_path / "fiftyone" / "data").iterdir()}
    assert {
        os.path.realpath(links[stem]): None if n is None else told["classes"][n]
        for stem, n in told["labels"].items()
    } == expected
    (tmp_path / "own.html").write_text('<!doctype html><html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="generator" content="convscope 1">')  # fmt: skip
    for place, kind in (("fiftyone", "coco"), ("rows.csv", "csv"), ("own.html", "parquet")):
        with pytest.raises(OutputError, match="exists already; choose another output or remove it"):
            export(store, tmp_path / place, format=kind)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"store='s.lance': expected an EmbeddingStore, as "):
        export("s.lance", tmp_path / "z.csv")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no image is left to be linked: 1 without a file"):
        export(store.where("label = 'b'"), tmp_path / "none", format="coco")
    assert not (tmp_path / "none").exists()
    assert sorted(file for file in os.listdir(tmp_path / "img" / "y")) == sorted(f[2:] for f in FILES[1:])


def test_no_two_links_have_a_name_that_some_system_takes_for_one() -> None:
    names = FreeNames()
    given = [
        "a.jpg",
        "A.jpg",
        "a.png",
        "a-2.jpg",
        "e\u0301.jpg",
        "\xe9.jpg",
        "..",
        "",
        "COM1.tar.gz",
        "x" * 300 + ".jpg",
    ]
    found = [names.free(name) for name in given]
    assert found[:4] == ["a.jpg", "A-2.jpg", "a-3.png", "a-2-2.jpg"]
    assert found[6:9] == ["_", "_-2", "_COM1.tar.gz"]
    assert len(found[9]) == 200
    assert len({name.casefold() for name in found}) == len(given)
