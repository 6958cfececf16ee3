"""Small networks of every kind that people have, and the page on which methods fit them.

A new kind is a `Kind` in `KINDS`. After that, or where a method changes, write the page again:

    PYTHONPATH=src python -m tests.contracts.zoo
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from tests.conftest import tiny_network, tiny_transformer
from tests.contracts.test_attributions import OPTIONS
from torch import nn

from convscope import ATTRIBUTIONS, ConvscopeError, Detection, Model, Region

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


class Kind(NamedTuple):
    """A kind of network: its name on the page, one of it, the shape of one input, and what to explain."""

    name: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 16, 16)
    target: Any = None
    multilabel: bool = False


def _quietly(make: Callable[[], nn.Module]) -> nn.Module:
    """PyTorch says of its quantization and of TorchScript that they are deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class Segmenter(nn.Module):
    """Scores of three classes at a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(6, 6, 3, padding=1)
        )
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).relu())


class Detector(nn.Module):
    """Three boxes in each image, with labels and scores, as torchvision's detectors return them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_network()

    def forward(self, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        boxes = torch.tensor([[0.0, 0, 8, 8], [4, 4, 12, 12], [2, 0, 10, 8]])
        labels = torch.tensor([1, 2, 1])
        return [{"boxes": boxes + 0 * row.sum(), "labels": labels, "scores": row.sigmoid()} for row in self.net(x)]


class Named(nn.Module):
    """A dict whose entry "out" holds the class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_network()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.net(x), "size": x.new_tensor(x.shape[2:])}


class Recurrent(nn.Module):
    """Reads the images of a batch as if they were steps in time, which mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm, self.fc = nn.Conv2d(3, 4, 4, stride=4), nn.LSTM(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = self.conv(x).relu().mean((2, 3))
        return self.fc(self.lstm(steps[:, None])[0][:, 0])


class Random(nn.Module):
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


def _without_relu() -> nn.Module:
    net = tiny_network()
    net[1], net[4] = nn.GELU(), nn.GELU()
    return net


def _ending_in(last: nn.Module, n_classes: int = 3) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(tiny_network(n_classes=n_classes), last)


def _dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 8), nn.ReLU(), nn.Linear(8, 3))


def _windowed() -> nn.Module:
    return timm.models.swin_transformer.SwinTransformer(
        img_size=16, patch_size=2, num_classes=3, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4
    )


def _quantized() -> nn.Module:
    return _quietly(lambda: torch.ao.quantization.quantize_dynamic(tiny_network(), {nn.Linear}))


def _scripted() -> nn.Module:
    return _quietly(lambda: torch.jit.script(tiny_network()))


KINDS = [
    Kind("classifier", tiny_network),
    Kind("gray images", lambda: tiny_network(1), (1, 16, 16)),
    Kind("12 channels", lambda: tiny_network(12), (12, 16, 16)),
    Kind("images that are not square", tiny_network, (3, 16, 24)),
    Kind("a single score", lambda: tiny_network(n_classes=1)),
    Kind("several labels (`multilabel=True`)", tiny_network, multilabel=True),
    Kind("softmax at the end", _ending_in(nn.Softmax(1))),
    Kind("log-softmax at the end", _ending_in(nn.LogSoftmax(1))),
    Kind("activations other than ReLU", _without_relu),
    Kind("no feature maps (dense layers)", _dense),
    Kind("segmentation, `Region`", Segmenter, target=Region(1)),
    Kind("detector, `Detection`", Detector, target=Detection((0, 0, 8, 8), 1)),
    Kind("a dict, a callable as target", Named, target=lambda output: output["out"][:, 1]),
    Kind("vision transformer", tiny_transformer),
    Kind("windowed transformer (Swin)", _windowed),
    Kind("float16", lambda: tiny_network().half()),
    Kind("bfloat16", lambda: tiny_network().bfloat16()),
    Kind("TorchScript", _scripted),
    Kind("int8", _quantized),
    Kind("no gradients inside", WithoutGradients),
    Kind("images of a batch mixed (LSTM)", Recurrent),
    Kind("other scores in every run", Random),
]


def wrapped(kind: Kind) -> Model:
    """A network of this kind; random weights, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Model(kind.network().eval(), name="the network", multilabel=kind.multilabel)


def inputs(kind: Kind) -> torch.Tensor:
    """Two inputs of this kind."""
    return torch.randn(2, *kind.shape, generator=torch.Generator().manual_seed(2))


def outcomes(kind: Kind) -> dict[str, str]:
    """Of each method "", or the reason why it does not fit. Any other error than convscope's own is raised."""
    model, x = wrapped(kind), inputs(kind)
    found: dict[str, str] = {}
    for name, method in ATTRIBUTIONS.items():
        try:
            result = method(model, x, target=kind.target, **OPTIONS.get(name, {}))
        except ConvscopeError as error:
            found[name] = str(error)
            continue
        found[name] = ""
        assert result.values.shape == (2, *kind.shape[1:]), (kind.name, name)
        assert np.isfinite(result.values).all(), (kind.name, name)
    return found


def _plainly(reason: str, method: str) -> str:
    """A reason without the name of the method, and without the operations that differ between machines."""
    return re.sub(r" \(TorchScript\?[^)]*\)", "", re.sub(rf"^{method} has", "the method has", reason))


def page(found: dict[str, dict[str, str]]) -> str:
    """The page in Markdown from the outcomes by kind; methods that fit the same kinds share a column."""
    fits = {name: tuple(not of[name] for of in found.values()) for name in ATTRIBUTIONS}
    groups = {column: [name for name in fits if fits[name] == column] for column in dict.fromkeys(fits.values())}
    reasons: dict[str, int] = {}
    rows = []
    for kind, of in found.items():
        cells = []
        for names in groups.values():
            why = dict.fromkeys(_plainly(of[name], name) for name in names if of[name])
            numbers = [str(reasons.setdefault(reason, len(reasons) + 1)) for reason in why]
            cells.append(f"no ({', '.join(numbers)})" if numbers else "yes")
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    head = " | ".join(", ".join(f"`{name}`" for name in names) for names in groups.values())
    listed = "\n".join(f"{n}. {reason.replace('|', ' ')}" for reason, n in reasons.items())
    return _PAGE.format(head=head, line="|---" * (len(groups) + 1) + "|", rows="\n".join(rows), reasons=listed)


_PAGE = """# Which methods fit which networks

The tests run every method over a small network of each kind, and make this table from what came of it. A method
either gives a finite map of the right shape, or an error that says why it does not fit. Where a map is less than
its method promises, a note in the result says so: guided backprop of a network without ReLU is the plain gradient.
For your own network, `model.summary()` and `convscope inspect` say all this; see
[your own network](your-own-network.md).

| network | {head} |
{line}
{rows}

Why not, in the words of the errors:

{reasons}
"""

if __name__ == "__main__":
    PAGE.write_text(page({kind.name: outcomes(kind) for kind in KINDS}), encoding="utf-8")
