"""Fixtures that many tests share: the installed network, two photographs, and a few tiny networks."""

from __future__ import annotations

import copy
import gc
import random
from typing import TYPE_CHECKING

import pytest

if (
    TYPE_CHECKING
):  # the process that hands out the tests reads this file, too, and runs none: PyTorch takes seconds
    import numpy as np
    from torch import nn

    from convscope.models import Model


def pytest_collection_finish() -> None:
    """What was imported is there for good: each collection of garbage would look at it for a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every run of a test."""
    import numpy as np
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


@pytest.fixture(scope="session")
def lite0() -> Model:
    """The real ImageNet network that is installed with convscope."""
    from convscope.models import load_model

    return load_model(device="cpu")


@pytest.fixture(scope="session")
def exact_lite0(lite0: Model) -> Model:
    """The same in float64, where no rounding puts a unit on the other side of its kink: for gradients."""
    from convscope.models import Model

    return Model(copy.deepcopy(lite0.module).double(), preprocessing=lite0.preprocessing, labels=lite0.labels)


@pytest.fixture(scope="session")
def cat() -> np.ndarray:
    """A photograph of a cat, uint8 (300, 451, 3)."""
    import skimage.data

    return skimage.data.chelsea()


@pytest.fixture(scope="session")
def coffee() -> np.ndarray:
    """A photograph of an espresso cup, uint8 (400, 600, 3)."""
    import skimage.data

    return skimage.data.coffee()


@pytest.fixture
def tiny() -> Model:
    """Two convolutions and a classifier of 3 classes on 16 x 16 RGB, random but the same every time."""
    from convscope.models import Model

    return Model(tiny_network(), input_size=(16, 16), mean=[0.5] * 3, std=[0.25] * 3, labels=["a", "b", "c"])


def tiny_network(n_channels: int = 3, n_classes: int = 3) -> nn.Module:
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(n_channels, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, n_classes),
        )


def tiny_transformer(n_channels: int = 3, n_classes: int = 3) -> nn.Module:
    """16 patches of 4 px and a class token, two layers of attention with two heads, random weights."""
    import torch
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = VisionTransformer(16, 4, n_channels, n_classes, embed_dim=8, depth=2, num_heads=2, init_values=None)
        for parameter in net.parameters():  # as it is initialized, nothing depends on anything
            nn.init.normal_(parameter, std=0.5)
        return net.eval()
