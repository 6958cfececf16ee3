"""Wrap your own network, here one that takes gray images, and see which pixels it looks at."""

import numpy as np
import torch
from torch import nn

from convscope import Model, occlusion


class BrightCorner(nn.Module):
    """Decides whether the upper left corner is bright; the weights are set by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.classifier = nn.Linear(32 * 32, 2)
        corner = torch.zeros(32, 32)
        corner[:12, :12] = 1
        with torch.no_grad():
            self.blur.weight.fill_(1 / 9)
            self.classifier.weight.copy_(torch.stack([-corner.flatten(), corner.flatten()]) / 144)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blur(x).flatten(1))


model = Model(BrightCorner(), input_size=(32, 32), mean=[0.5], std=[0.25], labels=["dark", "bright"])
photo = np.full((32, 32), 0.9)  # gray values in [0, 1]

found = occlusion(model, photo, target="bright", window=8, stride=4)
print(found)
inside, outside = found.values[0, :12, :12].mean(), found.values[0, 16:, 16:].mean()
print(f"mean value of a pixel: {inside:.3f} in the corner, {outside:.3f} far from it")
