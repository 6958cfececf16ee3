"""Saliency against Captum's, ResNet50, batch of 8, random weights.

    python benchmarks/saliency.py

Both get the same module and the same preprocessed batch and compute the same values.
"""

from __future__ import annotations

import argparse

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

    expected = captums().amax(dim=1)
    difference = (ours() - expected).abs().max() / expected.max()
    times = interleaved({"ours": ours, "captum": captums}, options.rounds)
    print(f"{options.rounds} rounds, {torch.get_num_threads()} threads")
    print(HEADER)
    print(row("saliency, ResNet50, batch 8 (Captum)", times, "ours", "captum", 0.75))
    print(f"largest difference, of the largest value: {difference:.1e}")


if __name__ == "__main__":
    main()
