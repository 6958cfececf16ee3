"""Networks to try the incremental engine on: random small ones, and how to give any of them lively activations."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """x + body(x), or x - body(x), or x * body(x)."""

    def __init__(self, body: nn.Module, join: str) -> None:
        super().__init__()
        self.body, self.join = body, join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return {"add": torch.add, "sub": torch.sub, "mul": torch.mul}[self.join](x, self.body(x))


class Joined(nn.Module):
    """Two branches side by side."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.first(x), self.second(x)], 1)


class Shuffle(nn.Module):
    """Channels in another order, as ShuffleNet does it."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class Halves(nn.Module):
    """One half of the channels gates the other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.cat([first * second.sigmoid(), second], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weigh(functional.adaptive_avg_pool2d(x, 1)).sigmoid()


class ChannelsLast(nn.Module):
    """Layer norm and a linear layer over the channels, as in ConvNeXt."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(channels), nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.permute(0, 2, 3, 1)
        return functional.gelu(self.linear(self.norm(y))).permute(0, 3, 1, 2) + x


class Call(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Twice(nn.Module):
    """One module that runs two times."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self.body(x))


def _convolution(c: int, rng: random.Random) -> nn.Module:
    kernel = (rng.randint(1, 4), rng.randint(1, 4))
    groups = rng.choice([1, 1, 2, c])
    stride = (rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2]))
    padding = (rng.randint(0, 3), rng.randint(0, 3))
    return nn.Conv2d(c, c, kernel, stride, padding, rng.choice([1, 1, 2]), groups, bias=rng.random() < 0.5)


def _same(c: int, rng: random.Random) -> nn.Module:
    kernel = (rng.randint(1, 5), rng.randint(1, 4))
    return nn.Conv2d(c, c, kernel, padding="same", dilation=rng.choice([1, 2]), groups=rng.choice([1, c]))


def _mirrored(c: int, rng: random.Random) -> nn.Module:
    return nn.Conv2d(
        c, c, 3, padding=rng.choice([1, 2]), padding_mode=rng.choice(["reflect", "replicate", "circular"])
    )


def _max_pool(c: int, rng: random.Random) -> nn.Module:
    kernel = rng.randint(2, 3)
    return nn.MaxPool2d(kernel, rng.randint(1, kernel), rng.randint(0, kernel // 2), ceil_mode=rng.random() < 0.5)


def _average_pool(c: int, rng: random.Random) -> nn.Module:
    kernel = (rng.randint(2, 3), rng.randint(1, 4))
    return nn.AvgPool2d(
        kernel,
        rng.choice([None, 1, 2]),
        (rng.randint(0, kernel[0] // 2), rng.randint(0, kernel[1] // 2)),
        ceil_mode=rng.random() < 0.5,
        count_include_pad=rng.random() < 0.5,
        divisor_override=rng.choice([None, None, 5]),
    )


def _diagonal(x: torch.Tensor) -> torch.Tensor:
    """A view of what is then changed in place."""
    y = x * 1.5
    seen = y.diagonal(dim1=2, dim2=3)
    y.relu_()
    return y + seen.mean(2)[:, :, None, None]


def _padding(c: int, rng: random.Random) -> nn.Module:
    amounts = [rng.randint(-1, 3) for _ in range(4)]
    value = rng.choice([0.0, 0.7])
    if rng.random() < 0.5:
        return Call(lambda x: functional.pad(x, amounts, value=value))
    mode = rng.choice(["reflect", "replicate", "circular"])
    amounts = [max(a, 0) for a in amounts]
    return Call(lambda x: functional.pad(x, amounts, mode=mode))


def _body(c: int, rng: random.Random) -> nn.Module:
    """Something that keeps the size."""
    layers: list[nn.Module] = [nn.Conv2d(c, c, 3, padding=1, groups=rng.choice([1, c]))]
    if rng.random() < 0.5:
        layers.append(nn.BatchNorm2d(c))
    if rng.random() < 0.5:
        layers.append(nn.ReLU(inplace=rng.random() < 0.5))
    return nn.Sequential(*layers)


LAYERS: dict[str, Callable[[int, random.Random], nn.Module]] = {
    "convolution": _convolution,
    "same": _same,
    "mirrored": _mirrored,
    "batch norm": lambda c, rng: nn.BatchNorm2d(c),
    "relu": lambda c, rng: nn.ReLU(inplace=rng.random() < 0.5),
    "activation": lambda c, rng: rng.choice(
        [nn.Hardtanh(-1, 2, inplace=True), nn.SiLU(), nn.GELU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.Hardswish(),
         nn.Hardsigmoid(), nn.PReLU(c), nn.ELU(), nn.Softplus(), nn.Mish(), nn.Tanh()]
    ),
    "max pool": _max_pool,
    "average pool": _average_pool,
    "padding": _padding,
    "residual": lambda c, rng: Residual(_body(c, rng), rng.choice(["add", "sub", "mul"])),
    "branches": lambda c, rng: nn.Sequential(
        Joined(_body(c, rng), rng.choice([nn.Identity(), nn.MaxPool2d(3, 1, 1), nn.Conv2d(c, c, 1)])),
        nn.BatchNorm2d(2 * c),
        nn.Conv2d(2 * c, c, 1),
    ),
    "shuffle": lambda c, rng: Shuffle(2),
    "halves": lambda c, rng: Halves(),
    "squeeze": lambda c, rng: SqueezeExcite(c),
    "channels last": lambda c, rng: ChannelsLast(c),
    "dropout": lambda c, rng: rng.choice([nn.Dropout(0.5), nn.Dropout2d(0.5, inplace=True)]),
    "numbers": lambda c, rng: Call(lambda x: 2.0 - (x * 0.5 + 1) / 3),
    "upsampling": lambda c, rng: nn.Upsample(
        scale_factor=rng.choice([2, 2, 3, 1.1, 2.1]), mode=rng.choice(["nearest", "nearest", "bilinear"])
    ),
    "slices": lambda c, rng: Call(lambda x: torch.cat([x[:, :1], x[:, 1].unsqueeze(1) * 2, x[:, 2:]], 1)),
    "batch and channels": lambda c, rng: Call(
        lambda x: x.reshape(x.shape[0] * 2, c // 2, *x.shape[2:]).sigmoid().reshape(x.shape)
    ),
    "cast": lambda c, rng: Call(lambda x: (x * 2).float() + x.to(torch.float64).to(torch.float32)),
    "diagonal": lambda c, rng: Call(_diagonal),
    "other activations": lambda c, rng: rng.choice(
        [nn.CELU(), nn.Threshold(0.1, 0.2), nn.LogSigmoid(), nn.Hardshrink(), nn.Softshrink(),
         nn.ChannelShuffle(2)]
    ),
    "adaptive": lambda c, rng: nn.AdaptiveAvgPool2d(rng.choice([4, 6, 8])),
    "twice": lambda c, rng: Twice(_body(c, rng)),
    "softmax": lambda c, rng: nn.Softmax(dim=rng.choice([1, 1, 2])),
    "constants": lambda c, rng: rng.choice(
        [
            Call(lambda x: x * torch.linspace(0.5, 1, x.shape[3])),
            Call(lambda x: x + torch.linspace(0, 1, x.shape[1])[:, None, None]),
            Call(lambda x: x + torch.linspace(0, 1, x.shape[2])[:, None]),
        ]
    ),
    "unknown": lambda c, rng: Call(lambda x: x + x.cumsum(dim=3)),
}  # fmt: skip
HEADS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "pooled": lambda c, h, w: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 3)),
    "mean": lambda c, h, w: nn.Sequential(Call(lambda x: x.mean([2, 3])), nn.Linear(c, 3)),
    "flat": lambda c, h, w: nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, 3)),
    "convolution": lambda c, h, w: nn.Sequential(nn.Conv2d(c, 3, (h, w)), nn.Flatten()),
    "map": lambda c, h, w: nn.Conv2d(c, 3, 3, padding=1),
    "activations": lambda c, h, w: nn.ReLU(),
}


def network(names: list[str], head: str, size: tuple[int, int], seed: int) -> nn.Module:
    """A network of these layers, where they fit, with parameters from the seed; in evaluation mode."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    channels = rng.choice([2, 4, 6])
    first = nn.Conv2d(
        3, channels, kernel_size=rng.choice([1, 3]), stride=rng.choice([1, 1, 2]), padding=rng.randint(0, 1)
    )
    layers: list[nn.Module] = [nn.BatchNorm2d(3), nn.SiLU()] * rng.randint(0, 1) + [first]
    with torch.no_grad():
        x = first(torch.randn(2, 3, *size))
    for name in names:
        layer = LAYERS[name](channels, rng).eval()
        try:
            with torch.no_grad():
                y = layer(x.clone())
        except RuntimeError:  # larger than the map, as a kernel or a padding can be
            continue
        if min(y.shape[2:]) >= 2 and max(y.shape[2:]) <= 64:
            layers.append(layer)
            x = y
    module = nn.Sequential(*layers, HEADS[head](channels, *x.shape[2:]))
    return lively(module, (3, *size))


def lively(module: nn.Module, shape: tuple[int, int, int], seed: int = 0) -> nn.Module:
    """With the statistics of its batch norms measured, so that no layer's output dies out or explodes."""
    torch.manual_seed(seed)
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    module.eval()
    for norm in norms:
        norm.train()
    if norms:
        with torch.no_grad():
            module(torch.randn(4, *shape))
    return module.eval()
