"""The page of suspects and near copies: what is on it, that names do no harm, and that it loads nothing."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.render.results import attribution, duplicates, suspects
from tests.report.made import Page

from convscope import Attribution
from convscope.errors import OutputError
from convscope.report.fault_page import fault_page


@pytest.mark.parametrize("kind", ["label", "outlier", "uncertain"])
def test_a_page_of_suspects(kind: str, tmp_path: Path) -> None:
    text = fault_page(suspects(kind), tmp_path / "page.html").read_text()
    assert "<b>$bad" not in text, "a name is no markup"
    assert "&lt;b&gt;$bad_0" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count('<article class="fault">') == (1 if kind == "label" else 3)
    assert ('<strong class="suggested">b, bee</strong>' in text) == (kind == "label")
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(OutputError):
        fault_page(suspects(kind), tmp_path / "mine.html")


def test_a_page_of_labels_shows_those_for_which_another_one_is_suggested(tmp_path: Path) -> None:
    found = dataclasses.replace(suspects(), labels=("a", "b", "c"), suggested=("a", "dingo", "c"))
    text = fault_page(found, tmp_path / "page.html").read_text()
    assert text.count('<article class="fault">') == 1
    assert "dingo" in text, "though it is not the most doubtful one"


def test_a_page_of_near_copies_hides_the_folders_of_the_machine(tmp_path: Path) -> None:
    found = duplicates()
    names = tuple(f"/home/me/photos/{i}/a.jpg" for i in range(len(found.names)))
    hidden = dataclasses.replace(found, names=names, n_pixels=found.n_pixels * 1000)
    text = fault_page(hidden, tmp_path / "page.html").read_text()
    assert "/home/me" not in text
    assert text.count('<article class="fault">') == 2
    assert "2 more are not shown" in text  # of nine, six are shown beside it
    assert text.count("the same file") == 2
    assert "600 MP, 2 kB" in text
    small = fault_page(dataclasses.replace(found, n_pixels=found.n_pixels * 0 + 65_536), tmp_path / "small.html")
    assert "65,536 pixels, 2 kB" in small.read_text()


def _maps(names: tuple[str, ...]) -> Attribution:
    given = attribution(np.linspace(-1, 1, len(names) * 144).reshape(-1, 12, 12))
    return dataclasses.replace(given, names=names, targets=("a rather than <b>",) * len(names))


def test_maps_lie_over_their_images_and_a_slider_leads_from_the_photo_to_the_map(tmp_path: Path) -> None:
    found = suspects("uncertain")
    text = fault_page(found, tmp_path / "page.html", _maps(found.names[:2])).read_text()
    page = Page(text)
    assert len([img for img in page.of("img") if img.get("class") == "heat"]) == 2
    assert len([img for img in page.of("img") if img.get("class") == "photo"]) == 2
    assert text.count('<article class="fault">') == 3, "one has no map"
    assert len([one for one in page.of("input") if one.get("class") == "strength"]) == 1
    (script,) = page.script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv"))
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy, "or a browser does not run it"
    assert "http" not in text.replace("http-equiv", "")
    assert "for the predicted class" in text
    assert not Page(fault_page(found, tmp_path / "without.html").read_text()).of("script")
