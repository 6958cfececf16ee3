"""A click on a segmentation map: the connected region around it, against a flood fill written here."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope import ModelError, ParameterError, Region, TargetError, occlusion, saliency
from convscope.models import Model


class Painted(nn.Module):
    """Scores (N, K, h, w) that are the image's channels, doubled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def flooded(mask: np.ndarray, row: int, column: int) -> np.ndarray:
    """The pixels that can be reached over the sides of pixels."""
    found, todo = np.zeros_like(mask), [(row, column)]
    while todo:
        r, c = todo.pop()
        if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c] and not found[r, c]:
            found[r, c] = True
            todo += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return found


@pytest.mark.parametrize("target", [None, "given"])
def test_a_click_is_the_sum_over_the_region_that_a_flood_fill_finds(target: Any) -> None:
    x = torch.randn(3, 3, 12, 10)
    x = functional.avg_pool2d(x, 3, 1, 1)  # so that regions have several pixels
    classes = x.argmax(dim=1).numpy()
    sizes = set()
    for row, column in [(0, 0), (5, 5), (11, 9), (3, 8)]:
        for n in range(3):
            index = int(classes[n, row, column])
            region = Region.at((row, column), None if target is None else index)
            found = saliency(Painted(), x[n : n + 1], target=region, kind="signed")
            mask = flooded(classes[n] == index, row, column)
            sizes.add(int(mask.sum()))
            np.testing.assert_array_equal(found.values[0], 2.0 * mask)
            expected = 2 * x[n, index].numpy()[mask].sum()
            np.testing.assert_allclose(found.scores, expected, rtol=0, atol=1e-4)
            assert found.targets == (f"class {index} at row {row}, column {column}",)
    assert len(sizes) > 3
    assert max(sizes) > 4


def test_each_image_has_its_own_class_at_the_click() -> None:
    x = torch.zeros(2, 3, 6, 6)
    x[0, 1, :3, :3], x[1, 2, 1:5, 1:5], x[0, 1, 3, 3] = 1.0, 1.0, 1.0  # (3, 3) touches by its corner alone
    model = Model(Painted(), labels=["ground", "cat", "dog"])
    found = saliency(model, x, target=Region.at((2, 2)), kind="signed")
    assert found.targets == ("cat at row 2, column 2", "dog at row 2, column 2")
    np.testing.assert_array_equal(
        found.values, [2.0 * (x[0, 1] > 0) * (torch.arange(36).view(6, 6) != 21), 2.0 * (x[1, 2] > 0)]
    )
    assert found.scores.tolist() == [18, 32]
    assert found.provenance.parameters["target"] == "the class at row 2, column 2"
    alone = occlusion(model, x[1:], target=Region.at((2, 2), "dog"), window=1, stride=1)
    np.testing.assert_array_equal(alone.values[0], 2 * x[1, 2])


def test_a_network_with_one_class_has_it_where_its_score_is_positive() -> None:
    x = -torch.ones(1, 1, 5, 5)
    x[0, 0, 1:3, 1:3], x[0, 0, 4, 4] = 3.0, 1.0
    found = saliency(Painted(), x, target=Region.at((1, 2)), kind="signed")
    assert found.scores == 24
    with pytest.raises(TargetError, match=r"point=\(0, 0\): the network sees nothing there"):
        saliency(Painted(), x, target=Region.at((0, 0)))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Region.at((12, 0)), TargetError, r"point=\(12, 0\): the network's output has \(12, 10\) pixels"),
        (lambda: Region.at((0, 0), 9), TargetError, "the network has classes 0 to 2"),
        (lambda: Region.at((0, 0), 1), TargetError, "class 1 at row 0, column 0: the pixel is not predicted"),
        (lambda: Region.at((-1, 0)), ParameterError, "point"),
        (lambda: Region.at((0, 0, 0)), ParameterError, "point"),
        (lambda: Region(1, point=(0, 0, 0)), TargetError, r"expected \(row, column\)"),
        (lambda: Region(1, np.ones((12, 10)), point=(0, 0)), TargetError, "a mask or a point, not both"),
        (lambda: Region(None), TargetError, "expected a class index or a label"),
    ],
)
def test_what_is_no_click_is_refused(make: Any, error: Any, says: str) -> None:
    x = torch.zeros(1, 3, 12, 10)
    x[:, 2] = 1.0
    with pytest.raises(error, match=says):
        saliency(Painted(), x, target=make())


# A segmenter that is trained here

SQUARE, CROSS = 1, 2


def drawn(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, 32, 32) of a bright square on one side and a bright cross on the other; classes per pixel."""
    rng = np.random.default_rng(seed)
    images, classes = rng.normal(0, 0.2, (n, 1, 32, 32)), np.zeros((n, 32, 32), int)
    rows, columns = np.mgrid[:32, :32]
    for i in range(n):
        kinds = rng.permutation([SQUARE, CROSS])
        for kind, side in zip(kinds, (8, 24), strict=True):
            down = np.abs(rows - rng.integers(7, 25))
            across = np.abs(columns - side + rng.integers(-2, 3))
            inside = (down < 6) & (across < 6) & (True if kind == SQUARE else np.minimum(down, across) < 2)
            images[i, 0][inside] += 1.0
            classes[i][inside] = kind
    return torch.tensor(images, dtype=torch.float32), torch.tensor(classes)


@functools.cache
def trained() -> nn.Module:
    """A segmenter, trained for some seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        widths, layers = [1, 12, 12, 12], []
        for (before, after), gap in zip(itertools.pairwise(widths), (1, 2, 2), strict=True):
            layers += [
                nn.Conv2d(before, after, 5, padding=2 * gap, dilation=gap),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        net = nn.Sequential(*layers, nn.Conv2d(12, 3, 1))
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        x, classes = drawn(256, 0)
        for first in range(0, 256 * 10, 32):
            rows = slice(first % 256, first % 256 + 32)
            loss = functional.cross_entropy(net(x[rows]), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize("method", [saliency, occlusion])
def test_the_map_of_a_clicked_object_points_at_it_and_not_at_the_other(method: Any) -> None:
    net = trained()
    x, classes = drawn(12, 1)
    assert (net(x).argmax(dim=1) == classes).float().mean() > 0.98
    options: dict[str, Any] = {"kind": "input_x_gradient"} if method is saliency else {"window": 5, "stride": 2}
    n_hits, elsewhere = 0, []
    for image, truth in zip(x, classes.numpy(), strict=True):
        for kind in (SQUARE, CROSS):
            row, column = np.argwhere(truth == kind).mean(axis=0).round().astype(int)
            found = method(net, image[None], target=Region.at((row, column)), **options)
            assert found.targets == (f"class {kind} at row {row}, column {column}",)
            (values,) = found.values
            n_hits += truth[np.unravel_index(values.argmax(), values.shape)] == kind
            elsewhere.append(np.abs(values[truth == 3 - kind]).sum() / np.abs(values).sum())
    assert n_hits >= 22  # of 24
    assert np.mean(elsewhere) < 0.1


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda maps: {"out": maps, "aux": -maps},
        lambda maps: {"loss": maps.mean(), "logits": maps, "hidden_states": (maps[:, :2],)},
        lambda maps: (maps, maps.flatten(1)),
    ],
)
def test_a_segmentation_map_is_found_among_the_outputs(wrapped: Any) -> None:
    class Wrapped(Painted):
        def forward(self, x: torch.Tensor) -> Any:
            return wrapped(super().forward(x))

    x = functional.avg_pool2d(torch.randn(1, 3, 12, 10), 3, 1, 1)
    plain, found = (saliency(net, x, target=Region.at((4, 5))) for net in (Painted(), Wrapped()))
    assert np.array_equal(plain.values, found.values)
    assert plain.scores.tolist() == found.scores.tolist()


def test_of_several_maps_one_has_to_be_named() -> None:
    class Two(Painted):
        def forward(self, x: torch.Tensor) -> Any:  # type: ignore[override]
            return {"near": super().forward(x), "far": -super().forward(x)}

    with pytest.raises(ModelError, match=r"near: float32 \(1, 3, 8, 8\).*name it: Model\(\.\.\., output=\)"):
        saliency(Two(), torch.randn(1, 3, 8, 8), target=Region(1))
    assert saliency(Model(Two(), output="far"), torch.randn(1, 3, 8, 8), target=Region(1)).values.shape == (
        1,
        8,
        8,
    )
