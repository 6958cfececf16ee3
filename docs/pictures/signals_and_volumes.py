"""Draw the pictures of docs/signals-and-volumes.md, and that of several inputs: small networks, trained here.

python docs/pictures/signals_and_volumes.py
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torch.nn import functional

from convscope import Model, grad_cam, integrated_gradients, occlusion
from convscope.render import figure

HERE = Path(__file__).parent


def beats(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Signals (n, 1, 160) of five beats in noise; those of class 1 have one beat that is too wide."""
    time = torch.arange(160.0)
    labels = torch.randint(2, (n,), generator=generator)
    x = 0.08 * torch.randn(n, 1, 160, generator=generator)
    for i in range(n):
        odd = int(torch.randint(5, (), generator=generator)) if labels[i] else -1
        shift = float(torch.rand((), generator=generator)) * 8
        for beat in range(5):
            width = 5.0 if beat == odd else 1.5
            x[i, 0] += torch.exp(-(((time - 16 - 31 * beat - shift) / width) ** 2))
    return x, labels


def balls(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Volumes (n, 1, 16, 24, 24) of noise; those of class 1 have a bright ball, those of class 0 a flat disk."""
    places = torch.stack(torch.meshgrid(*(torch.arange(float(s)) for s in (16, 24, 24)), indexing="ij"))
    labels = torch.randint(2, (n,), generator=generator)
    x = 0.25 * torch.randn(n, 1, 16, 24, 24, generator=generator)
    for i in range(n):
        center = torch.tensor([4.0, 5.0, 5.0]) + torch.rand(3, generator=generator) * torch.tensor(
            [7.0, 13.0, 13.0]
        )
        axes = torch.tensor([3.0, 3.0, 3.0]) if labels[i] else torch.tensor([1.0, 4.5, 4.5])
        x[i, 0] += ((((places - center[:, None, None, None]) / axes[:, None, None, None]) ** 2).sum(0) < 1).float()
    return x, labels


class Patient(nn.Module):
    """Of a photo, two leads and five numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten())
        self.ear = nn.Sequential(nn.Conv1d(2, 6, 9, padding=4), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten())
        self.head = nn.Linear(32 + 6 + 5, 2)

    def forward(self, photo: torch.Tensor, ecg: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(torch.cat([self.eye(photo), self.ear(ecg), meta], dim=1))
        return scores


def patients(n: int, generator: torch.Generator) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Those of class 1 have a red spot on the photo, a beat that is too wide, and a large last number; or some."""
    first, labels = beats(n, generator)
    second, _ = beats(n, generator)
    photo = 0.3 * torch.rand(n, 3, 48, 48, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    for i in range(n):
        row, column = 8 + 32 * torch.rand(2, generator=generator)
        spot = ((rows - row) ** 2 + (columns - column) ** 2 < 25).float()
        photo[i, 0 if labels[i] else 2] += 0.6 * spot
    meta = torch.rand(n, 5, generator=generator)
    meta[:, 4] += 0.7 * labels
    return {"photo": photo, "ecg": torch.cat([first, 0.5 * second], dim=1), "meta": meta}, labels


def trained(net: nn.Module, data: object, steps: int) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(steps):
        x, labels = data(32, generator)  # type: ignore[operator]
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(**x) if isinstance(x, dict) else net(x), labels)
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")
    return net.eval()


def write(drawing: Figure, name: str) -> None:
    buffer = io.BytesIO()
    drawing.savefig(buffer, dpi=85, bbox_inches="tight", pad_inches=0.15, facecolor="white")
    Image.open(buffer).convert("RGB").save(HERE / f"{name}.jpg", quality=88)


def main() -> None:
    torch.manual_seed(0)
    signal_net = nn.Sequential(
        nn.Conv1d(1, 8, 9, padding=4), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 16, 9, padding=4), nn.ReLU(),
        nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip
    trained(signal_net, beats, 150)
    x, labels = beats(8, torch.Generator().manual_seed(1))
    odd = x[labels == 1][:2]
    write(figure(occlusion(signal_net, odd, target=1, window=12, stride=3)), "signal")

    volume_net = nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 12, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(12, 2),
    )  # fmt: skip
    trained(volume_net, balls, 40)
    x, labels = balls(8, torch.Generator().manual_seed(1))
    ball = x[labels == 1][:1]
    found = occlusion(volume_net, ball, target=1, window=6, stride=2)
    write(figure(found), "volume")
    write(figure(grad_cam(volume_net, ball, target=1, layer="3"), as_video=True), "video")

    patient_net = trained(Patient(), patients, 60)
    given, labels = patients(6, torch.Generator().manual_seed(3))
    some = {name: values[labels == 1][:2] for name, values in given.items()}
    model = Model(patient_net, inputs={name: torch.zeros_like(values[:1]) for name, values in some.items()})
    write(figure(integrated_gradients(model, some, target=1, baseline=0.0)), "inputs")


if __name__ == "__main__":
    main()
