"""The map: one file that loads nothing, cannot be broken by the names in it, and draws every point."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.errors import OutputError, ParameterError
from convscope.report.map_data import MapData
from convscope.report.map_page import map_page

EVIL = "</script><script>alert(1)</script>"
ODD = (EVIL, '" onload="alert(1)', "猫 ☕ \u2028", "<!--<script>", "a&amp;b\\", "'", "\udcff.jpg", "")


class Page(HTMLParser):
    """Tags with their attributes, and the text of each `<script>` by its id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text: list[str] = []
        self._id: str | None = None
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._id = dict(attrs).get("id") or "main"
            self.scripts[self._id] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._id = None

    def handle_data(self, data: str) -> None:
        if self._id is None:
            self.text.append(data)
        else:
            self.scripts[self._id] += data

    def array(self, name: str, kind: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(self.scripts[f"data-{name}"]), dtype=kind)

    def column(self, name: str) -> np.ndarray | None:
        """The codes or numbers of a column."""
        for i, about in enumerate(json.loads(self.scripts["data-texts"])["columns"]):
            if about["id"] == name:
                return self.array(f"column-{i}", "<i4" if "values" in about else "<f4")
        return None


def tile(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "JPEG")
    return file.getvalue()


def some_points(n: int = 8, **changes: Any) -> MapData:
    generator = np.random.default_rng(0)
    coordinates = generator.normal(size=(n, 2)).astype(np.float32)
    neighbors = np.stack([(np.arange(n) + k) % n for k in range(1, 4)], axis=1)
    data = MapData(
        coordinates=coordinates,
        names=tuple(f"photos/{i}.jpg" for i in range(n)),
        labels=tuple("cat" if i % 2 else "dog" for i in range(n)),
        predicted=tuple("cat" if i % 4 else "dog" for i in range(n)),
        probability=np.linspace(0, 1, n),
        clusters=np.arange(n) % 3 - 1,
        thumbnails=[tile((i % 256, 90, 160)) for i in range(n)],
        neighbors=neighbors,
        scores=np.tile(np.array([0.9, 0.8, 0.7]), (n, 1)),
        facts={"Trustworthiness": "0.93", "Perplexity": "30", "Weights": "abc"},
    )
    return dataclasses.replace(data, **changes)


def test_what_the_file_holds(tmp_path: Path) -> None:
    width = np.array([1, 2, 3, 4, 5, 6, 7, np.nan])
    points = some_points(labels=(None, "cat", "dog", "cat", None, "cat", "dog", "cat"), columns={"width": width})
    page = Page(map_page(points, tmp_path / "new" / "map.html"))
    texts = json.loads(page.scripts["data-texts"])
    assert texts["names"] == list(points.names)
    columns = {one["id"]: (i, one.get("values")) for i, one in enumerate(texts["columns"])}
    assert {name: values for name, (_, values) in columns.items() if name in ("label", "width", "cluster")} == {
        "label": ["cat", "dog"],
        "cluster": ["cluster 0", "cluster 1", "added after clustering"],
        "width": None,
    }
    np.testing.assert_array_equal(page.array("coordinates", "<f4").reshape(-1, 2), points.coordinates)
    np.testing.assert_array_equal(page.column("label"), [-1, 0, 1, 0, -1, 0, 1, 0])
    np.testing.assert_array_equal(page.array("neighbors", "<i4").reshape(8, 3), points.neighbors)
    np.testing.assert_array_equal(page.column("cluster"), points.clusters)
    np.testing.assert_array_equal(page.column("error"), [-1, 1, 0, 1, -1, 1, 0, 1])
    np.testing.assert_array_equal(page.column("width"), width)
    np.testing.assert_allclose(page.array("scores", "<f4").reshape(8, 3), points.scores, rtol=1e-6)
    offsets = page.array("offsets", "<u4")
    pictures = page.scripts["data-pictures"]
    for i, thumbnail in enumerate(points.thumbnails):
        assert base64.b64decode(pictures[offsets[i] : offsets[i + 1]], validate=True) == thumbnail


def test_what_is_not_given_is_not_there(tmp_path: Path) -> None:
    points = MapData(coordinates=np.zeros((2, 2)), names=("a", "b"), labels=(None, None))
    page = Page(map_page(points, tmp_path / "map.html"))
    assert set(page.scripts) == {"data-texts", "data-coordinates", "data-notes", "main"}


def test_without_predictions_to_judge_by_there_are_the_neighbors(tmp_path: Path) -> None:
    page = Page(map_page(some_points(predicted=("desk",) * 8), tmp_path / "map.html"))
    assert page.column("error") is None
    np.testing.assert_array_equal(page.column("neighbors"), np.full(8, 1), "two of three have another label")
    assert "counts the labels of the 3 nearest" in page.scripts["data-notes"]
    page = Page(map_page(some_points(predicted=(), labels=(None,) * 8), tmp_path / "map.html"))
    assert page.column("error") is page.column("neighbors") is None
    assert "counts the labels" not in page.scripts["data-notes"]


def test_a_page_without_neighbors_promises_none(tmp_path: Path) -> None:
    assert "Click a point to see its nearest" in map_page(some_points(), tmp_path / "map.html").read_text()
    text = map_page(some_points(neighbors=None, scores=None), tmp_path / "map.html").read_text()
    assert "Click a point" not in text
    assert "nearest in the vectors is not in this file" in text


def test_texts_from_outside_stay_texts(tmp_path: Path) -> None:
    odd = (*ODD[:7], None)
    points = some_points(
        names=ODD,
        labels=odd,
        predicted=odd[::-1],
        title=EVIL,
        subtitle=EVIL,
        facts={EVIL: EVIL},
        meanings={EVIL: EVIL},
    )
    page = Page(map_page(points, tmp_path / "map.html"))
    texts = json.loads(page.scripts["data-texts"])
    assert texts["names"] == list(ODD)
    values = texts["columns"][0]["values"]
    assert [values[code] if code >= 0 else None for code in page.column("label")] == list(odd)
    assert "alert(1)" not in page.scripts["main"]
    assert not any("onload" in attributes for _, attributes in page.tags)
    clean = Page(
        map_page(some_points(facts={"a": "b"}, meanings={"a": "c"}, subtitle="d"), tmp_path / "clean.html")
    )
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags], "a text has become a tag"
    assert page.raw.count("alert(1)") == page.raw.count(r"\u003cscript\u003ealert(1)") + page.raw.count(
        "&lt;script&gt;alert(1)"
    ) + page.raw.count(r"\" onload=\"alert(1)")


def test_only_our_script_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = Page(map_page(some_points(), tmp_path / "map.html"))
    policy = next(str(a["content"]) for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src 'unsafe-inline'" not in policy
    assert not any({"src", "href", "srcset"} & set(attributes) for _, attributes in page.tags)
    license_texts = re.match(r"/\*!.*?\*/", page.scripts["main"], re.DOTALL)
    assert license_texts is not None
    for name in ("regl-scatterplot", "regl", "pub-sub-es", "gl-matrix", "earcut", "kdbush", "svelte"):
        assert f"{name} " in license_texts[0]
    assert "Fritz Lekschas" in license_texts[0]
    rest = page.raw.replace(license_texts[0], "")
    assert not re.findall(r"https?://", rest)
    assert not re.findall(r"@import|url\(", "".join(page.text))


def test_facts_say_what_they_mean(tmp_path: Path) -> None:
    text = map_page(some_points(meanings={"Weights": "Their hash."}), tmp_path / "map.html").read_text()
    assert "Are images that lie together on the map near in the vectors, too?" in text
    assert "Their hash." in text


def test_above_the_budget_pictures_are_left_out(tmp_path: Path) -> None:
    points = some_points(400)
    whole = map_page(points, tmp_path / "whole.html")
    assert "left out" not in whole.read_text()
    budget = 600_000
    part = map_page(points, tmp_path / "part.html", byte_budget=budget)
    assert part.stat().st_size < budget < whole.stat().st_size
    page = Page(part)
    n_kept = int((np.diff(page.array("offsets", "<u4").astype(int)) > 0).sum())
    assert 100 < n_kept < 400
    assert f"Those of {400 - n_kept} others" in page.raw
    again = map_page(points, tmp_path / "again.html", byte_budget=budget)
    assert again.read_bytes() == part.read_bytes()
    other = map_page(points, tmp_path / "other.html", byte_budget=budget, seed=1)
    assert other.read_bytes() != part.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ()}, "at least one point"),
        ({"coordinates": np.zeros((8, 3))}, r"shape \(8, 2\)"),
        ({"coordinates": np.full((8, 2), np.nan)}, "8 of 8 points"),
        ({"labels": ("cat",)}, "1 labels"),
        ({"predicted": ("cat",)}, "1 in predicted"),
        ({"clusters": np.zeros(7)}, "clusters"),
        ({"neighbors": np.full((8, 3), 8)}, "largest is 8"),
        ({"scores": np.zeros((8, 2))}, "scores"),
        ({"neighbors": None}, "give both"),
        ({"columns": {"width": np.zeros(7)}}, "the column 'width' must have"),
        ({"columns": {"label": np.zeros(8)}}, "another title"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=message):
        map_page(some_points(**changes), tmp_path / "map.html")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        map_page(some_points(), tmp_path)


def test_only_a_page_of_our_own_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    points, photo = some_points(), str(tmp_path / "photo.jpg")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is an input of this very call"):
            map_page(points, tmp_path / "photo.jpg", inputs=[photo], overwrite=overwrite)
    with pytest.raises(OutputError, match="convscope did not write it"):
        map_page(some_points(), tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_text() == "mine"
    first = map_page(points, tmp_path / "map.html").read_bytes()
    assert map_page(points, tmp_path / "map.html").read_bytes() == first
