"""The page of suspects and near copies: what is on it, that names do no harm, and that it loads nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.render.results import duplicates, suspects

from convscope.errors import OutputError
from convscope.report.fault_page import fault_page


@pytest.mark.parametrize("kind", ["label", "outlier", "uncertain"])
def test_a_page_of_suspects(kind: str, tmp_path: Path) -> None:
    text = fault_page(suspects(kind), tmp_path / "page.html").read_text()
    assert "<b>$bad" not in text, "a name is no markup"
    assert "&lt;b&gt;$bad_0" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count('<article class="fault">') == (1 if kind == "label" else 3)
    assert ('<strong class="wrong">b, bee</strong>' in text) == (kind == "label")
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
