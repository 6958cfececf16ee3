"""The report: one file that stands alone, opens everywhere, and cannot be broken by the names in it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.report.made import EVIL, Page, write_photo
from torch import nn

from convscope.attribution import saliency
from convscope.embedding import Embeddings, embed
from convscope.errors import LayerError, ModelError, OutputError, ParameterError, TargetError
from convscope.evaluation import evaluate
from convscope.images import load_images
from convscope.models import Model
from convscope.outputs import GENERATOR
from convscope.render import save_png
from convscope.report import report
from convscope.report.contents import choose_layers
from convscope.report.image_views import badge
from convscope.report.report_page import _curve
from convscope.report.wording import number
from convscope.targets import Several, SimilarTo

HEAD = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
OURS = f'{HEAD}<meta name="generator" content="{GENERATOR}">'


def test_nothing_is_loaded_from_anywhere(made: tuple[Path, str, Any]) -> None:
    page = Page(made[1])
    assert "http" not in made[1].replace("http-equiv", "")
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, name, value[:60])
    assert not re.search(r"url\(|@import", "".join(page.style))
    assert not any("url(" in (attributes.get("style") or "") for _, attributes in page.tags)


def test_every_picture_has_a_text(made: tuple[Path, str, Any]) -> None:
    page = Page(made[1])
    pictures = page.of("img")
    assert len(pictures) > 20
    assert all("alt" in picture for picture in pictures)
    assert all(int(picture[side] or 0) > 0 for picture in pictures for side in ("width", "height"))
    decorative = [picture for picture in pictures if not picture["alt"]]
    assert all(picture.get("class") == "inline" for picture in decorative)
    assert all(svg["aria-label"] for svg in page.of("svg"))


def test_names_and_labels_are_text_not_tags(made: tuple[Path, str, Any]) -> None:
    page = Page(made[1])
    text = "".join(page.text)
    for name in (EVIL, "<img src=x>.jpg", "<i>net</i>", "<u>"):
        assert name in text
    assert "<b>bold</b>" in text
    assert not {"i", "u"} & {tag for tag, _ in page.tags}
    assert len(page.of("script")) == 1, "that of the page"


def test_it_follows_light_and_dark_and_fits_a_phone(made: tuple[Path, str, Any]) -> None:
    page = Page(made[1])
    metas = {meta.get("name"): meta.get("content") for meta in page.of("meta")}
    assert metas["color-scheme"] == "light dark"
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    style = "".join(page.style)
    light, dark = re.search(
        r":root \{(.*?)\}.*?prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}", style, re.S
    ).groups()
    colors = set(re.findall(r"--\w+", light))
    assert set(re.findall(r"--\w+", dark)) == colors
    of_maps = {"--map", "--photo", "--gray", "--ground", "--shade"}
    assert set(re.findall(r"var\((--\w+)\)", style)) - colors == of_maps


def test_headings_and_contents_belong_together(made: tuple[Path, str, Any]) -> None:
    page = Page(made[1])
    assert len(page.of("h1")) == 1
    sections = [section["id"] for section in page.of("section")]
    # Whether noise has near copies is a matter of rounding.
    assert [one for one in sections if one != "duplicates"] == [
        "images", "suspects", "classes", "neighbors", "projection", "maps", "filters", "visualizations",
    ]  # fmt: skip
    links = re.search(r"<nav.*?</nav>", made[1], re.DOTALL)
    assert links is not None
    assert re.findall(r'href="#(\w+)"', links[0]) == sections


def test_every_figure_says_how_it_was_made(made: tuple[Path, str, Any]) -> None:
    text = "".join(Page(made[1]).text)
    for method in (
        "predict",
        "occlusion",
        "saliency",
        "feature_maps",
        "filters",
        "visualize",
        "neighbors",
        "project",
    ):
        assert re.search(rf"{method}\(.*\) on <i>net</i>, \d+\.\d\d s", text), method
    assert "space=pixel" in text
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b|Undefined", text, re.I)


def test_every_map_has_a_line_of_evidence(made: tuple[Path, str, Any]) -> None:
    page = Page(made[1])
    badges = [p for p in page.of("p") if p.get("class", "").startswith("badge")]
    # Those of suspects are not measured.
    maps = [
        img for img in page.of("img") if " map of " in img.get("alt", "") and "similarity to" not in img["alt"]
    ]
    assert len(badges) == len(maps) == 2 * 3
    assert len(re.findall(r"[Bb]etter than a random map", "".join(page.text))) == len(badges)


@pytest.mark.parametrize(
    ("insertion", "deletion", "verdict"),
    [
        (0.5, 0.1, "Better than a random map"),
        (0.5, 0.2, "Better than a random map by insertion, not by deletion"),
        (0.5, 0.3, "Better than a random map by insertion, not by deletion"),
        (0.404, 0.1, "Better than a random map by deletion, not by insertion"),
        (0.404, 0.196, "Not better than a random map"),
    ],
)
def test_a_map_is_better_than_a_random_one_by_the_numbers_that_are_shown(
    model: Model, insertion: float, deletion: float, verdict: str
) -> None:
    map_ = saliency(model, np.zeros((32, 32, 3), np.uint8))
    evidence = evaluate(model, np.zeros((32, 32, 3), np.uint8), map_, n_steps=2)
    values = evidence.values.copy()
    for k, name in enumerate(evidence.measures):
        if name.startswith(("insertion", "deletion")):
            given, chance = (insertion, 0.4) if name.startswith("insertion") else (deletion, 0.2)
            values[:, k] = [[given], [chance], [chance]]
    found = badge(replace(evidence, values=values), map_, 0)
    assert found is not None
    assert found["verdict"] == verdict
    assert found["is_better"] is (verdict == "Better than a random map")
    assert badge(None, map_, 0) is None


def test_other_methods_are_shown_where_they_fit_and_named_where_not(model: Model, tmp_path: Path) -> None:
    images = np.zeros((20, 20, 3), np.uint8)
    methods = ["layer_cam", "attention_rollout", "lrp"]
    page = Page(report(model, images, output=tmp_path / "r.html", methods=methods).read_text(encoding="utf-8"))
    text = "".join(page.text)
    assert "Left out: attention_rollout: <i>net</i> has no attention" in text
    assert "Layer-CAM" in text
    assert "LRP" in text
    assert "Saliency" not in text
    with pytest.raises(ModelError, match="no attention"):
        report(model, images, output=tmp_path / "r.html", methods="attention_rollout")
    with pytest.raises(ParameterError, match="'gradcam' is no method; did you mean grad_cam"):
        report(model, images, output=tmp_path / "r.html", methods=["gradcam"])


def test_targets_that_nothing_can_be_made_for_leave_the_visualization_out(model: Model, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    made = report(model, images, output=tmp_path / "r.html", target=SimilarTo(images), methods="occlusion")
    page = Page(made.read_text(encoding="utf-8"))
    assert "similarity to another image" in "".join(page.text)
    assert "visualizations" not in [section["id"] for section in page.of("section")]
    with pytest.raises(ParameterError, match="a report for each target of Several"):
        report(model, images, output=tmp_path / "r.html", target=Several(0, 1))


def test_unreadable_images_are_listed(made: tuple[Path, str, Any]) -> None:
    text = "".join(Page(made[1]).text)
    assert "1 image could not be read" in text
    assert "2 shown of 3 given" in text


def test_progress_names_the_stages(made: tuple[Path, str, Any]) -> None:
    # Which labels of noise are suspect is a matter of rounding.
    stages = list(dict.fromkeys(stage for stage, _, _ in made[2] if stage != "suspects"))
    assert stages[:4] == ["predict", "feature maps", "embed", "occlusion"]
    assert stages[4:7] == ["grad_cam", "saliency", "evaluate"]
    assert all(0 < done <= total for _, done, total in made[2])


def test_an_older_report_is_replaced_and_nothing_is_left_beside_it(model: Model, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    output.write_text(OURS + "old")
    report(model, np.zeros((20, 20, 3), np.uint8), output=output, layer=["0", "7"], target="c")
    text = output.read_text(encoding="utf-8")
    assert not text.endswith("old")
    assert report(model, np.zeros((20, 20, 3), np.uint8), output=output, methods="saliency") == output, "once more"
    assert 'id="neighbors"' not in text
    assert "unit " in text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_failure_keeps_the_older_report(model: Model, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    old = OURS + "old"
    output.write_text(old)
    with pytest.raises(TargetError):
        report(model, np.zeros((20, 20, 3), np.uint8), output=output, target="no such class")
    with pytest.raises(LayerError):
        report(model, np.zeros((20, 20, 3), np.uint8), output=output, layer=["no such layer"])
    assert output.read_text() == old
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_neither_a_file_of_others_nor_an_input_is_replaced(model: Model, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "photos" / "a.png", 0)
    other, more = (write_photo(tmp_path / "all" / f"{name}.png", 1) for name in "bc")
    before = photo.read_bytes(), other.read_bytes()
    with pytest.raises(OutputError, match="convscope did not write it"):
        report(model, np.zeros((20, 20, 3), np.uint8), output=other)
    for images in (photo, str(photo), photo.parent, [photo], load_images(photo.parent)):
        with pytest.raises(OutputError, match=r"a.png: is an input of this very call"):
            report(model, images, output=photo, overwrite=True)
    for collection in (
        other.parent,
        [other, more],
        embed(model, other.parent),
        embed(model, other.parent, store=tmp_path / "s"),
    ):
        with pytest.raises(OutputError, match=r"b.png: is an input of this very call"):
            report(model, photo, output=other, collection=collection, overwrite=True)
    assert (photo.read_bytes(), other.read_bytes()) == before


def test_what_tells_of_the_images_or_holds_their_vectors_is_kept(model: Model, tmp_path: Path) -> None:
    photos = [write_photo(tmp_path / "photos" / f"{name}.png", i) for i, name in enumerate("ab")]
    table = tmp_path / "list.csv"
    table.write_text("path\n" + "\n".join(map(str, photos)))
    embed(model, photos).save(tmp_path / "saved")
    embed(model, photos, store=tmp_path / "store")
    row = next((tmp_path / "store" / "images.lance" / "data").iterdir())
    with Image.open(photos[0]) as opened:
        for images, collection, output in (
            (table, None, table),
            ([table], None, table),
            (load_images([load_images(table)])[:1], None, table),
            (photos, table, table),
            (opened, None, photos[0]),
            ([opened], None, photos[0]),
            (photos[1], [opened, photos[1]], photos[0]),
            (photos, tmp_path / "saved", tmp_path / "saved" / "arrays.npz"),
            (photos, Embeddings.load(tmp_path / "saved"), tmp_path / "saved" / "manifest.json"),
            (photos, tmp_path / "store", row),
        ):
            before = output.read_bytes()
            with pytest.raises(OutputError, match=r"input of this very call|part of the result|inside the store"):
                report(model, images, output=output, collection=collection, overwrite=True)
            assert output.read_bytes() == before


def test_a_picture_of_ours_that_is_looked_at_is_kept(model: Model, tmp_path: Path) -> None:
    picture = save_png(model.predict(np.zeros((20, 20, 3), np.uint8)), tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"a.png: is an input of this very call"):
        report(model, picture, output=picture)


def test_no_script_but_our_own_may_run(made: tuple[Path, str, Any]) -> None:
    (policy,) = [str(a["content"]) for a in Page(made[1]).of("meta") if "http-equiv" in a]
    script = re.search(r"<script>(.*)</script>", made[1], re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    assert made[1].index("http-equiv") < made[1].index("<style>")


def test_a_folder_is_no_output(model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        report(model, np.zeros((20, 20, 3), np.uint8), output=tmp_path)


@pytest.mark.slow
def test_many_images_are_cut_and_the_cut_is_told(model: Model, tmp_path: Path) -> None:
    images = torch.zeros(15, 3, 32, 32)
    output = report(model, images, output=tmp_path / "report.html", target=[0] * 15)
    page = Page(output.read_text(encoding="utf-8"))
    assert f"the first {12} are shown in detail, 3 are left out" in "".join(page.text)
    assert len([a for a in page.of("article") if a.get("class") == "image"]) == 12


@pytest.mark.parametrize(
    "kind", [torch.tensor, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (list, np.array))]
)
def test_targets_are_taken_as_arrays_and_a_layer_by_its_name(model: Model, tmp_path: Path, kind: Any) -> None:
    images = torch.zeros(13, 3, 32, 32)
    targets = [0, 2] * 6 + [1]
    output = report(model, images, output=tmp_path / "report.html", target=kind(targets), layer="4")
    text = "".join(Page(output.read_text(encoding="utf-8")).text)
    assert re.search(r"feature_maps\(layer=\('4',\)\)", text)
    assert "visualize(target=0" in text
    assert "visualize(target=2" in text
    assert "visualize(target=1" not in text, "it belongs to an image that is left out"


def test_a_picture_that_the_network_takes_for_another_class_is_said_to_be_so(tmp_path: Path) -> None:
    layer = nn.Linear(192, 2, bias=False)
    layer.weight.data[1] = 2 * layer.weight.data[0]
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), layer)
    output = report(
        Model(net, (8, 8), [0.5] * 3, [0.5] * 3), torch.zeros(1, 3, 8, 8), output=tmp_path / "r.html", target=0
    )
    page = Page(output.read_text(encoding="utf-8"))
    assert "the network takes the finished picture for 'class 1'" in " ".join("".join(page.text).split())
    assert not any("rises" in (svg.get("aria-label") or "") for svg in page.of("svg")), "it may fall"


def test_one_layer_of_each_resolution(model: Model) -> None:
    assert choose_layers(model, (3, 32, 32)) == ["1", "4"]


def test_numbers_for_people() -> None:
    assert [number(v, ".2f") for v in (-0.001, -1.5, float("nan"), float("inf"))] == ["0.00", "−1.50", "–", "–"]


def test_the_curve_goes_from_corner_to_corner() -> None:
    assert _curve([0.0, 1.0, 2.0]) == "0.0,29.0 50.0,15.0 100.0,1.0"
    assert _curve([1.0, 1.0]).endswith("100.0,29.0")
    assert _curve([1.0]) == ""


def test_names_that_are_not_unicode_can_be_written(model: Model, tmp_path: Path) -> None:
    image = tmp_path / os.fsdecode(b"caf\xe9.png")
    write_photo(image, 0)
    text = report(model, image, output=tmp_path / "r.html", layer="0").read_text(encoding="utf-8")
    assert "caf\\udce9.png" in text
