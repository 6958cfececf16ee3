"""Networks that people use: the incremental engine against the whole network, with lively random weights."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision import models

from convscope import Model, occlusion
from tests.incremental.networks import lively

SMALL = ["squeezenet1_1", "shufflenet_v2_x1_0"]
OTHERS = [
    "timm:tf_efficientnet_lite0", "mnasnet1_0",
    "alexnet", "vgg16", "resnet18", "resnet50", "resnext50_32x4d", "googlenet", "inception_v3", "densenet121",
    "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "regnet_y_400mf", "timm:regnetx_006",
    "timm:convnext_tiny", "timm:vit_tiny_patch16_224", "timm:dla34", "timm:resnetv2_50", "timm:hrnet_w18_small",
    "timm:tresnet_m", "timm:nfnet_f0", "timm:repvgg_a0", "timm:ghostnet_100", "timm:swin_tiny_patch4_window7_224",
]  # fmt: skip


def built(name: str) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    # Windows of 7 fit no smaller image; of fewer pixels the scores of random weights are mostly rounding.
    size = 224 if "swin" in name or name == "efficientnet_b0" else 160
    if name.startswith("timm:"):
        of_one_size = {"img_size": size} if "swin" in name or "vit" in name else {}
        module = timm.create_model(name.removeprefix("timm:"), **of_one_size)
    else:
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        module = models.get_model(name, weights=None, **extra)
    return lively(module.eval(), (3, size, size)), size


def check(name: str) -> None:
    module, size = built(name)
    model = Model(module)
    image = torch.randn(1, 3, size, size)
    masks = np.zeros((8, size, size), bool)
    rng = np.random.default_rng(0)
    for i, mask in enumerate(masks):  # in the corners, at the borders and anywhere, of odd sizes
        side = 3 + 8 * i
        y, x = [(0, 0), (size - side, size - side), (0, 100)][i] if i < 3 else rng.integers(0, size - side, 2)
        mask[y : y + side, x : x + side] = True
    found = occlusion(model, image, target=1, shape=masks, engine="incremental")
    measured = found.provenance.measured
    assert measured["engine"] == "incremental", found.provenance.notes
    assert measured["deviation"] < 1e-4
    expected = occlusion(model, image, target=1, shape=masks, engine="dense")
    with torch.no_grad():
        span = float(np.ptp(module(image).numpy()))
    assert np.abs(found.values - expected.values).max() < 1e-4 * span
    assert np.abs(expected.values).max() > 1e-4 * span  # hiding does something


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_networks(name: str) -> None:
    check(name)
