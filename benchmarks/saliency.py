"""Saliency against Captum's, ResNet50, batch of 8, random weights.

    python benchmarks/saliency.py

Both get the same module and the same preprocessed batch and compute the same values.
"""

from __future__ import annotations

import argparse
import copy

import captum.attr
import torch
from torchvision.models import resnet50

from convscope import saliency
from interleaved import HEADER, interleaved, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    module = resnet50().eval()
    x, target = torch.randn(8, 3, 224, 224), torch.arange(8)
    peer = captum.attr.Saliency(module)

    def captums() -> torch.Tensor:
        return peer.attribute(x.clone().requires_grad_(), target=target)

    def ours() -> torch.Tensor:
        return torch.from_numpy(saliency(module, x, target=target).values)

    times = interleaved({"ours": ours, "captum": captums}, options.rounds)
    print(f"{options.rounds} rounds, {torch.get_num_threads()} threads")
    print(HEADER)
    print(row("saliency, ResNet50, batch 8 (Captum)", times, "ours", "captum", 0.75))
    exact = captum.attr.Saliency(copy.deepcopy(module).double()).attribute(
        x[:1].double().requires_grad_(), target=target[:1]
    )
    largest = exact.max()
    errors = [
        float((found.double() - exact.amax(dim=1)).abs().max() / largest)
        for found in (ours()[:1], captums()[:1].amax(dim=1))
    ]
    # A network with random weights has many units near zero, where rounding decides on which side they are.
    print(f"distance from float64, of the largest value: ours {errors[0]:.1e}, Captum {errors[1]:.1e}")


if __name__ == "__main__":
    main()
