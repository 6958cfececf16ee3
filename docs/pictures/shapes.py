"""A small vision transformer for the pictures, trained in a minute to tell which drawn shapes an image shows."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional

from convscope import Model

# Each has its color, more or less, which a network this small learns sooner than its form.
COLORS = {"disc": (0.9, 0.3, 0.3), "ring": (0.3, 0.8, 0.4), "square": (0.3, 0.5, 0.95), "cross": (0.95, 0.85, 0.3)}
SHAPES = tuple(COLORS)
SIDE, PATCH = 64, 8


def drawn(shape: int, y: torch.Tensor, x: torch.Tensor, radius: float) -> torch.Tensor:
    """Where a shape is, from distances to its middle, in pixels."""
    far, near = torch.maximum(y.abs(), x.abs()), torch.minimum(y.abs(), x.abs())
    distance = (y.square() + x.square()).sqrt()
    return (
        distance < radius,
        (distance < radius) & (distance > 0.6 * radius),
        far < 0.85 * radius,
        (far < radius) & (near < 0.3 * radius),
    )[shape]


def image(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Two shapes of different kinds on a noisy ground, (3, 64, 64) in [0, 1], and which they are, (4,)."""

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    pixels = 0.35 + 0.1 * random(3, SIDE, SIDE) + 0.15 * random(3, 1, 1)
    kinds = torch.randperm(len(SHAPES), generator=generator)[:2]
    halves = torch.randperm(4, generator=generator)[:2]  # quarters of the image, so that they do not overlap
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for kind, quarter in zip(kinds.tolist(), halves.tolist(), strict=True):
        radius = 9 + 4 * float(random(1))
        middle = (
            radius + (SIDE / 2 - 2 * radius) * random(2) + SIDE / 2 * torch.tensor([quarter // 2, quarter % 2])
        )
        inside = drawn(kind, rows - middle[0], columns - middle[1], radius)
        color = (torch.tensor(COLORS[SHAPES[kind]]) + 0.3 * (random(3) - 0.5)).clamp(0, 1)
        pixels = torch.where(inside, color[:, None, None], pixels)
    return pixels, torch.zeros(len(SHAPES)).index_fill(0, kinds, 1)


def images(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels, labels = zip(*(image(generator) for _ in range(n)), strict=True)
    return torch.stack(pixels), torch.stack(labels)


def trained(n_steps: int = 400) -> Model:
    """The network, with four independent classes."""
    torch.manual_seed(0)
    net = VisionTransformer(SIDE, PATCH, 3, len(SHAPES), embed_dim=48, depth=4, num_heads=3, mlp_ratio=2)
    pixels, labels = images(3000, seed=0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, n_steps)
    for _ in range(n_steps):
        some = torch.randint(len(pixels), (32,))
        x = (pixels[some] - 0.5) / 0.25
        if torch.rand(1) < 0.5:
            x = x.flip(-1)
        loss = functional.binary_cross_entropy_with_logits(net(x), labels[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Model(
        net.eval(),
        (SIDE, SIDE),
        [0.5] * 3,
        [0.25] * 3,
        SHAPES,
        multilabel=True,
        name="ViT for shapes",
        device="cpu",
    )
