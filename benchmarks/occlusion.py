"""Occlusion against Captum's at its default, 16-px windows, stride 8, 224 px, random weights.

    python benchmarks/occlusion.py --rounds 2

Both run the whole network for each of the 729 windows: the same windows, the same convention, the same result.
A round of VGG16 takes minutes.
"""

from __future__ import annotations

import argparse

import captum.attr
import numpy as np
import torch
from torchvision import models

from convscope import occlusion
from interleaved import HEADER, interleaved, row


def compare(name: str, rounds: int) -> None:
    torch.manual_seed(0)
    module = models.get_model(name, weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    peer = captum.attr.Occlusion(module)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = occlusion(module, x, target=0, window=16, stride=8).values[0]

    def captums() -> None:
        """Its defaults: one forward pass a window (perturbations_per_eval=1)."""
        values = peer.attribute(x, (3, 16, 16), strides=(3, 8, 8), target=0, baselines=0)
        found["captum"] = values[0, 0].detach().numpy()

    times = interleaved({"ours": ours, "captum": captums}, rounds, warm_up=False)
    print(row(f"occlusion, {name}, 16/8 (Captum)", times, "ours", "captum", 0.75))
    difference = np.abs(found["ours"] - found["captum"]).max()
    with torch.no_grad():
        scores = np.ptp(module(x).numpy())
    print(f"  largest difference: {difference / scores:.1e} of the range of the class scores,", end=" ")
    print(f"{difference / np.ptp(found['captum']):.1e} of the range of the map", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=["resnet50", "vgg16"])
    options = parser.parse_args()
    torch.set_num_threads(2)
    print(f"{options.rounds} rounds, {torch.get_num_threads()} threads")
    print(HEADER)
    for name in options.models:
        compare(name, options.rounds)


if __name__ == "__main__":
    main()
