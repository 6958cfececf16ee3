"""Numbers and names as figures show them."""

from __future__ import annotations

import numpy as np

from convscope.render.style import decimal, drawable, fold, short_label, short_name


def test_a_score_that_rounds_to_zero_has_no_sign() -> None:
    assert [decimal(v) for v in (-0.001, 0.001, -0.006, np.float32(1.5), float("nan"), float("inf"))] == [
        "0.00", "0.00", "-0.01", "1.50", "nan", "inf",
    ]  # fmt: skip


def test_names_are_cut_and_made_drawable() -> None:
    assert short_name("folder/cat.png") == "cat.png"
    assert len(short_name("x" * 100)) <= 30
    assert short_label("tabby, tabby cat") == "tabby"
    assert short_label(", odd")
    assert short_label("photographer", 11) == "photograph…", "not the dots alone"
    assert short_label("sea anemone fish", 13) == "sea anemone…"
    assert drawable("猫\x07a") == "\ufffd\ufffda"


def test_a_contrast_keeps_both_of_its_classes() -> None:
    assert short_label("tabby, tabby cat rather than lynx, catamount") == "tabby rather than lynx"


def test_the_place_of_a_part_of_a_segmentation_map_stays_and_only_its_class_loses_synonyms() -> None:
    for name in ("square at row 48, column 48", "car, where it is seen", "road in a region"):
        assert short_label(name) == name
    assert short_label("tabby, tabby cat at row 4, column 80") == "tabby at row 4, column 80"
    assert short_label("tabby, tabby cat at (1, 2, 30, 40)") == "tabby"
    assert short_label("square at row 48, column 48", 12) == "square"  # no room, and no half of a place


def test_a_number_and_its_unit_stay_on_one_line() -> None:
    for width in range(20, 60):
        lines = fold("grad_cam(target=cat) on net, 0.12 s. Above 95 % of 4 px each", width).split("\n")
        assert all(len(line) <= width for line in lines)
        assert not any(line.split(" ")[0].strip(".,") in {"s", "%", "px"} for line in lines)
    assert fold("2 seconds, 3 s", 60) == "2 seconds, 3 s"
