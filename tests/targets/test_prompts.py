"""A segmenter that is asked with a point, as SAM is: what makes the mask lies in the shape that was meant."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from tests.oracles.prompted_shapes import TinyPrompted, asked, trained

import convscope as cs
from convscope import Attribution, Model, Region


def model_of(net: TinyPrompted, image: torch.Tensor, point: torch.Tensor) -> Model:
    """With the point held as it is given."""
    return Model(net, inputs={"image": image[None], "point": point[None]})


def click(point: torch.Tensor) -> Region:
    x, y = point.long().tolist()
    return Region.at((y, x))


def test_a_prompt_is_held_and_may_be_explained_itself() -> None:
    net = TinyPrompted().double().eval()
    images, points, mask, _ = asked(1, 0)
    images, points = images.double(), points.double()

    def score(image: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        return net(image, point)[:, 0][:, mask[0]].sum(dim=1)

    region, model = Region(0, mask[0].numpy()), model_of(net, images[0], points[0])
    peer = captum.attr.Saliency(score)
    of_image = peer.attribute(images.clone().requires_grad_(), additional_forward_args=(points,), abs=False)
    found = cs.saliency(model, images, target=region, kind="signed")
    np.testing.assert_allclose(found.values, of_image.sum(dim=1), rtol=0, atol=1e-5 * float(of_image.abs().max()))
    assert "explained: image; held as given: point" in found.provenance.notes
    of_point = peer.attribute((images.clone().requires_grad_(), points.clone().requires_grad_()), abs=False)[1]
    found = cs.saliency(model, {"point": points}, target=region, kind="signed")
    np.testing.assert_allclose(found.inputs["point"], of_point, rtol=0, atol=1e-5 * float(of_point.abs().max()))


# What the maps mean


@cache
def segmenter() -> TinyPrompted:
    return trained()


@pytest.mark.slow
def test_it_has_learned_which_shape_is_meant() -> None:
    images, points, mask, other = asked(40, 10**6)
    with torch.no_grad():
        seen = segmenter()(images, points)[:, 0] > 0
    assert ((seen & mask).sum() / (seen | mask).sum()) > 0.8
    assert ((seen & other).sum() / other.sum()) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options", "least"),
    [
        (cs.occlusion, {"window": 6, "stride": 3}, 0.85),
        (cs.rise, {"n_masks": 300, "cells": 8}, 0.85),
        (cs.integrated_gradients, {}, 0.85),
        (cs.saliency, {}, 0.4),  # its highest value is a single pixel, often just outside
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_the_map_lies_in_the_shape_that_was_clicked(
    method: Callable[..., Attribution], options: dict[str, Any], least: float
) -> None:
    """The pointing game, once for each of the two shapes of an image. A shape covers 6 % of an image."""
    hits, shares = [], []
    for image, point, mask, other in zip(*asked(10, 2 * 10**6), strict=True):
        second = torch.tensor(np.argwhere(other.numpy()).mean(axis=0)[::-1].copy()).float().round()
        for at, meant, rest in ((point, mask, other), (second, other, mask)):
            values = method(model_of(segmenter(), image, at), image[None], target=click(at), **options).values[0]
            hits.append(bool(meant.flatten()[int(values.argmax())]))
            positive = values.clip(0)
            shares.append((positive[meant.numpy()].sum(), positive[rest.numpy()].sum()))
    assert np.mean(hits) >= least
    here, there = np.mean(shares, axis=0)
    assert here > 10 * there
