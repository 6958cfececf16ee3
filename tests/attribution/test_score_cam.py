"""Score-CAM: by the paper's loop, and against pytorch-grad-cam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import tiny_network
from tests.oracles.cams import from_0_to_1, peer_cam, sharp_network
from torch import nn

from convscope import ModelError, ParameterError, Several, score_cam


def enlarged(small: torch.Tensor) -> torch.Tensor:
    large = nn.functional.interpolate(small[None, None], (16, 16), mode="bilinear", align_corners=False)
    return large[0, 0]


def test_it_is_the_papers_loop() -> None:
    net, x = tiny_network().eval(), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        maps = net[:5](x)[0]
        scores = []
        for each in maps:
            large = nn.functional.interpolate(each[None, None], (16, 16), mode="bilinear", align_corners=False)[
                0, 0
            ]
            span = large.max() - large.min()
            scores.append(net(x * ((large - large.min()) / span if span else 0 * large))[0, 1])
        weights = torch.stack(scores).softmax(dim=0)
        small = (weights[:, None, None] * maps).sum(dim=0).clamp_min(0)
        expected = nn.functional.interpolate(small[None, None], (16, 16), mode="bilinear", align_corners=False)[
            0, 0
        ]
    found = score_cam(net, x, target=1).values[0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_it_is_that_of_pytorch_grad_cam() -> None:
    net, x = sharp_network(), torch.randn(2, 3, 16, 16)
    found = score_cam(net, x, target=[0, 2], layer="3").values
    expected = peer_cam("ScoreCAM", net, net[3], x, [0, 2])
    np.testing.assert_allclose(from_0_to_1(found), expected, rtol=0, atol=1e-4)


def test_several_targets_are_those_one_by_one() -> None:
    net, x = sharp_network(), torch.randn(2, 3, 16, 16)
    together = score_cam(net, x, target=Several(0, 2)).values
    alone = [score_cam(net, x, target=t).values for t in (0, 2)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1).reshape(4, 16, 16), rtol=0, atol=1e-6)


def test_progress_counts_channels() -> None:
    seen: list[tuple[int, int]] = []
    score_cam(tiny_network(), torch.randn(2, 3, 16, 16), target=0, progress=lambda *step: seen.append(step))
    assert seen[-1] == (12, 12)  # 6 channels of each image


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ParameterError, match="kind='absolute'"):
        score_cam(sharp_network(), torch.randn(1, 3, 16, 16), kind="absolute")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="nothing to explain"):
        score_cam(sharp_network(), torch.randn(1, 3, 16, 16), target=lambda out: out[:, 0] / 0)
