"""The report as a reader sees it: links land where they say, however late the pictures come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.report.chromium import Chromium

from convscope.models import Model
from convscope.report import report

SECTIONS = ("images", "maps", "filters", "visualizations", "neighbors", "projection")
TOP_PX = {1280: 85, 390: 37}  # below the bar of links, or at the top of a phone
PLACES = f"Object.fromEntries({list(SECTIONS)}.map(id => [id, document.getElementById(id).offsetTop]))"


@pytest.fixture
def page(tiny: Model, tmp_path: Path) -> Path:
    for i in range(8):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        place = tmp_path / "all" / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return report(tiny, torch.rand(4, 3, 16, 16), output=tmp_path / "report.html", collection=tmp_path / "all")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_links_land_on_their_headings_before_and_after_pictures_load(
    browser: Chromium, page: Path, width: int
) -> None:
    browser.call("Emulation.setCPUThrottlingRate", rate=6)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    for section in SECTIONS:
        browser.open(page, size=(width, 800), ready=f"document.readyState === 'complete' && {PLACES} !== null")
        before = browser.run(PLACES)
        browser.run(f"document.querySelector('nav a[href=\"#{section}\"]').click()")
        heading = f"document.querySelector('#{section} h2').getBoundingClientRect().top"
        is_end = "innerHeight + scrollY >= document.documentElement.scrollHeight - 1"
        landed, at_the_end = browser.run(f"[{heading}, {is_end}]")
        assert abs(landed - TOP_PX[width]) < 4 or at_the_end, section
        browser.run("document.querySelectorAll('img').forEach(one => { one.loading = 'eager' })")
        browser.wait("[...document.querySelectorAll('img')].every(one => one.complete && one.naturalWidth > 0)")
        browser.settle()
        assert abs(browser.run(heading) - landed) < 4, section
        assert browser.run(PLACES) == before, "pictures that came late have moved the page"
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
