"""Class activation maps by pytorch-grad-cam, for networks and images small enough to compare."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from convscope.results import Array


def peer_cam(
    name: str, net: nn.Module, layer: nn.Module, x: torch.Tensor, targets: Sequence[Any], maps_of: Any = None
) -> Array:
    """Maps (N, H, W), each from 0 to 1, of the class ``name`` of pytorch-grad-cam.

    Targets are classes, or what it calls with the output for each image. ``maps_of`` is its ``reshape_transform``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with getattr(pytorch_grad_cam, name)(net.eval(), [layer], maps_of) as cam:
            found: Any = cam(
                input_tensor=x, targets=[t if callable(t) else ClassifierOutputTarget(t) for t in targets]
            )
    return np.asarray(found)


def from_0_to_1(maps: Array) -> Array:
    """As the peer leaves them."""
    low = maps.min(axis=(1, 2), keepdims=True)
    return np.asarray((maps - low) / (1e-7 + (maps - low).max(axis=(1, 2), keepdims=True)))


def sharp_network() -> nn.Module:
    """The last map has the size of the image, 16 x 16, so that nothing is enlarged; gradients far from 0."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6 * 256, 3),
        )
        nn.init.normal_(net[-1].weight, std=0.5)
        return net.eval()
