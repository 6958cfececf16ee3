"""A segmenter that is asked with a point, as SAM is, and learns in some seconds which of two shapes is meant."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .drawn_shapes import SIDE, drawn, insides


class TinyPrompted(nn.Module):
    """From images (N, 3, 48, 48) and points (N, 2), x and y in pixels, to a score (N, 1, 48, 48) of each pixel."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(width + 1, width, 3, padding=2, dilation=2),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=4, dilation=4),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, image: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        maps = self.encoder(image)
        at = 2 * torch.arange(maps.shape[-1], dtype=image.dtype) + 0.5
        x, y = point[:, 0, None, None], point[:, 1, None, None]
        near = torch.exp(-((at - x) ** 2 + (at[:, None] - y) ** 2) / 32)
        small = self.decoder(torch.cat([maps, near[:, None]], dim=1))
        return functional.interpolate(small, (SIDE, SIDE), mode="bilinear")


def asked(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """n images, a point (n, 2) in one of the two shapes of each, its pixels (n, 48, 48) and those of the other."""
    images, boxes, classes = drawn(n, seed)
    shapes = insides(boxes, classes)
    g = torch.Generator().manual_seed(seed + 1)
    meant = torch.randint(0, 2, (n,), generator=g)
    rows = torch.arange(n)
    mask, other = shapes[rows, meant], shapes[rows, 1 - meant]
    place = torch.multinomial(mask.flatten(1).float(), 1, generator=g)[:, 0]
    return images, torch.stack([place % SIDE, place // SIDE], dim=1).float(), mask, other


@torch.enable_grad()
def trained(n_steps: int = 150) -> TinyPrompted:
    """The segmenter after so many batches of 32 images; 150 take some ten seconds on one core."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TinyPrompted().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=n_steps)
    for step in range(n_steps):
        images, points, mask, _ = asked(32, 1000 + step)
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(net(images, points)[:, 0], mask.float()).backward()
        optimizer.step()
        schedule.step()
    return net.eval()
