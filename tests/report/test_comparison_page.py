"""The page of two stores: what is on it, that names do no harm, and that it loads nothing."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.render.results import photos, store_comparison
from tests.report import made, test_map_page
from tests.report.test_map_page import EVIL, ODD, some_points
from torch import nn
from typer.testing import CliRunner

from convscope import EmbeddingStore, Model, ParameterError, StoreComparison, compare_stores, embed
from convscope.cli.app import app
from convscope.errors import OutputError
from convscope.report.comparison_page import comparison_page
from convscope.report.map_data import SecondMap
from convscope.report.map_page import map_page

N = 60


def some_comparison(n: int = N, **changes: Any) -> StoreComparison:
    """Of two classes in turn; image i is near to those after it in A, and in B one of these is another.

    In B the image in the middle is at another place, and every vote is for "cat".
    """
    rng = np.random.default_rng(3)
    places = rng.normal(size=(n, 2))
    after = np.stack([(np.arange(n) + step) % n for step in (1, 2, 3)], axis=1)
    other = np.where(np.arange(3) == 0, (after + 6) % n, after)
    found = dataclasses.replace(
        store_comparison(),
        names=tuple(f"/home/me/photos/{i}.jpg" for i in range(n)),
        labels=tuple("cat" if i % 2 else "dog" for i in range(n)),
        classes=("cat", "dog"),
        queries=np.arange(n),
        neighbors_a=after,
        neighbors_b=other,
        shared=np.full(n, 2 / 3, np.float32),
        chance=3 / (n - 1),
        voted=np.stack([np.arange(n) % 2 == 0, np.zeros(n)]).astype(int),
        coordinates=np.stack([places, -places[::-1]]).astype(np.float32),
        changed=np.array([4, 7]),
        shown=np.arange(n),
        thumbnails=np.repeat(photos(1, 64), n, axis=0),
    )
    return dataclasses.replace(found, **changes)


def test_what_the_page_says(tmp_path: Path) -> None:
    found = some_comparison()
    path = comparison_page(found, tmp_path / "compare.html")
    page, data = made.Page(path.read_text(encoding="utf-8")), test_map_page.Page(path)
    said = " ".join(" ".join(page.text).split())
    assert "Of the 3 images that A finds most like an image, B agrees on 2.0 on average" in said
    assert "by chance it would be 0.2" in said
    assert re.search(r"67% of the neighbors are the same \(chance 5.1%\)", said)
    assert re.search(r"A 100% B 50.0% right label by the vote", said)
    assert re.search(r"dog taken for cat 0 30", said), "one that only B confuses"
    assert "2 of its 3 neighbors are in both" in said
    assert [one["href"] for one in page.of("a")] == ["#point=4", "#point=7"]
    assert [one.get("title") for one in page.of("li") if one.get("class") == "is-both"][:2] == ["6.jpg", "7.jpg"]

    texts = json.loads(data.scripts["data-texts"])
    assert texts["names"] == [f"{i}.jpg" for i in range(N)]
    assert [one["id"] for one in texts["columns"]] == ["label", "vote", "shared", "vote_a", "vote_b"]
    for end, places, near in zip(
        ("", "-b"), found.coordinates, (found.neighbors_a, found.neighbors_b), strict=True
    ):
        np.testing.assert_array_equal(data.array(f"coordinates{end}", "<f4").reshape(N, 2), places)
        np.testing.assert_array_equal(data.array(f"neighbors{end}", "<i4").reshape(N, 3), near)
    np.testing.assert_array_equal(data.column("vote"), np.where(np.arange(N) % 2, 0, 1))
    np.testing.assert_array_equal(data.column("shared"), np.full(N, 2))


def test_of_many_images_only_some_were_compared(tmp_path: Path) -> None:
    found = some_comparison()
    some = np.arange(0, N, 4)
    part = dataclasses.replace(
        found,
        queries=some,
        neighbors_a=found.neighbors_a[some],
        neighbors_b=found.neighbors_b[some],
        shared=found.shared[some],
        voted=found.voted[:, some],
    )
    page = test_map_page.Page(comparison_page(part, tmp_path / "compare.html"))
    near = page.array("neighbors-b", "<i4").reshape(N, 3)
    np.testing.assert_array_equal(near[some], part.neighbors_b)
    assert (np.delete(near, some, axis=0) == -1).all()
    shared = page.column("shared")
    assert shared is not None
    assert np.isnan(np.delete(shared, some)).all()
    assert "#point=16" in page.raw, "the fifth query"
    assert "15 images, drawn at random, were compared with all" in page.raw
    assert "drawn at random" not in comparison_page(found, tmp_path / "whole.html").read_text(encoding="utf-8")


def test_texts_from_outside_stay_texts_and_nothing_is_loaded(tmp_path: Path) -> None:
    names = (*ODD, *(f"{i}" for i in range(N - len(ODD))))
    labels = (EVIL, '" onload="alert(1)') * (N // 2)
    evil = some_comparison(names=names, labels=labels, classes=tuple(sorted(set(labels))), encoders=(EVIL, EVIL))
    path = comparison_page(evil, tmp_path / "compare.html")
    page = made.Page(path.read_text(encoding="utf-8"))
    plain = made.Page(comparison_page(some_comparison(), tmp_path / "plain.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags], "a text has become a tag"
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert all(str(one["src"]).startswith("data:image/") for one in page.of("img"))
    assert not page.of("link")
    policy = next(str(one["content"]) for one in page.of("meta") if one.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    license_texts = re.search(r"/\*!.*?\*/", page.raw, re.DOTALL)
    assert license_texts is not None
    assert not re.findall(r"https?://", page.raw.replace(license_texts[0], ""))
    assert "/home/me" not in plain.raw, "the folders of the machine are its own"


def test_without_labels_and_pictures(tmp_path: Path) -> None:
    nothing = np.zeros((0, 64, 64, 3), np.uint8)
    bare = some_comparison(
        labels=(None,) * N, classes=(), voted=np.full((2, N), -1), thumbnails=nothing, cka_unbiased=float("nan")
    )
    path = comparison_page(bare, tmp_path / "compare.html")
    page, data = made.Page(path.read_text(encoding="utf-8")), test_map_page.Page(path)
    assert [one["id"] for one in json.loads(data.scripts["data-texts"])["columns"]] == ["shared"]
    said = " ".join(" ".join(page.text).split())
    assert not page.of("img")
    assert not re.search(r"right label|Class by class|taken for|\bnan\b|None", said), said
    assert "5.jpg" in said, "without pictures there are names"


def test_only_a_page_of_our_own_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(OutputError, match="convscope did not write it"):
        comparison_page(some_comparison(), tmp_path / "mine.html")
    first = comparison_page(some_comparison(), tmp_path / "compare.html").read_bytes()
    assert comparison_page(some_comparison(), tmp_path / "compare.html").read_bytes() == first


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (SecondMap(np.zeros((7, 2)), np.zeros((8, 1), int)), r"coordinates must have the shape \(8, 2\)"),
        (SecondMap(np.zeros((8, 2)), np.zeros((7, 1), int)), r"neighbors must have the shape \(8, K\)"),
        (SecondMap(np.zeros((8, 2)), np.full((8, 1), 8)), "the largest is 8"),
    ],
)
def test_a_second_map_of_other_points_is_refused(second: SecondMap, message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=message):
        map_page(some_points(second=second), tmp_path / "map.html")


def test_pictures_of_all_images_come_from_the_stores(tmp_path: Path) -> None:
    files = [made.write_photo(tmp_path / "img" / f"{i}.png", i) for i in range(9)]
    net = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.Flatten(), nn.Linear(64, 5))
    model = Model(net, input_size=(32, 32), mean=[0.0] * 3, std=[1.0] * 3)
    embed(model, files, layer="0", store=tmp_path / "a.lance")
    a = EmbeddingStore.open(tmp_path / "a.lance")
    vectors = np.random.default_rng(0).normal(size=(9, 4))
    bare = EmbeddingStore.of_vectors(tmp_path / "b.lance", vectors, names=a.names)
    found = compare_stores(bare, a, k=2, worst=1)
    assert len(found.shown) < 9

    def n_pictures(page: Path, name: str) -> int:
        return int((np.diff(test_map_page.Page(page).array(name, "<u4").astype(int)) > 0).sum())

    page = comparison_page(found, tmp_path / "with.html", (bare, a))  # the first has none
    assert n_pictures(page, "offsets") == n_pictures(page, "larger-offsets") == 9
    page = comparison_page(found, tmp_path / "without.html")
    assert n_pictures(page, "offsets") == len(found.shown)
    assert 'id="data-larger' not in page.read_text(encoding="utf-8")


def test_the_command_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).normal(size=(20, 6))
    for name, vectors in (("a.lance", points), ("b.lance", points[:, :4])):
        EmbeddingStore.of_vectors(name, vectors, names=[f"i{i}" for i in range(20)])
    done = CliRunner().invoke(app, ["compare-stores", "a.lance", "b.lance", "--k", "3", "-o", "out"])
    assert done.exit_code == 0, done.output
    assert f"open {Path('out/compare.html')} in a browser" in done.output
    names = json.loads(test_map_page.Page(Path("out/compare.html")).scripts["data-texts"])["names"]
    assert names == list(StoreComparison.load("out").names)
