"""Drawn squares and discs, and a small YOLO-like detector that learns to find them in a few seconds."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

SIDE, CELL = 48, 8  # pixels of an image, and of a cell of the detector
LABELS = ["square", "disc"]


def drawn(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """n images (n, 3, 48, 48) of noise with two shapes each; their boxes (n, 2, 4) and classes (n, 2).

    Boxes are left, top, right, bottom. The shapes lie in two opposite quarters and do not touch.
    """
    g = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(n, 3, SIDE, SIDE, generator=g)
    sides = torch.randint(9, 17, (n, 2), generator=g)
    quarter = torch.randint(0, 2, (n, 1, 2), generator=g)
    start = torch.cat([quarter, 1 - quarter], dim=1) * SIDE // 2
    room = SIDE // 2 - sides[..., None]
    corner = start + (torch.rand(n, 2, 2, generator=g) * (room + 1)).long()  # left, top
    classes = torch.randint(0, 2, (n, 2), generator=g)
    colors = 1 + torch.rand(n, 2, 3, generator=g)
    colors = colors * torch.where(torch.rand(n, 2, 1, generator=g) < 0.5, -1.0, 1.0)
    boxes = torch.cat([corner, corner + sides[..., None]], dim=-1).float()
    for k, inside in enumerate(insides(boxes, classes).unbind(dim=1)):
        images = torch.where(inside[:, None], colors[:, k, :, None, None], images)
    return images, boxes, classes


def insides(boxes: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The pixels (n, 2, 48, 48) of each shape."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    left, top, right, _ = boxes[..., None, None].unbind(dim=2)
    side = right - left
    across, down = (x - left + 0.5) / side - 0.5, (y - top + 0.5) / side - 0.5  # -0.5 to 0.5 inside
    square = (across.abs() < 0.5) & (down.abs() < 0.5)
    return torch.where(classes[..., None, None] == 0, square, across**2 + down**2 < 0.25)


class TinyYolo(nn.Module):
    """A head (N, 4 + K, A) over the 36 cells of an image: cx, cy, w, h in pixels and class probabilities."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 3 * width]
        self.body = nn.Sequential(
            *(
                layer
                for i, o in pairwise(sizes)
                for layer in (nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
            )
        )
        self.context = nn.Sequential(nn.Conv2d(3 * width, 3 * width, 3, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(3 * width, 4 + len(LABELS), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.head(self.context(self.body(x)))
        rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) for n in raw.shape[2:])
        cx = (raw[:, 0].sigmoid() + columns) * CELL
        cy = (raw[:, 1].sigmoid() + rows[:, None]) * CELL
        sides = raw[:, 2:4].exp() * CELL
        boxes = torch.cat([torch.stack([cx, cy], dim=1), sides], dim=1)
        return torch.cat([boxes, raw[:, 4:].sigmoid()], dim=1).flatten(2)


def trained(n_steps: int = 400, seed: int = 0) -> TinyYolo:
    """The detector after so many batches of 32 images; 400 take some ten seconds on one core."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = TinyYolo().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=n_steps)
    for step in range(n_steps):
        images, boxes, classes = drawn(32, 1000 * seed + step)
        optimizer.zero_grad()
        _loss(net(images), boxes, classes).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def _loss(output: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The cell with a shape's center has to find it; the others have to find nothing."""
    n_cells = SIDE // CELL
    centers, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    column, row = (centers / CELL).long().unbind(-1)
    images, cells = torch.arange(len(boxes))[:, None].expand(-1, 2), row * n_cells + column
    wanted = torch.zeros_like(output[:, 4:])
    wanted[images, classes, cells] = 1
    found = output[images, :4, cells]
    away = functional.l1_loss(found, torch.cat([centers, sides], dim=-1)) / CELL
    return away + 50 * functional.binary_cross_entropy(output[:, 4:], wanted)
