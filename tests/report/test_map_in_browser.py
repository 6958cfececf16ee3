"""The map as a reader sees it: what is drawn, found, counted and said."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.report.chromium import Chromium, started
from tests.report.test_map_page import EVIL, some_points

from convscope.render.colors import CLASS_COLORS
from convscope.report.map_page import map_page

FIELD = "document.querySelector('input[type=search]')"
SUSPECT = "Suspect: neighbors disagree"
# Keeps a file that the page would hand to the reader.
KEEP_FILES = (
    "URL.createObjectURL = blob => { window.made = blob.text(); return '#' };"
    "HTMLAnchorElement.prototype.click = () => 0"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for all tests of this file, as a start takes seconds."""
    one = started(tmp_path_factory.mktemp("chromium"))
    yield one
    one.close()


def colored_share(picture: Image.Image) -> float:
    """Of the map's pixels, how many are clearly colored."""
    pixels = np.asarray(picture.crop((20, 160, 880, 760)), dtype=int)
    return float((np.ptp(pixels, axis=2) > 40).mean())


@pytest.mark.slow
def test_ten_thousand_points_in_a_browser(browser: Chromium, tmp_path: Path) -> None:
    n = 10_000
    points = some_points(n)
    path = map_page(points, tmp_path / "map.html")
    browser.open(path)
    assert browser.run("document.documentElement.dataset.drawn") == str(n)
    assert "10,000 images" in browser.run("document.querySelector('.status').textContent")
    assert colored_share(browser.picture()) > 0.05

    browser.run("convscopeMap.choose(17)")
    rows = browser.run("[...document.querySelectorAll('.card .nearest button')].map(b => +b.dataset.row)")
    assert rows == points.neighbors[17].tolist()
    assert "17.jpg" in browser.run("document.querySelector('.card h2').textContent")
    browser.wait("[...document.querySelectorAll('.card img')].every(one => one.naturalWidth === 64)")
    browser.settle()
    assert browser.run("document.querySelectorAll('.links line').length") == 3

    # A click on the map chooses the point that is drawn there.
    place = "convscopeMap.view.toScreen(...convscopeMap.placeOf(4321))"
    browser.run("convscopeMap.choose(-1); convscopeMap.lookAt(4321)")
    left, top = browser.run("(b => [b.left, b.top])(document.querySelector('.surface').getBoundingClientRect())")
    x, y = browser.run(place)
    browser.click(left + x, top + y)
    assert browser.run("document.documentElement.dataset.chosen") == "4321"

    # The wheel, keys, a drag and two fingers move the view.
    middle = {"x": left + 300, "y": top + 300}
    assert browser.run("convscopeMap.view.set(0, 0, 1); convscopeMap.view.state.zoom") == 1
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=-200, **middle)
    browser.wait("convscopeMap.view.state.zoom > 1.3")
    browser.run("convscopeMap.choose(-1); document.querySelector('.surface').focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="0")
    browser.wait("convscopeMap.view.state.zoom === 1")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    browser.wait("convscopeMap.view.state.x > 0")
    browser.drag(middle["x"], middle["y"], 90)
    browser.wait("convscopeMap.view.state.x < 0")
    browser.pinch(middle["x"], middle["y"])
    browser.wait("convscopeMap.view.state.zoom > 1.5")

    # A legend's entry isolates its points; a search its matches.
    browser.run("document.querySelector('.legend button').click()")
    browser.settle()
    assert "5,000 of 10,000 images shown" in browser.run("document.querySelector('.status').textContent")
    browser.run("document.querySelector('.legend button').click()")
    browser.run(
        f"(q => {{ q.value = '/9999.'; q.dispatchEvent(new Event('input', {{bubbles: true}})) }})({FIELD})"
    )
    browser.wait("document.querySelectorAll('.found button').length === 1")
    assert browser.complaints() == []


def text_of(browser: Chromium, selector: str) -> str:
    return str(browser.run(f"document.querySelector({json.dumps(selector)}).innerText"))


def look_for(browser: Chromium, query: str) -> str:
    """Type into the search; what it says that it has found."""
    enter = "q.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    browser.run(f"(q => {{ q.value = {json.dumps(query)}; {enter} }})({FIELD})")
    browser.settle()
    return text_of(browser, ".found > p") if query else ""


def legend(browser: Chromium) -> dict[str, str]:
    """Name and count of each entry."""
    entries = "[...document.querySelectorAll('.legend button')]"
    return dict(browser.run(f"{entries}.map(b => [b.children[1].innerText, b.children[2].innerText])"))


@pytest.mark.slow
@pytest.mark.parametrize("has_neighbors", [True, False])
def test_nothing_is_shown_of_what_is_not_there(browser: Chromium, tmp_path: Path, has_neighbors: bool) -> None:
    changes: dict[str, Any] = {} if has_neighbors else {"neighbors": None, "scores": None}
    points = some_points(labels=(None,) * 8, probability=np.full(8, np.nan), **changes)
    browser.open(map_page(points, tmp_path / "map.html"), "#point=1")
    card = text_of(browser, ".card")
    assert not re.search("null|NaN|undefined", card), card
    assert re.search(r"predicted\s+cat", card), card
    assert ("Nearest in the vectors" in card) == has_neighbors
    assert ("cosine, higher is nearer" in card) == has_neighbors
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_legend_counts_what_is_shown(browser: Chromium, tmp_path: Path) -> None:
    browser.open(map_page(some_points(), tmp_path / "map.html"))
    assert legend(browser) == {"cat": "4", "dog": "4"}
    look_for(browser, "2.jpg")
    assert legend(browser) == {"cat": "0 / 4", "dog": "1 / 4"}
    look_for(browser, "")
    browser.run("document.querySelector('.legend button').click()")
    browser.settle()
    assert legend(browser) == {"cat": "4", "dog": "0 / 4"}
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_search_finds_what_is_shown_and_nothing_else(browser: Chromium, tmp_path: Path) -> None:
    names = ("trip/cafe\u0301.jpg", *(f"trip/{i}.jpg" for i in range(1, 40)))
    points = some_points(
        40, names=names, predicted=("Egyptian cat",) * 3 + ("desk",) * 37, clusters=np.arange(40) - 2
    )
    browser.open(map_page(points, tmp_path / "map.html"))
    expected = {
        "egyptian": 3,
        "cluster 3": 1,
        "cluster 33": 1,
        "cluster": 38,
        "CAF\u00c9": 1,
        "trip/": 40,
        "dog": 20,
    }
    assert {query: int(look_for(browser, query).split()[0]) for query in expected} == expected
    assert look_for(browser, "tmp") == "No image matches by name, label, prediction or cluster."
    browser.run("convscopeMap.choose(3)")
    assert re.search(r"folder\s+trip", text_of(browser, ".card")), "what is found by is seen"
    assert browser.complaints() == []


@pytest.mark.slow
def test_only_what_can_be_judged_is_called_wrong(browser: Chromium, tmp_path: Path) -> None:
    titles = "[...document.querySelectorAll('.modes option')].map(b => b.innerText)"
    browser.open(map_page(some_points(predicted=("desk",) * 8), tmp_path / "a.html"), "#color=neighbors&point=0")
    assert browser.run(titles) == ["Label", "Prediction", SUSPECT, "Cluster", "Probability"]
    assert legend(browser) == {"most nearest have another label": "8"}
    assert "≠ desk" not in text_of(browser, ".card")
    some = some_points(labels=("cat", "dog", "my mug", None) * 2, predicted=("cat",) * 4 + ("dog",) * 3 + ("cow",))
    browser.open(map_page(some, tmp_path / "b.html"), "#color=error&point=4")
    assert browser.run(titles) == [
        "Label",
        "Prediction",
        "Error",
        "Suspect: neighbors disagree",
        "Cluster",
        "Probability",
    ]
    assert legend(browser) == {
        "wrong: predicted ≠ label": "2",
        "right": "2",
        "not judged: the label is never predicted": "2",
        "no label or prediction": "2",
    }
    assert "≠ dog" in text_of(browser, ".card")
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_selection_is_shown_counted_and_taken_along(browser: Chromium, tmp_path: Path) -> None:
    n = 100
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])[np.arange(n) % 4] + np.linspace(0, 0.1, n)[:, None]
    names = ("=evil().jpg", 'a "b", c.jpg', *(f"trip/{i}.jpg" for i in range(2, n)))
    page = map_page(
        some_points(n, coordinates=corners, names=names, columns={"width": np.arange(n) * 1.0}),
        tmp_path / "map.html",
    )
    browser.open(page)
    left, top, width, height = browser.run(
        "(b => [b.left, b.top, b.width, b.height])(document.querySelector('.surface').getBoundingClientRect())"
    )
    browser.run("document.querySelector('.lasso-button').click()")
    right, middle = left + 0.5 * width, top + 0.5 * height
    browser.trace([(right, top + 2), (right, middle), (left + width - 4, middle), (left + width - 4, top + 2)])
    assert text_of(browser, ".card:not([hidden]) h2") == "25 images selected"  # the corner at the upper right
    assert browser.run("document.querySelector('.lasso-button').ariaPressed") == "false"
    assert text_of(browser, ".counts") == "cat\n25"
    rows = browser.run("[...document.querySelectorAll('.gallery button')].map(b => +b.dataset.row)")
    assert rows == list(range(3, n, 4))

    browser.run("convscopeMap.select([...Array(100).keys()])")
    browser.settle()
    assert browser.run("document.querySelectorAll('.gallery img').length") == 60
    assert text_of(browser, ".more") == "and 40 more, all in the CSV"
    browser.run(f"{KEEP_FILES}; document.querySelectorAll('.actions button')[1].click()")
    table = list(csv.DictReader(io.StringIO(browser.run("window.made"))))
    assert [row["name"] for row in table[:3]] == ["'=evil().jpg", 'a "b", c.jpg', "trip/2.jpg"]
    assert [float(row["width"]) for row in table] == list(range(n))
    assert {row["label"] for row in table} == {"cat", "dog"}
    for key in ("Escape", "Escape"):
        browser.press(key)
    assert browser.run("document.querySelector('.gallery')") is None
    assert browser.complaints() == []


@pytest.mark.slow
def test_numbers_filters_and_keys(browser: Chromium, tmp_path: Path) -> None:
    labels = tuple(f"class {i:02d}" for i in range(42))
    width = np.append(np.arange(41.0), np.nan)
    points = some_points(42, labels=labels, coordinates=np.arange(84).reshape(42, 2) % 7, columns={"width": width})
    browser.open(map_page(points, tmp_path / "map.html"))
    assert list(legend(browser)) == [*labels[:40], "2 others"]
    colors = "[...document.querySelectorAll('.legend .swatch')].map(s => s.style.background)"
    first = browser.run(colors)[0].removeprefix("rgb(").removesuffix(")").split(",")
    assert "#{:02x}{:02x}{:02x}".format(*map(int, first)) == CLASS_COLORS[0], "as in picture.png"

    color_by = "s => { s.value = 'width'; s.dispatchEvent(new Event('change', {bubbles: true})) }"
    browser.run(f"({color_by})(document.querySelector('.modes'))")
    browser.settle()
    assert sum(map(int, legend(browser).values())) == 42
    assert list(legend(browser))[::7] == ["0 to 4", "no value"]
    browser.run("document.querySelector('.legend button').click()")
    browser.run(f"({color_by.replace('width', 'label')})(document.querySelector('.modes'))")
    browser.settle()
    assert text_of(browser, ".chip").startswith("Width: 0 to 4"), "a filter is seen with other colors, too"
    assert "5 of 42 images shown" in text_of(browser, ".status")

    browser.run("document.querySelector('.surface').focus(); convscopeMap.choose(0)")
    at = browser.run("convscopeMap.placeOf(0)")
    browser.press("ArrowRight")
    there = browser.run("convscopeMap.placeOf(+document.documentElement.dataset.chosen)")
    assert there[0] > at[0]
    browser.press("/")
    assert browser.run("document.activeElement.type") == "search"
    assert browser.complaints() == []


@pytest.mark.slow
def test_what_came_after_the_clusters_is_said(browser: Chromium, tmp_path: Path) -> None:
    points = some_points(clusters=np.array([0, 0, 0, 1, 1, -1, -2, -2]))
    browser.open(map_page(points, tmp_path / "map.html"), "#color=cluster&point=6")
    assert legend(browser) == {
        "cluster 0": "3",
        "cluster 1": "2",
        "no cluster": "1",
        "added after clustering": "2",
    }
    assert "added after clustering" in text_of(browser, ".card")


@pytest.mark.slow
def test_evil_names_do_not_run_in_a_browser(browser: Chromium, tmp_path: Path) -> None:
    evil = f"<img src=x onerror=alert(1)>{EVIL}"
    points = some_points(
        names=(evil,) * 8, labels=(evil,) * 8, predicted=(None,) * 8, title=evil, facts={evil: evil}
    )
    browser.open(map_page(points, tmp_path / "map.html"), "#point=0&find=onerror", size=(390, 844))
    assert browser.run("document.querySelector('.card dd').textContent") == evil
    assert browser.run("document.querySelectorAll('script:not([id])').length") == 1
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.complaints() == []


@pytest.mark.slow
def test_without_webgl_there_is_a_message_and_the_rest_works(tmp_path: Path) -> None:
    browser = started(tmp_path, "--disable-3d-apis")
    try:
        browser.open(map_page(some_points(), tmp_path / "map.html"), "#point=3")
        assert "no WebGL" in browser.run("document.querySelector('.message:not([hidden])').innerText")
        assert browser.run("document.querySelectorAll('.card .nearest button').length") == 3
        assert browser.complaints() == []
    finally:
        browser.close()
