"""Two linked maps as a reader uses them: what is pointed at, chosen, selected or filtered on one is so on both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.chromium import Chromium, started
from tests.report.test_comparison_page import N, some_comparison
from tests.report.test_map_page import EVIL

from convscope.report.comparison_page import comparison_page

MAP = "document.getElementById('map').shadowRoot"
SURFACES = f"[...{MAP}.querySelectorAll('.surface')]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for all tests of this file, as a start takes seconds."""
    one = started(tmp_path_factory.mktemp("chromium"))
    yield one
    one.close()


def opened(browser: Chromium, path: Path, size: tuple[int, int] = (1280, 900), fragment: str = "") -> None:
    browser.open(path, fragment, size=size)
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    browser.run("document.getElementById('map').scrollIntoView()")
    browser.settle()


def all_of(browser: Chromium, selector: str, value: str) -> list[Any]:
    """A value of each element of the map that fits."""
    return list(browser.run(f"[...{MAP}.querySelectorAll({json.dumps(selector)})].map(one => {value})"))


def box_of(browser: Chromium, side: int) -> list[float]:
    return list(
        browser.run(f"(b => [b.left, b.top, b.width, b.height])({SURFACES}[{side}].getBoundingClientRect())")
    )


def spot(browser: Chromium, side: int, i: int) -> tuple[float, float]:
    """Where an image is in the window."""
    left, top, _, _ = box_of(browser, side)
    x, y = browser.run(f"(s => s.view.toScreen(...s.placeOf({i})))(convscopeMap.sides[{side}])")
    return left + x, top + y


def hover(browser: Chromium, x: float, y: float) -> None:
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.settle()
    browser.settle()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return comparison_page(some_comparison(), tmp_path / "compare.html")


@pytest.mark.slow
def test_what_is_pointed_at_on_one_is_marked_on_both(browser: Chromium, page: Path) -> None:
    opened(browser, page)
    assert browser.run("document.documentElement.dataset.drawn") == str(N)
    # No other image lies on it, on either map.
    i = int(np.argmax(some_comparison().coordinates[0][:, 0]))
    for side in (0, 1):
        hover(browser, *spot(browser, side, i))
        for other in (0, 1):
            ring = f".stage:nth-child({other + 1}) .links .pointed"
            x, y = all_of(browser, ring, "[one.cx.baseVal.value, one.cy.baseVal.value]")[0]
            left, top, _, _ = box_of(browser, other)
            np.testing.assert_allclose((left + x, top + y), spot(browser, other, i), atol=0.5)
        told = all_of(browser, ".tip", "one.innerText.trim()")
        assert f"{i}.jpg" in told[side]
        assert told[1 - side] == "", "the picture alone"
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_chosen_image_tells_its_neighbors_in_both(browser: Chromium, page: Path) -> None:
    found = some_comparison()
    opened(browser, page)
    i = int(np.argmin(found.coordinates[1][:, 1]))
    browser.click(*spot(browser, 1, i))  # on the second map
    assert browser.run("document.documentElement.dataset.chosen") == str(i)
    lists = all_of(browser, ".card .nearest", "[...one.querySelectorAll('button')].map(b => +b.dataset.row)")
    assert lists == [found.neighbors_a[i].tolist(), found.neighbors_b[i].tolist()]
    marked = "[...one.querySelectorAll('.is-in-both')].map(b => +b.dataset.row)"
    both = [row for row in lists[0] if row in lists[1]]
    assert all_of(browser, ".card .nearest", marked) == [both, both]
    assert len(both) == 2
    assert all_of(browser, ".links", "one.querySelectorAll('line').length") == [3, 3]
    assert all_of(browser, ".links", "one.querySelectorAll('.is-in-both').length") == [2, 2]

    # Keys go from neighbor to neighbor, and Escape closes the card.
    browser.run(f"{MAP}.querySelector('.nearest button').focus()")
    browser.press("ArrowRight")
    assert browser.run(f"+{MAP}.activeElement.dataset.row") == lists[0][1]
    browser.press("Escape")
    assert all_of(browser, ".card:not([hidden])", "1") == []
    browser.press("/")
    assert browser.run(f"{MAP}.activeElement.type") == "search"
    browser.press("/")
    assert browser.run(f"{MAP}.activeElement.type") == "search", "a slash can be typed there"
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_lasso_on_one_selects_on_both(browser: Chromium, page: Path) -> None:
    places = some_comparison().coordinates[1]
    opened(browser, page)
    browser.run(f"{MAP}.querySelectorAll('.lasso-button')[1].click()")
    left, top, width, height = box_of(browser, 1)
    half = left + width / 2
    browser.trace([(left + 2, top + 2), (half, top + 2), (half, top + height - 2), (left + 2, top + height - 2)])
    middle = (places[:, 0].min() + places[:, 0].max()) / 2
    expected = np.flatnonzero(places[:, 0] < middle).tolist()
    assert all_of(browser, ".gallery button", "+one.dataset.row") == expected
    assert 5 < len(expected) < N - 5
    # Rings are drawn around them on both maps: without a selection there are fewer dark pixels.
    ink = "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data)(one.querySelectorAll('canvas')[1])"
    is_dark = "data[i + 3] > 200 && data[i] < 40"
    dark = f"(data => {{ let n = 0; for (let i = 0; i < data.length; i += 4) n += {is_dark}; return n }})({ink})"
    browser.run(f"[...{MAP}.querySelectorAll('.tools button')].filter(b => b.innerText === 'Pictures')[0].click()")
    browser.settle()
    selected = all_of(browser, ".stage", dark)
    browser.run("convscopeMap.select([])")
    browser.settle()
    assert all(now < before for now, before in zip(all_of(browser, ".stage", dark), selected, strict=True))
    assert browser.complaints() == []


@pytest.mark.slow
def test_search_colors_and_filters_are_of_both(browser: Chromium, page: Path) -> None:
    opened(browser, page)
    options = ["Label", "Label by the vote", "Neighbors in both, of 3", "Vote in A", "Vote in B"]
    assert all_of(browser, ".modes option", "one.innerText") == options
    browser.run(
        f"(s => {{ s.value = 'vote'; s.dispatchEvent(new Event('change', {{bubbles: true}})) }})"
        f"({MAP}.querySelector('.modes'))"
    )
    browser.settle()
    legend = "[one.children[1].innerText, one.children[2].innerText]"
    assert all_of(browser, ".legend button", legend) == [["right in A and B", "30"], ["right in A only", "30"]]
    browser.run(f"{MAP}.querySelectorAll('.legend button')[1].click()")
    browser.settle()
    assert all_of(browser, ".status", "one.innerText.slice(0, 21)") == ["30 of 60 images shown"] * 2
    enter = "q.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    browser.run(f"(q => {{ q.value = '12.jpg'; {enter} }})({MAP}.querySelector('input'))")
    browser.settle()
    assert all_of(browser, ".status", "one.innerText.slice(0, 20)") == ["1 of 60 images shown"] * 2
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_link_shows_an_image_on_the_maps_and_the_wheel_scrolls_the_page(browser: Chromium, page: Path) -> None:
    opened(browser, page)
    for _ in range(2):  # also when the address is there already
        browser.run("scrollTo(0, 1e6); document.querySelector('a[href=\"#point=7\"]').click()")
        browser.settle()
        assert browser.run("document.documentElement.dataset.chosen") == "7"
        assert abs(browser.run("document.getElementById('map').getBoundingClientRect().top")) < 20
        browser.run("convscopeMap.choose(-1)")
    left, top, _, height = box_of(browser, 0)
    at = {"x": left + 200, "y": top + height / 2}
    browser.run("document.activeElement.blur()")
    before = browser.run("scrollY")
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=-120, **at)
    browser.wait(f"scrollY < {before}")
    assert browser.run("convscopeMap.view.state.zoom") == 1
    browser.run(f"{SURFACES}[0].focus({{preventScroll: true}})")
    browser.settle()
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=-120, **at)
    browser.wait("convscopeMap.sides[0].view.state.zoom > 1.1")
    assert browser.run("convscopeMap.sides[1].view.state.zoom") == 1
    assert browser.complaints() == []


@pytest.mark.slow
def test_on_a_phone_one_is_below_the_other(browser: Chromium, tmp_path: Path) -> None:
    evil = f"<img src=x onerror=alert(1)>{EVIL}"
    labels = (evil, None) * (N // 2)
    found = some_comparison(labels=labels, classes=(evil,), voted=np.zeros((2, N), int), encoders=(evil, evil))
    opened(browser, comparison_page(found, tmp_path / "compare.html"), (390, 844), "#point=2")
    boxes = [box_of(browser, side) for side in (0, 1)]
    assert boxes[1][1] >= boxes[0][1] + boxes[0][3]
    assert sum(box[3] for box in boxes) < 844, "both are seen at once"
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert evil in all_of(browser, ".card dd", "one.textContent")
    assert browser.complaints() == []


@pytest.mark.slow
def test_twenty_thousand_points(browser: Chromium, tmp_path: Path) -> None:
    n = 20_000
    found = some_comparison(n, thumbnails=np.zeros((0, 64, 64, 3), np.uint8))
    opened(browser, comparison_page(found, tmp_path / "compare.html"))
    assert browser.run("document.documentElement.dataset.drawn") == str(n)
    assert all_of(browser, ".status", "one.innerText") == ["20,000 images"] * 2
    browser.run(f"convscopeMap.select([...Array({n}).keys()])")
    browser.settle()
    assert all_of(browser, ".card:not([hidden]) h2", "one.innerText") == ["20,000 images selected"]
    assert browser.complaints() == []
