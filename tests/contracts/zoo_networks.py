"""The networks of the zoo: as small as a network of their kind can be."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import timm
import torch
from tests.conftest import tiny_network
from tests.models.onnx_graphs import exported
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from convscope import Model, load_model


def quietly(make: Callable[[], Any]) -> Any:
    """PyTorch says of its quantization, of TorchScript and of its own exporters that they are deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class Around(nn.Module):
    """A network (by default a classifier) whose output ``form`` arranges, given the input too."""

    def __init__(self, form: Callable[[torch.Tensor, torch.Tensor], Any], net: nn.Module | None = None) -> None:
        super().__init__()
        self.net, self.form = net or tiny_network(), form

    def forward(self, x: torch.Tensor) -> Any:
        return self.form(self.net(x), x)


def convolutional(n_sides: int, n_channels: int) -> nn.Module:
    """Two convolutions over the sides of a signal or a volume, and a classifier."""
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[n_sides]
    pool, mean = {1: (nn.MaxPool1d, nn.AdaptiveAvgPool1d), 3: (nn.MaxPool3d, nn.AdaptiveAvgPool3d)}[n_sides]
    return nn.Sequential(
        conv(n_channels, 4, 3, padding=1),
        nn.ReLU(),
        pool(2),
        conv(4, 6, 3, padding=1),
        nn.ReLU(),
        mean(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


class WithMeta(nn.Module):
    """Classes from an image and a row of 4 values."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = tiny_network(n_classes=6), nn.Linear(10, 3)

    def forward(self, image: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.cat([self.body(image), meta], dim=1).tanh())


class TwoTowers(nn.Module):
    """How alike two images are to one and the same tower."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = tiny_network(n_classes=5)

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (self.tower(one) * self.tower(other)).sum(dim=1)


@dataclass
class Output:
    """As Hugging Face's networks return it."""

    logits: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...]


class Segmenter(nn.Module):
    """Scores of three classes, by default at a quarter of the size."""

    def __init__(self, pool: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pool), nn.Conv2d(6, 6, 3, padding=1)
        )
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).relu())


def boxes(scores: torch.Tensor, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Three boxes in each image, with labels and scores, as torchvision's detectors return them."""
    corners = torch.tensor([[0.0, 0, 8, 8], [4, 4, 12, 12], [2, 0, 10, 8]])
    labels = torch.tensor([1, 2, 1])
    return [{"boxes": corners + 0 * row.sum(), "labels": labels, "scores": row.sigmoid()} for row in scores]


def instances(maps: torch.Tensor, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Three instances in each image, with masks, as torchvision's Mask R-CNN returns them."""
    labels = torch.tensor([1, 2, 1])
    return [
        {"labels": labels, "scores": one.mean((1, 2)).sigmoid(), "masks": (3 + one[:, None]).sigmoid()}
        for one in maps
    ]


class Recurrent(nn.Module):
    """Reads the images of a batch as if they were steps in time, which mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm, self.fc = nn.Conv2d(3, 4, 4, stride=4), nn.LSTM(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = self.conv(x).relu().mean((2, 3))
        return self.fc(self.lstm(steps[:, None])[0][:, 0])


class WithDropout(nn.Module):
    """Draws random numbers in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(nn.functional.dropout(x, 0.5))


class WithoutGradients(nn.Module):
    """Runs without gradients, as some exported and some careless networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.net(x)


def without_relu() -> nn.Module:
    net = tiny_network()
    net[1], net[4] = nn.GELU(), nn.GELU()
    return net


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 8), nn.ReLU(), nn.Linear(8, 3))


def with_registers() -> nn.Module:
    """A transformer of any input size, with a class token and two registers."""
    net = VisionTransformer(
        16, 4, num_classes=3, embed_dim=8, depth=2, num_heads=2, reg_tokens=2, dynamic_img_size=True
    )
    for parameter in net.parameters():  # as it is initialized, nothing depends on anything
        nn.init.normal_(parameter, std=0.5)
    return net


def windowed() -> nn.Module:
    return timm.models.swin_transformer.SwinTransformer(
        img_size=16, patch_size=2, num_classes=3, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4
    )


def quantized() -> nn.Module:
    return quietly(lambda: torch.ao.quantization.quantize_dynamic(tiny_network(), {nn.Linear}))


def scripted() -> nn.Module:
    return quietly(lambda: torch.jit.script(tiny_network()))


def of_transformers(table: str, name: str) -> nn.Module:
    """A network of Hugging Face's library, with weights that matter."""
    pytest.importorskip("transformers")
    from tests.models import tiny_transformers

    return tiny_transformers.strong(getattr(tiny_transformers, table)[name]())


def keras_network() -> Any:
    """Images (N, H, W, C) to 3 scores."""
    os.environ.setdefault("KERAS_BACKEND", "torch")  # before keras is imported
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="second")(keras.layers.MaxPooling2D(2)(x))
    return keras.Model(image, keras.layers.Dense(3, name="head")(keras.layers.GlobalAveragePooling2D()(x)))


def onnx_file(net: nn.Module) -> Model:
    """The network by way of a file, as torch modules."""
    with tempfile.TemporaryDirectory() as folder:
        return load_model(exported(Path(folder) / "net.onnx", net), device="cpu")


def by_onnxruntime(net: nn.Module) -> Model:
    """The network by way of a file that cannot be turned into torch modules."""
    with patch.dict("sys.modules", {"onnx2pytorch": None}):
        return onnx_file(net)


def exported_program(net: nn.Module) -> Model:
    """The network by way of a file of torch.export."""
    x, any_number = torch.randn(2, 3, 16, 16), ({0: torch.export.Dim.DYNAMIC},)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pt2"
        quietly(lambda: torch.export.save(torch.export.export(net, (x,), dynamic_shapes=any_number), path))
        return load_model(path, trust_pickle=True, device="cpu")
