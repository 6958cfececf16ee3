"""Numbers and names as figures show them."""

from __future__ import annotations

import numpy as np

from convscope.render.style import decimal, drawable, short_label, short_name


def test_a_score_that_rounds_to_zero_has_no_sign() -> None:
    assert [decimal(v) for v in (-0.001, 0.001, -0.006, np.float32(1.5), float("nan"), float("inf"))] == [
        "0.00", "0.00", "-0.01", "1.50", "nan", "inf",
    ]  # fmt: skip


def test_names_are_cut_and_made_drawable() -> None:
    assert short_name("folder/cat.png") == "cat.png"
    assert len(short_name("x" * 100)) <= 30
    assert short_label("tabby, tabby cat") == "tabby"
    assert short_label(", odd")
    assert drawable("猫\x07a") == "\ufffd\ufffda"


def test_a_contrast_keeps_both_of_its_classes() -> None:
    assert short_label("tabby, tabby cat rather than lynx, catamount") == "tabby rather than lynx"
