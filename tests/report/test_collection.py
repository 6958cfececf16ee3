"""The collection of a report: a folder, or vectors that were made before, all told the same way."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tests.render.results import duplicates as some_duplicates
from tests.report.made import EVIL, Page, write_photo

from convscope.embedding import embed, project
from convscope.errors import (
    ImageError,
    ParameterError,
    StoreError,
)
from convscope.models import Model
from convscope.report import collection, report
from convscope.report.collection import QUERIES
from convscope.report.map_page import is_map_of
from convscope.store import EmbeddingStore


def test_the_given_images_are_the_first_queries(made: tuple[Path, str, Any]) -> None:
    queries = [img["alt"] for img in Page(made[1]).of("img") if img["alt"].startswith("query ")]
    assert queries[:2] == [f"query {EVIL}", "query plain.png"]
    assert len(queries) == QUERIES


def test_a_collection_that_is_not_there_is_an_error_before_the_work(model: Model, tmp_path: Path) -> None:
    calls: list[Any] = []
    with pytest.raises(ImageError, match="nowhere"):
        report(
            model,
            np.zeros((9, 9, 3), np.uint8),
            output=tmp_path / "r.html",
            collection=tmp_path / "nowhere",
            progress=lambda *call: calls.append(call),
        )
    assert calls == []


def test_no_path_of_this_machine_is_in_the_file(made: tuple[Path, str, Any]) -> None:
    folder = made[0].parents[2]
    assert "photos/<img src=x>.jpg: not an image" in "".join(Page(made[1]).text)
    assert str(folder) not in made[1]
    assert folder.name not in made[1]


@pytest.mark.parametrize("kind", ["store", "place of a store", "embeddings", "place of embeddings"])
def test_vectors_that_were_made_before_tell_what_a_folder_does(
    model: Model, made: tuple[Path, str, Any], tmp_path: Path, kind: str
) -> None:
    folder = made[0].parents[2]
    images = folder / "photos"
    given: Any = embed(model, folder / "all", store=tmp_path / "s" if "store" in kind else None)
    if "place of" in kind:
        given = str(tmp_path / "s") if "store" in kind else given.save(tmp_path / "saved")
    stages: set[str] = set()
    output = report(
        model,
        images,
        output=tmp_path / "r.html",
        collection=given,
        methods="saliency",
        progress=lambda stage, *_: stages.add(stage),
    )
    assert "embed" not in stages, "the vectors are there"
    page, expected = Page(output.read_text(encoding="utf-8")), Page(made[1])
    for alt in ("query ", "Map of the 6 images"):
        found, those = (
            [one["alt"] for one in p.of("img") if one["alt"].startswith(alt)] for p in (page, expected)
        )
        assert found == those
    # Pixels of a store are those of its JPEG thumbnails.
    space = re.compile(r">as the network sees it</h4>(.*?)</div>", re.DOTALL)
    spaces = [space.findall(text) for text in (page.raw, made[1])]
    scores = [[float(s) for s in re.findall(r"\d\.\d{3}", "".join(one))] for one in spaces]
    assert len(scores[0]) == QUERIES * 5
    np.testing.assert_allclose(*scores, atol=0.002)


def test_a_store_is_only_read(model: Model, made: tuple[Path, str, Any], tmp_path: Path) -> None:
    store = embed(model, made[0].parents[2] / "all", store=tmp_path / "s")
    before = store.schema, store.to_arrow()
    report(model, np.zeros((9, 9, 3), np.uint8), output=tmp_path / "r.html", collection=store, methods="saliency")
    assert (store.schema, store.to_arrow()) == before


def test_images_whose_file_is_gone_are_in_no_report(
    model: Model, made: tuple[Path, str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "duplicates", lambda source: some_duplicates(sizes=()))
    store = embed(model, made[0].parents[2] / "all", store=tmp_path / "s")
    gone = [path for path in store.by_path("label") if path.endswith("/0.png")]
    store.add_columns(pa.table({"path": gone, "gone": [True]}))
    output = report(
        model, np.zeros((9, 9, 3), np.uint8), output=tmp_path / "r.html", collection=store, methods="saliency",
        as_json=True,
    )  # fmt: skip
    assert json.loads(output.with_suffix(".json").read_text())["duplicates"] == [], "asked for, none found"
    page = Page(output.read_text(encoding="utf-8"))
    assert "5 images" in "".join(page.text)
    assert not [one["alt"] for one in page.of("img") if (one["alt"] or "").startswith(("0.png", "query 0.png"))]


@pytest.mark.parametrize("kind", ["one image", "a store of one", "embeddings of one"])
def test_a_collection_of_one_is_refused_before_the_work(model: Model, tmp_path: Path, kind: str) -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    store = tmp_path / "s" if "store" in kind else None
    given = [image] if kind == "one image" else embed(model, [image], store=store)
    calls: list[Any] = []
    with pytest.raises(ParameterError, match=r"a collection needs at least 2 images .* has 1"):
        report(model, image, output=tmp_path / "r.html", collection=given, progress=lambda *c: calls.append(c))
    assert calls == []


@pytest.mark.parametrize("kind", ["another network", "your own vectors"])
def test_a_store_that_nothing_can_be_compared_with_is_refused_before_the_work(
    model: Model, tmp_path: Path, kind: str
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3), np.uint8)
    if kind == "another network":
        other = copy.deepcopy(model.module)
        with torch.no_grad():
            next(other.parameters()).add_(1)
        network = Model(other, labels=model.labels, preprocessing=model.preprocessing, name="other")
        embed(network, list(image), store=tmp_path / "s")
    else:
        EmbeddingStore.of_vectors(tmp_path / "s", np.eye(6))
    calls: list[Any] = []
    with pytest.raises(StoreError, match=r"other|brought along"):
        report(
            model,
            image[0],
            output=tmp_path / "r.html",
            collection=tmp_path / "s",
            progress=lambda *call: calls.append(call),
        )
    assert calls == []


def test_a_collection_of_another_network_is_refused_before_the_work(model: Model, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3), np.uint8)
    other = Model(
        copy.deepcopy(model.module), labels=model.labels, preprocessing=model.preprocessing, name="other"
    )
    with torch.no_grad():
        next(other.module.parameters()).add_(1)
    calls: list[Any] = []
    with pytest.raises(ParameterError, match=r"these by other at .*give the network that made them"):
        report(
            model,
            image[0],
            output=tmp_path / "r.html",
            collection=embed(other, list(image)),
            progress=lambda *call: calls.append(call),
        )
    assert calls == []


def test_a_store_alone_shows_where_the_network_is_wrong(tiny: Model, tmp_path: Path) -> None:
    for i in range(15):
        write_photo(tmp_path / "all" / "abc"[i % 3] / f"{i}.png", i % 14)  # the last is a copy of the first
    store = embed(tiny, tmp_path / "all", store=tmp_path / "s")
    (tmp_path / "all" / "b" / "4.png").unlink()
    stages: set[str] = set()
    folder = project(store, method="tsne").save(tmp_path / "map")
    output = report(
        tiny, output=folder / "r.html", collection=tmp_path / "s", n_errors=4, as_json=True,
        progress=lambda stage, *_: stages.add(stage),
    )  # fmt: skip
    found, page = json.loads((folder / "r.json").read_text()), Page(output.read_text(encoding="utf-8"))
    rows = store.to_pandas(["path", "label", "predicted", "probability"])
    wrong = rows[rows.label != rows.predicted].sort_values("probability", ascending=False, kind="stable")
    assert "embed" not in stages
    assert found["collection"]["accuracy"] == pytest.approx(1 - len(wrong) / 15)
    assert [row["name"] for row in found["errors"]] == list(wrong.path)
    assert [row["predicted"] for row in found["errors"]] == list(wrong.predicted)
    counts = wrong.groupby(["label", "predicted"]).size()
    assert {(r["label"], r["predicted"]): r["count"] for r in found["confusions"]} == counts.to_dict()
    for row in found["classes"]:
        of_class = rows[rows.label == row["label"]]
        assert row["accuracy"] == pytest.approx((of_class.label == of_class.predicted).mean())
    shown = [a for a in page.of("article") if a.get("class") == "of-error"]
    assert len(shown) == min(4, len(wrong))
    text = " ".join("".join(page.text).split())
    assert f"{min(4, len(wrong))} of {len(wrong)} are shown" in text or len(wrong) <= 4
    assert f"label {wrong.label.iloc[0]} network {wrong.predicted.iloc[0]}" in text
    assert {Path(name).name for group in found["duplicates"] for name in group} >= {"0.png", "14.png"}
    assert str(tmp_path) not in page.raw
    assert f"s, as {tiny.name} sees it" in text
    assert str(Path(wrong.path.iloc[0]).relative_to(tmp_path / "all")) in text, "names of different folders differ"
    assert "a a/0.png" in text, "also in a group of duplicates"
    assert "c c/14.png" in text
    assert {"query a/0.png", "a/0.png, label a"} <= {img["alt"] for img in page.of("img")}
    assert "The map that t-SNE made of this store." in text, "not another one than the store's"
    assert [one["href"] for one in page.of("a") if one["href"][:1] != "#"] == ["map.html"]
    named = [f"{'abc'[i % 3]}/{i}.png" for i in range(15)]
    assert is_map_of(folder / "map.html", named)
    assert not is_map_of(folder / "map.html", named[1:]), "a map of other images is not linked"
    assert not is_map_of(folder / "absent.html", named)


def test_a_report_of_nothing_is_refused(tiny: Model, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="needs images, or a collection"):
        report(tiny, output=tmp_path / "r.html")


def test_a_suspect_label_has_a_map_of_what_the_network_looked_at(model: Model, tmp_path: Path) -> None:
    for i in range(8):
        kind, pixels = "xy"[i % 2], np.random.default_rng(i).integers(0, 40, (32, 32, 3), dtype=np.uint8)
        pixels[8:24, 8:24, 2 * (i % 2)] = 200
        place = tmp_path / "all" / ("x" if i == 7 else kind) / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    output = report(model, output=tmp_path / "r.html", collection=tmp_path / "all", methods="saliency", n_images=1)
    page = Page(output.read_text(encoding="utf-8"))
    alts = [img["alt"] for img in page.of("img") if img.get("class") == "heat" and "similarity" in str(img["alt"])]
    assert [str(alt).split(" for ")[0] for alt in alts] == ["grad_cam map of x/7.png"]
    assert "in common with its nearest of the suggested label" in "".join(page.text)
    assert len(page.of("input")) >= 1, "a slider from the photo to the map"
