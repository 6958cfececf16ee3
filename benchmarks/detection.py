"""Maps of detectors and a segmenter: D-RISE against the plain loop, occlusion on parts against whole runs.

    python benchmarks/detection.py            # a few minutes
    python benchmarks/detection.py --size 640 --rounds 3

The networks have random weights. The YOLO-like one has three heads of strides 8, 16 and 32: 525 anchors at 160 px,
8400 at 640. The SSD-like one has the same body and four anchors at each place; the segmenter works on maps of a
quarter and an eighth of the image's size. All runs are made in turn, in one process with two threads. "Loop" is
D-RISE as one would write it down: a mask at a time, and for each mask an anchor at a time, with torchvision's
box_iou. "Mask by mask" takes all anchors of a mask at once. All give the same map.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torchvision.ops import box_iou

from convscope import Detection, Region, Several, detections, occlusion, rise
from convscope.attribution.rise import random_masks
from interleaved import HEADER, interleaved, row

K = 20


class YoloLike(nn.Module):
    """A head (N, 4 + K, A) over three maps."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        widths = [3, width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.SiLU(),
                nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.SiLU(),
            )
            for i, o in pairwise(widths)
        )  # fmt: skip
        self.heads = nn.ModuleList(nn.Conv2d(o, 4 + K, 1) for o in widths[3:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = []
        for n, stage in enumerate(self.stages):
            x = stage(x)
            if n >= 2:
                found.append(self._decoded(self.heads[n - 2](x), 2 ** (n + 1)).flatten(2))
        return torch.cat(found, dim=2)

    def _decoded(self, raw: torch.Tensor, stride: int) -> torch.Tensor:
        rows, columns = (torch.arange(n, dtype=raw.dtype) for n in raw.shape[2:])
        cx = (raw[:, 0].sigmoid() + columns) * stride
        cy = (raw[:, 1].sigmoid() + rows[:, None]) * stride
        boxes = torch.cat([torch.stack([cx, cy], dim=1), raw[:, 2:4].exp() * 2 * stride], dim=1)
        return torch.cat([boxes, raw[:, 4:].sigmoid()], dim=1)


class SsdLike(YoloLike):
    """Heads as torchvision's SSD has them, with ReLU in place of SiLU."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(width)
        for stage in self.stages:
            stage[2] = stage[5] = nn.ReLU()
        outputs = [head.in_channels for head in self.heads]
        self.classes = nn.ModuleList(nn.Conv2d(o, 4 * (K + 1), 3, padding=1) for o in outputs)
        self.boxes = nn.ModuleList(nn.Conv2d(o, 4 * 4, 3, padding=1) for o in outputs)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        logits, regressed, anchors = [], [], []
        for n, stage in enumerate(self.stages):
            x = stage(x)
            if n >= 2:
                logits.append(self._by_anchor(self.classes[n - 2](x), K + 1))
                regressed.append(self._by_anchor(self.boxes[n - 2](x), 4))
                anchors.append(self._anchors(x.shape[2:], 2 ** (n + 1)))
        return {
            "cls_logits": torch.cat(logits, dim=1),
            "bbox_regression": torch.cat(regressed, dim=1),
            "anchors": torch.cat(anchors),
        }

    def _by_anchor(self, found: torch.Tensor, n_values: int) -> torch.Tensor:
        return found.unflatten(1, (4, n_values)).flatten(3).permute(0, 3, 1, 2).flatten(1, 2)

    def _anchors(self, places: torch.Size, stride: int) -> torch.Tensor:
        rows, columns = (stride * (torch.arange(n) + 0.5) for n in places)
        center = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], dim=-1)
        half = stride * torch.tensor([[1.0, 1.0], [1.5, 1.5], [2.0, 1.0], [1.0, 2.0]])
        return torch.cat([center[:, :, None] - half, center[:, :, None] + half], dim=-1).reshape(-1, 4)


class Segmenter(nn.Module):
    """Scores (N, K, H, W) from maps of a quarter of the image's size, with a wider view from maps of an eighth."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)

        def block(i: int, o: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(i, o, 3, stride, padding=1), nn.BatchNorm2d(o), nn.ReLU())

        self.near = nn.Sequential(block(3, width, 2), block(width, width, 1), block(width, 2 * width, 2))
        self.far = nn.Sequential(block(2 * width, 2 * width, 2), block(2 * width, 2 * width, 1))
        self.head = nn.Sequential(block(4 * width, 2 * width, 1), nn.Conv2d(2 * width, K, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        near = self.near(x)
        far = nn.functional.interpolate(self.far(near), near.shape[2:], mode="nearest")
        found = self.head(torch.cat([near, far], dim=1))
        return {"out": nn.functional.interpolate(found, x.shape[2:], mode="bilinear")}


def corners(output: torch.Tensor) -> torch.Tensor:
    """(N, 4 + K, A) -> (N, A, 4)"""
    center, sides = output[:, :2].mT, output[:, 2:4].mT
    return torch.cat([center - sides / 2, center + sides / 2], dim=2)


def drise(net: nn.Module, x: torch.Tensor, target: Detection, n_masks: int, by_anchor: bool) -> np.ndarray:
    """The plain loop: the mean of the masks weighted by their scores, minus the mean score's share."""
    box, total, scores = torch.tensor([target.box]), torch.zeros(x.shape[2:]), []
    masks = random_masks(n_masks, 7, 0.5, tuple(x.shape[2:]), 0, like=x)
    with torch.no_grad():
        for m in range(n_masks):
            mask = masks(m, m + 1)
            output = net(x * mask)
            boxes, of_class = corners(output)[0], output[0, 4 + target.target]
            if by_anchor:
                best = 0.0
                for a in range(len(boxes)):
                    best = max(best, float(box_iou(box, boxes[a : a + 1]) * of_class[a]))
            else:
                best = float((box_iou(box, boxes)[0] * of_class).max())
            scores.append(best)
        for m, score in enumerate(scores):
            total += (score - np.mean(scores)) * masks(m, m + 1)[0]
    return total.numpy() / (n_masks * 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--n-masks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    net, n = YoloLike().eval(), options.n_masks
    x = torch.randn(1, 3, options.size, options.size)
    found = detections(net, x, read="yolov8", min_score=0.0, limit=5)
    first, five = found[0], Several(*found)
    maps: dict[str, np.ndarray] = {}

    def keep(name: str, values: np.ndarray) -> None:
        maps[name] = values

    ssd, segmenter = SsdLike().eval(), Segmenter().eval()
    box = detections(ssd, x, read="ssd", min_score=0.0, limit=1)[0]
    with torch.no_grad():
        most = int(segmenter(x)["out"].argmax(dim=1).flatten().bincount().argmax())
    explained = {"YOLO-like": (net, first), "SSD-like": (ssd, box), "segmenter": (segmenter, Region(most))}

    def occluded(kind: str, engine: str) -> Callable[[], None]:
        of, target = explained[kind]
        options = {"target": target, "window": 16, "stride": 16, "engine": engine}
        return lambda: keep(f"{kind}, {engine}", occlusion(of, x, **options).values[0])

    times = interleaved(
        {
            "ours": lambda: keep("ours", rise(net, x, target=first, n_masks=n).values[0]),
            "five": lambda: rise(net, x, target=five, n_masks=n),
            "by mask": lambda: keep("by mask", drise(net, x, first, n, by_anchor=False)),
            "by anchor": lambda: keep("by anchor", drise(net, x, first, n, by_anchor=True)),
            **{f"{kind}, {way}": occluded(kind, way) for kind in explained for way in ("incremental", "dense")},
        },
        options.rounds,
    )
    with torch.no_grad():
        print(f"{net(x).shape[2]} anchors, {n} masks, {options.rounds} rounds, {torch.get_num_threads()} threads")
    print(HEADER)
    print(row("D-RISE, loop over masks and anchors", times, "ours", "by anchor", 0.2))
    print(row("D-RISE, mask by mask", times, "ours", "by mask", 1.0))
    print(row("five detections, against one", times, "five", "ours", 1.5))
    pairs = [("ours", "by anchor"), ("ours", "by mask")]
    for kind in explained:
        pairs.append((f"{kind}, incremental", f"{kind}, dense"))
        print(row(f"occlusion 16/16 on parts, {kind}", times, *pairs[-1], 0.8))
    for ours, peer in pairs:
        off = np.abs(maps[ours] - maps[peer]).max() / np.abs(maps[peer]).max()
        print(f"{ours} and {peer} differ by {off:.0e} of the largest value")


if __name__ == "__main__":
    main()
