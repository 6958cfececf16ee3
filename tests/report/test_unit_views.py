"""Units in a report and on a page of their own: anchors, links between them, nothing from outside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.render import results
from tests.report.made import Page
from torch import nn

from convscope import Model, OutputError, UnitPage, scan, unit
from convscope.render import patch_field, patch_tiles
from convscope.report import report
from convscope.report.unit_views import unit_views, write_unit_pages
from convscope.results import unit_anchor

EVIL = '<b>cat</b> & "dog"\''


@pytest.fixture(scope="module")
def network() -> Model:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 256, 2))
    net[0].weight.data[2] = 2 * net[0].weight.data[1]  # the nearest of 1 is 2
    net[0].bias.data[2] = 2 * net[0].bias.data[1]
    return Model(net, input_size=(16, 16), mean=[0.5] * 3, std=[0.5] * 3, labels=["a", "b"])


@pytest.fixture(scope="module")
def pages(network: Model) -> list[UnitPage]:
    pictures = list(np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8))
    found = scan(network, pictures, layers=["0", "1"], labels=[EVIL, "plain"] * 6)
    kept = {"scan": found, "images": pictures, "k": 3, "picture": False}
    return [unit(network, "0", 1, **kept), unit(network, "1", 1, **kept), unit(network, "1", 2, **kept)]


def check(text: str) -> Page:
    page = Page(text)
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"unit-0-1", "unit-1-1", "unit-1-2"} <= ids
    links = {link["href"] for link in page.of("a")}
    assert {"#unit-0-1", "#unit-1-1", "#unit-1-2"} <= links
    assert all(link.startswith("#") and link[1:] in ids for link in links if link)
    assert all(one["src"].startswith("data:image/") for one in page.of("img") if one["src"])
    assert "http" not in text.replace("http-equiv", "")
    assert EVIL not in text
    assert EVIL in "".join(page.text)
    return page


def test_a_page_of_units_alone_has_their_anchors_and_links_and_nothing_from_outside(
    pages: list[UnitPage], tmp_path: Path
) -> None:
    text = write_unit_pages(pages, tmp_path / "new" / "units.html").read_text(encoding="utf-8")
    page = check(text)
    first, second = text.split('id="unit-1-1"')[1].split('id="unit-1-2"')
    assert '<a href="#unit-1-2">channel 2</a>' in first
    assert '<a href="#unit-1-1">channel 1</a>' in second
    assert '<a href="#unit-0-1">channel 1</a>' not in second, "a channel of another layer is another channel"
    assert "Its weights" in text.split('id="unit-1-1"')[0]
    assert "Its weights" in first, "a ReLU behind the first convolution"
    assert page.of("svg")
    (tmp_path / "other.html").write_text("of somebody else")
    with pytest.raises(OutputError):
        write_unit_pages(pages, tmp_path / "other.html")


def test_what_needs_a_unit_and_what_feeds_it_are_bars_and_sources_with_a_page_are_links(
    pages: list[UnitPage],
) -> None:
    lost = pages[1].necessity
    assert lost is not None
    fed = replace(results.feeds(1, 3), channels=np.array([1]), sources=("x", "0"), means=np.array([0, 2.0, 1]))
    fed = replace(fed, weights=np.array([[1.0, -1, 0.5]]))
    before, page, _ = unit_views([pages[0], replace(pages[1], feeds=fed), pages[2]])
    charts = {chart["title"]: chart for chart in page["charts"]}
    falls = charts["What the network loses without it"]
    assert [row["name"] for row in falls["rows"]] == [one.label for one in lost.top(1, 8)]
    assert lost.kept(1) in falls["note"]
    rows = charts["Channels that feed it"]["rows"]
    assert [(row["name"], row["width"], row["is_negative"]) for row in rows] == [
        ("channel 1", "100.0", True),
        ("channel 2", "25.0", False),
    ]
    assert [row["link"] for row in rows] == ["unit-0-1", None]
    assert "Channels that feed it" not in {chart["title"] for chart in before["charts"]}


def test_a_sheet_shows_whole_images_where_a_unit_fires_nowhere_and_says_so(pages: list[UnitPage]) -> None:
    whole, values = [0, 0, 12, 12], np.array([2, 0, 0], np.float32)
    images = np.repeat(np.array([40, 80, 120], np.uint8), 12 * 12 * 3).reshape(3, 12, 12, 3)
    some = replace(
        results.unit_patches(3), values=values, boxes=np.array([[2, 2, 8, 8], whole, whole]), images=images
    )
    none = replace(some, values=0 * values, boxes=np.array([whole] * 3))
    assert [np.unique(tile).tolist() for tile in patch_tiles(some)] == [[40], [80], [120]]
    assert patch_tiles(some).shape == (3, 96, 96, 3)
    assert patch_field(some) == "receptive field, 6×6 px; whole images where it fires nowhere"
    np.testing.assert_array_equal(patch_tiles(none), images)
    sheets = unit_views(
        [replace(pages[1], top=some, low=none, firing={"top": np.zeros((3, 0, 0))}, relevant=None)]
    )
    assert sheets[0]["sheets"][-1]["note"] == "as it responds to least; whole images: it fires nowhere in them"


@pytest.mark.slow
def test_the_report_shows_units_beside_everything_else(
    network: Model, pages: list[UnitPage], tmp_path: Path
) -> None:
    written = report(network, torch.rand(2, 3, 16, 16), output=tmp_path / "r.html", units=pages)
    page = check(written.read_text(encoding="utf-8"))
    assert "#units" in {link["href"] for link in page.of("a")}


def test_an_anchor_has_no_blanks() -> None:
    assert unit_anchor("my block.0", 3) == "unit-my_block.0-3"
