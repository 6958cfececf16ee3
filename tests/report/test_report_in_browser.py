"""The report as a reader sees it: links land where they say, sections open, maps are laid over photos."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import tiny_network
from tests.report.chromium import Chromium

from convscope.embedding import embed
from convscope.models import Model
from convscope.report import report

TOP_PX = {1280: 76, 390: 20}  # below the bar of links, or at the top of a phone
MOST_PX = 5000  # of scrolling in a section


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a store alone, whose labels are classes of the network, with more errors than a page of them shows."""
    labels, tmp_path = ["a", "b", "c"], tmp_path_factory.mktemp("report")
    tiny = Model(tiny_network(), input_size=(16, 16), mean=[0.5] * 3, std=[0.25] * 3, labels=labels)
    for i in range(48):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        place = tmp_path / "all" / labels[i % len(labels)] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    store = embed(tiny, tmp_path / "all", store=tmp_path / "store")
    return report(tiny, output=tmp_path / "report.html", collection=store, n_errors=40)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_reader_finds_the_way_in_a_report(browser: Chromium, page: Path, width: int) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    browser.open(page, size=(width, 800), ready="document.readyState === 'complete'")
    sections = browser.run("[...document.querySelectorAll('main > section')].map(one => one.id)")
    opened = "[...document.querySelectorAll('main > section > details[open]')].map(one => one.parentElement.id)"
    assert browser.run(opened) == sections[:1] == ["errors"]
    for section in sections:
        browser.open(page, size=(width, 800), ready="document.readyState === 'complete'")
        browser.run(f"document.querySelector('nav a[href=\"#{section}\"]').click()")
        heading = f"document.querySelector('#{section} h2').getBoundingClientRect().top"
        is_end = "innerHeight + scrollY >= document.documentElement.scrollHeight - 1"
        landed, at_the_end = browser.run(f"[{heading}, {is_end}]")
        assert abs(landed - TOP_PX[width]) < 24 or at_the_end, section
        assert section in browser.run(opened)
        browser.run("document.querySelectorAll('img').forEach(one => { one.loading = 'eager' })")
        browser.wait("[...document.querySelectorAll('img')].every(one => one.complete && one.naturalWidth > 0)")
        browser.settle()
        assert abs(browser.run(heading) - landed) < 4, "pictures that came late have moved the page"
        assert 60 < browser.run(f"document.getElementById('{section}').offsetHeight") < MOST_PX, section
        assert browser.run("document.documentElement.scrollWidth") <= width, section
    browser.open(page, "#100%", size=(width, 800), ready="document.readyState === 'complete'")
    _try_maps(browser)  # which work also where the address is of no place
    assert browser.complaints() == []


def _try_maps(browser: Chromium) -> None:
    """The slider and the switch of methods, on the examples."""
    browser.run("document.querySelector('nav a[href=\"#images\"]').click()")
    layers = "[...document.querySelectorAll('#images .layer')]"
    shown = f"{layers}.filter(one => one.offsetWidth).map(one => one.dataset.method)"
    assert set(browser.run(shown)) == {"occlusion"}
    browser.run("document.querySelector('[data-choose=saliency]').click()")
    assert set(browser.run(shown)) == {"saliency"}
    opacity = "getComputedStyle(document.querySelector('#images .layer:not([hidden]) .heat')).opacity"
    for value, expected in ((0, 0), (25, 0.5), (100, 1)):
        browser.run(
            f"(one => {{ one.value = {value}; one.dispatchEvent(new Event('input')) }})"
            "(document.querySelector('#images .strength'))"
        )
        assert float(browser.run(opacity)) == pytest.approx(expected)


@pytest.mark.slow
def test_no_map_is_twice_in_the_file_and_a_photo_only_as_error_and_suspect(page: Path) -> None:
    text = page.read_text()
    for kind, n_most in (("heat", 1), ("photo", 2)):
        counts = Counter(re.findall(rf'class="{kind}" src="([^"]*)"', text))
        assert len(counts) > 20
        assert max(counts.values()) <= n_most, kind
