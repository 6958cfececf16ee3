"""A summary as text and as HTML."""

from __future__ import annotations

import numpy as np
from tests.render.results import provenance

from convscope import Summary


def summary(n: int = 40, name: str = "blocks.{}.convolution.depthwise") -> Summary:
    return Summary(
        network="a network\x1b[2J",
        names=tuple(name.format(i) for i in range(n)),
        kinds=("AdaptiveAvgPool2d",) * n,
        shapes=((1280, 112, 112),) * n,
        parameters=np.full(n, 12_345_678),
        macs=np.full(n, 123_456_789),
        receptive_fields=(None, *((1023, 1023),) * n)[:n],
        n_parameters=12_345_678 * n,
        n_macs=123_456_789 * n,
        uncounted=("torchvision::nms",),
        detected=(("input", "image"), ("labels", ", ".join(f"a long label {i}" for i in range(20)))),
        fits=(("rise", ""), ("lime", ""), ("guided_backprop", "the network has no ReLU")),
        does_not_fit=(("saliency", "<b>no gradient"), ("lrp", "<b>no gradient")),
        provenance=provenance("summary"),
    )


def test_a_terminal_of_80_columns_shows_it() -> None:
    for n in (3, 40):
        lines = summary(n).text(every=True).split("\n")
        assert max(map(len, lines)) <= 80
        assert sum(line.startswith("...") and "AdaptiveAvgPool2d" in line for line in lines) == n
    assert lines[0] == "a network\\x1b[2J"
    assert lines[1] == "493,827,120 parameters, 4.94G multiply-adds (MACs) for one input"


def test_long_networks_are_shortened_in_the_middle() -> None:
    found = summary()
    text = found.text()
    assert "... 24 more; summary.text(every=True) shows them" in text
    rows = [line for line in text.split("\n") if "AdaptiveAvgPool2d" in line]
    assert len(rows) == 16
    assert "more;" not in found.text(every=True)
    assert "more;" not in summary(17).text()  # a line in place of a line says less
    assert text in repr(found)


def test_a_network_without_visible_layers_is_told() -> None:
    found = summary(0)
    assert "none of its layers is visible" in found.text()
    assert "None of its layers is visible" in found._repr_html_()


def test_methods_are_grouped_by_reason() -> None:
    lines = summary().text().split("\n")
    assert lines[-5:] == [
        "methods that fit",
        "  rise, lime",
        "  guided_backprop: the network has no ReLU",
        "methods that do not fit",
        "  saliency, lrp: <b>no gradient",
    ]


def test_html_is_escaped_and_has_every_layer() -> None:
    page = summary()._repr_html_()
    assert "<b>no" not in page
    assert "&lt;b&gt;no gradient" in page
    assert page.count("<tr>") == 3 + 41  # facts, then layers
    assert "torchvision::nms" in page
    assert page.count("<li>") == 3
    assert page.index("rise, lime") < page.index("Methods that do not fit") < page.index("saliency, lrp")
    assert "\x1b" not in page
