"""A map as a layer over a photo: its colors are the scale's, and zero is transparent."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from convscope.render.colors import fit_scale
from convscope.render.heat_layers import ground, layer_uri


@pytest.mark.parametrize("low", [-1.0, 0.0], ids=["signed", "unsigned"])
def test_a_layer_has_the_colors_of_the_scale_and_shows_the_photo_where_it_is_zero(low: float) -> None:
    values = np.linspace(low, 1, 41).reshape(1, -1)
    scale = fit_scale(values, "inferno", signed=low < 0)
    data = base64.b64decode(layer_uri(values, scale).partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)
    step = np.abs(np.diff(scale.colors(np.linspace(low, 1, 255)).astype(int), axis=0)).max()
    assert np.abs(pixels[..., :3] - scale.colors(values)).max() <= step + 1, "rounded to 255 levels"
    opacity = pixels[0, :, 3]
    zero = int(np.abs(values).argmin())
    assert opacity[zero] == 0
    assert opacity[-1] == 255
    assert (np.diff(opacity[zero:]) >= 0).all(), "the stronger, the less of the photo is seen"
    assert ground(scale) == "#{:02x}{:02x}{:02x}".format(*scale.colors(np.zeros(1))[0])
