"""Reports of signals, volumes and several inputs: a panel for each, without what has no picture."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope as cs
from convscope import ParameterError


def sequential(shape: tuple[int, ...]) -> nn.Module:
    convolution = nn.Conv1d if len(shape) == 2 else nn.Conv3d
    pool = nn.AdaptiveMaxPool1d if len(shape) == 2 else nn.AdaptiveMaxPool3d
    return nn.Sequential(convolution(shape[0], 4, 3), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 3)).eval()


class Two(nn.Module):
    """Of an image and some numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(16 + 5, 3)

    def forward(self, image: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(torch.cat([self.body(image), meta], dim=1))
        return scores


def kinds(text: str) -> list[str]:
    """What the panels of the first image are called."""
    first = text[text.index('<article class="image">') : text.index("</article>")]
    return re.findall(r'<img[^>]* alt="([^"]*)"', first)


@pytest.mark.parametrize("shape", [(2, 24), (1, 5, 8, 6)], ids=["signal", "volume"])
def test_a_report_of_tensors(shape: tuple[int, ...], tmp_path: Path) -> None:
    net, x = sequential(shape), torch.randn(2, *shape)
    place = cs.report(net, x, output=tmp_path / "a.html", target=1, methods=["saliency", "lime"])
    text = place.read_text()
    what, kind = (
        ("signal", "behind the signal") if len(shape) == 2 else ("volume", "three planes through its peak")
    )
    assert kinds(text) == [f"{what} 0, as the network saw it", f"saliency map of {what} 0 for class 1, {kind}"]
    assert f">{what.capitalize()}, as the network saw it<" in text
    assert "Left out: lime: lime needs pictures" in text
    assert "Better than a random map" in text or "Not better than a random map" in text
    assert 'id="maps"' not in text
    assert 'id="visualizations"' not in text
    if what == "volume":  # the photo is the plane of the strongest value
        found = cs.saliency(net, x, target=1)
        depth = np.unravel_index(found.values[0].argmax(), shape[1:])[0]
        uri = re.search(r'src="data:image/jpeg;base64,([^"]*)"', text)
        assert uri is not None
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[1]))).convert("RGB"), float)
        expected = found.images[0, depth].astype(float)
        assert shown.shape == expected.shape
        distances = [np.abs(shown - plane).mean() for plane in found.images[0].astype(float)]
        assert int(np.argmin(distances)) == depth
    with pytest.raises(ParameterError, match="layer: feature maps of signals and volumes have no picture"):
        cs.report(net, x, output=tmp_path / "b.html", layer="0")


def test_a_report_of_several_inputs(tmp_path: Path) -> None:
    net, x, m = Two().eval(), torch.randn(13, 3, 8, 8), torch.randn(13, 5)
    model = cs.Model(net, inputs={"image": x[:1], "meta": m[:1]})
    call = {"image": x, "meta": m}
    place = cs.report(
        model, call, output=tmp_path / "a.html", target=1, methods=["integrated_gradients", "grad_cam"]
    )
    text = place.read_text()
    of_image, of_meta = (
        f"integrated_gradients map of image 0 for class 1, {kind}"
        for kind in ("image, over the photo", "meta, value by value")
    )
    assert of_image in kinds(text)
    assert kinds(text).index(of_meta) == kinds(text).index(of_image) + 1
    assert "grad_cam map of image 0 for class 1, over the photo" in kinds(text)
    assert "13 images were given; the first 12 are shown in detail" in text
    assert text.count('<article class="image">') == 12
