"""Targets that are more than a class: each against its definition, and with the methods that explain it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from tests.conftest import tiny_network
from tests.incremental.networks import lively
from torch import nn
from torch.testing import assert_close

from convscope import (
    ATTRIBUTIONS,
    Attribution,
    Contrast,
    Detection,
    LayerError,
    ModelError,
    ParameterError,
    Region,
    Several,
    SimilarTo,
    TargetError,
    grad_cam,
    integrated_gradients,
    occlusion,
    rise,
    saliency,
)
from convscope.attribution.rise import random_masks
from convscope.models import Model
from convscope.targets import describe, resolve

WINDOWS: dict[str, Any] = {"window": 8, "stride": 8}
OPTIONS: dict[str, dict[str, Any]] = {
    "saliency": {"kind": "signed"},
    "occlusion": WINDOWS,
    "integrated_gradients": {"n_steps": 4},
    "grad_cam": {"kind": "signed"},
    "rise": {"n_masks": 12},
}
METHODS = [pytest.param(ATTRIBUTIONS[name], id=name) for name in OPTIONS]


def run(method: Callable[..., Attribution], *args: Any, **options: Any) -> Attribution:
    return method(*args, **OPTIONS[method.__name__], **options)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16)


class Segmenter(nn.Module):
    """Two convolutions to a map (N, 3, 8, 8), as it is or as torchvision wraps it."""

    def __init__(self, wrapped: bool) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True))
            self.head = nn.Conv2d(4, 3, 1)
        self.wrapped = wrapped

    def forward(self, x: torch.Tensor) -> Any:
        maps = self.head(self.body(x))
        return {"out": maps, "aux": maps.sum()} if self.wrapped else maps


class Detector(nn.Module):
    """Finds a box of class 1, one of class 2 and none else; their scores and right sides depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_network()

    def forward(self, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        found = []
        for row in self.net(x):
            corners = torch.tensor([[0.0, 0, 8, 8], [4, 4, 12, 12], [2, 0, 10, 8]])
            corners = corners + row.sigmoid()[:, None] * torch.tensor([0.0, 0, 1, 0])
            found.append(
                {"boxes": corners, "labels": torch.tensor([1, 2, 1]), "scores": 0.5 + 0.3 * row.sigmoid()}
            )
        return found


# Contrast


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_a_contrast_is_the_difference_of_the_maps(
    method: Callable[..., Attribution], tiny: Model, x: torch.Tensor
) -> None:
    both, one, other = (run(method, tiny, x, target=t) for t in (Contrast("a", 2), 0, 2))
    np.testing.assert_allclose(both.values, one.values - other.values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(both.scores, one.scores - other.scores, rtol=0, atol=1e-6)
    assert both.targets == ("a rather than c",) * 2
    assert both.provenance.parameters["target"] == "a rather than 2"


def test_a_contrast_of_probabilities_is_their_difference(tiny: Model, x: torch.Tensor) -> None:
    found = saliency(tiny, x, target=Contrast(0, 1), kind="signed", score="probability")
    one, other = (saliency(tiny, x, target=t, kind="signed", score="probability").values for t in (0, 1))
    np.testing.assert_allclose(found.values, one - other, rtol=0, atol=1e-6)


def test_contrasts_may_be_one_an_image(tiny: Model, x: torch.Tensor) -> None:
    pairs = [Contrast("a", "b"), Contrast(2, "a")]
    found = occlusion(tiny, x, target=pairs, **WINDOWS)
    assert found.targets == ("a rather than b", "c rather than a")
    assert found.provenance.parameters["target"] == ("a rather than b", "2 rather than a")
    for i, pair in enumerate(pairs):
        alone = occlusion(tiny, x[i : i + 1], target=pair, **WINDOWS)
        np.testing.assert_allclose(found.values[i], alone.values[0], rtol=0, atol=1e-6)


def test_rows_may_be_variants_of_a_single_image() -> None:
    output = torch.tensor([[0.0, 1, 5], [7.0, 2, 3]])
    targets = resolve([Contrast(0, 1), Contrast(0, 2)], output, None)
    assert targets.of(output).tolist() == [[-1], [4]]
    assert resolve([Contrast(0, 1)], output[:1], None).of(output).tolist() == [[-1], [5]]
    assert resolve([Contrast(0, 2)], output[:1], None).of(output).tolist() == [[-5], [4]]
    several = resolve(Several(1, Contrast(0, 2)), output[:1], None)
    assert several.of(output).tolist() == [[1, -5], [2, 4]]
    assert several.n_each == 2


def test_a_network_without_labels_names_classes_by_number(x: torch.Tensor) -> None:
    assert saliency(tiny_network(), x, target=Contrast(1, 0)).targets == ("class 1 rather than class 0",) * 2


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ([Contrast(0, 1), 2], "mixes contrasts and plain classes"),
        (Contrast(0, 3), "classes 0 to 2"),
        (Contrast("a", "z"), "no class has the label 'z'"),
        (Contrast("a", None), "expected a class index or a label"),  # type: ignore[arg-type]
        (Contrast(Contrast(0, 1), 2), "expected a class index or a label"),  # type: ignore[arg-type]
        ([Contrast(0, 1)], "1 target for 2 images"),
        ([Region(0), Region(1)], "a Region holds for all of them"),
        ([Several(0), Several(1)], "expected a class index or a label"),
    ],
)
def test_what_is_no_pair_of_classes_is_refused(target: Any, says: str, tiny: Model, x: torch.Tensor) -> None:
    with pytest.raises(TargetError, match=says):
        saliency(tiny, x, target=target)


# Several


def of_all(output: torch.Tensor) -> torch.Tensor:
    return output.sum(dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_several_targets_are_those_one_by_one_image_after_image(
    method: Callable[..., Attribution], tiny: Model, x: torch.Tensor
) -> None:
    every = (Contrast("b", "a"), of_all, "c", 0)
    found = run(method, tiny, x, target=Several(*every))
    alone = [run(method, tiny, x, target=target) for target in every]
    assert found.targets == ("b rather than a", "of_all", "c", "a") * 2
    assert found.names == ("image 0",) * 4 + ("image 1",) * 4
    assert found.provenance.parameters["target"] == "b rather than a; of_all; c; 0"
    expected = np.stack([one.values for one in alone], axis=1).reshape(found.values.shape)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6)
    scores = np.stack([one.scores for one in alone], axis=1).reshape(-1)
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-6)
    assert np.array_equal(found.images, alone[0].images.repeat(4, axis=0))


@pytest.mark.parametrize("method", METHODS)
def test_several_targets_take_the_forward_passes_of_one(
    method: Callable[..., Attribution], tiny: Model, x: torch.Tensor
) -> None:
    counted: list[int] = []
    tiny.module.register_forward_hook(lambda _, given, output: counted.append(len(output)))
    tiny.layers()  # looked at once, and remembered
    rows = []
    for target in (0, Several(0, 1, Contrast(0, 2))):
        counted.clear()
        run(method, tiny, x, target=target)
        rows.append(list(counted))
    assert rows[0] == rows[1]


def test_several_accepts_what_an_array_holds(tiny: Model, x: torch.Tensor) -> None:
    best = torch.tensor([2, 0])
    found = saliency(tiny, x, target=Several(*best))
    assert found.targets == ("c", "a") * 2
    assert found.provenance.parameters["target"] == "2; 0"
    assert saliency(tiny, x, target=Several(*best.numpy())).targets == found.targets


@pytest.mark.parametrize(
    "targets",
    [
        (),
        (None,),
        (0, Several(1)),
        (0, SimilarTo(np.zeros((16, 16, 3)))),
        (0, [1, 2]),
        ((0, 1),),
        (np.array([0, 1]),),
        ({0},),
    ],
)
def test_several_refuses_what_is_not_one_target(targets: tuple[Any, ...]) -> None:
    with pytest.raises(TargetError, match="Several: give one or more"):
        Several(*targets)


def test_a_target_among_several_is_checked_as_any(tiny: Model, x: torch.Tensor) -> None:
    with pytest.raises(TargetError, match="classes 0 to 2"):
        saliency(tiny, x, target=Several(0, 3))
    with pytest.raises(TargetError, match="one score per row"):
        saliency(tiny, x, target=Several(0, lambda out: out))
    with pytest.raises(ParameterError, match="'probability' has no meaning for of_all"):
        saliency(tiny, x, target=Several(0, of_all), score="probability")


# Region


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_region_is_the_sum_of_a_class_over_its_pixels(
    method: Callable[..., Attribution], wrapped: bool, x: torch.Tensor
) -> None:
    """As a callable that sums over the same pixels, which does not know of segmentation."""
    net = Segmenter(wrapped)
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:] = True
    found = run(method, net, x, target=Region(1, mask))

    def summed(output: Any) -> torch.Tensor:
        return (output["out"] if wrapped else output)[:, 1, 2:5, 3:].sum(dim=(1, 2))

    expected = run(method, net, x, target=summed)
    assert expected.values.any()
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.scores, summed(net(x)).detach(), rtol=0, atol=1e-5)
    assert found.targets == ("class 1 in a region",) * 2


@pytest.mark.parametrize("method", METHODS)
def test_by_default_a_region_is_where_the_class_is_seen_in_the_whole_image(
    method: Callable[..., Attribution], x: torch.Tensor
) -> None:
    model = Model(Segmenter(True), labels=["sky", "tree", "road"])
    seen = model.module(x)["out"].argmax(dim=1) == 1
    assert 0 < seen[0].sum() < 64
    assert not torch.equal(seen[0], seen[1])
    found = run(method, model, x, target=Region("tree"))
    assert found.targets == ("tree, where it is seen",) * 2
    for i in range(2):
        alone = run(method, model, x[i : i + 1], target=Region("tree", seen[i]))
        np.testing.assert_allclose(found.values[i], alone.values[0], rtol=0, atol=1e-5)


def test_the_pixels_of_a_region_stay_where_a_window_takes_the_class_away() -> None:
    """The network gives a pixel to class 1 where it is bright; where it is hidden it is still summed."""

    class Bright(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x.new_full(x.shape, 0.5), x], dim=1)

    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, :2, :2] = torch.tensor([[1.0, 2], [3, 4]])
    image[0, 0, 3, 3] = 0.4  # not given to the class
    found = occlusion(Bright(), image, target=Region(1), window=1, stride=1)
    assert found.scores[0] == 10
    expected = image[0, 0].clone()
    expected[3, 3] = 0
    assert_close(torch.tensor(found.values[0]), expected)
    gradient = saliency(Bright(), image, target=Region(1), kind="signed").values[0]
    assert np.array_equal(gradient, (expected > 0).float().numpy())


@pytest.mark.parametrize("form", [list, np.uint8, torch.tensor])
def test_a_mask_may_have_many_forms(form: Any, x: torch.Tensor) -> None:
    mask = np.eye(8, dtype=bool)
    given = {list: mask.tolist(), np.uint8: mask.astype(np.uint8) * 255, torch.tensor: torch.tensor(mask)}[form]
    expected = saliency(Segmenter(False), x, target=Region(1, mask)).values
    assert np.array_equal(saliency(Segmenter(False), x, target=Region(1, given)).values, expected)


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        (
            Region(1, np.ones((16, 16))),
            TargetError,
            r"a mask of shape \(16, 16\) for a segmentation map of \(8, 8\)",
        ),
        (Region(1, np.ones(8)), TargetError, r"a mask of shape \(8,\)"),
        (Region(1, np.zeros((8, 8))), TargetError, "the mask has no pixel"),
        (Region(3), TargetError, "the network has classes 0 to 2"),
        (Region(-1, np.ones((8, 8))), TargetError, "the network has classes 0 to 2"),
        (Region("tree"), TargetError, "no labels"),
        (Region(None), TargetError, "expected a class index or a label"),  # type: ignore[arg-type]
        (Region(True), TargetError, "expected a class index or a label"),
    ],
)
def test_what_is_no_region_is_refused(target: Any, error: Any, says: str, x: torch.Tensor) -> None:
    with pytest.raises(error, match=says):
        saliency(Segmenter(False), x, target=target)


def test_a_region_needs_pixels_and_a_segmentation_map(tiny: Model, x: torch.Tensor) -> None:
    never = Segmenter(False)
    never.head.bias.data[2] = -1e3
    with pytest.raises(TargetError, match=r"class 2, .*an image has no pixel predicted as this class"):
        saliency(never, x, target=Region(2))
    with pytest.raises(ModelError, match=r"float32 \(2, 3\); a Region needs one segmentation map"):
        saliency(tiny, x, target=Region(1))
    with pytest.raises(ModelError, match=r"0\.boxes: float32 .*; a Region needs"):
        saliency(Detector(), x, target=Region(1))
    with pytest.raises(ModelError, match="2 labels for a network with 3 classes"):
        saliency(Model(Segmenter(False), labels=["a", "b"]), x, target=Region("a"))
    with pytest.raises(ParameterError, match="'probability' has no meaning for 1, where it is seen"):
        saliency(Segmenter(False), x, target=Region(1), score="probability")


@pytest.mark.slow
def test_a_segmentation_network_of_torchvision() -> None:
    """In float64, so that no rounding puts a unit on the other side of its kink."""
    net = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    net = net.double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    maps = net(x.requires_grad_())["out"]
    seen = maps.argmax(dim=1)[0]
    index = int(seen.mode().values.mode().values)
    (expected,) = torch.autograd.grad((maps[0, index] * (seen == index)).sum(), x)
    found = saliency(net, x.detach(), target=Region(index), kind="signed").values
    scale = float(expected.abs().max())
    assert_close(torch.tensor(found), expected.sum(1).float(), rtol=0, atol=1e-6 * scale)
    whole = occlusion(net, x.detach(), target=Region(index), window=64, stride=64)
    with torch.no_grad():
        blank = net(torch.zeros_like(x))["out"][0, index]
    change = float(whole.scores[0] - (blank * (seen == index)).sum())
    np.testing.assert_allclose(whole.values, change, rtol=1e-4)


class Instances(nn.Module):
    """Finds three instances, of classes 1, 2 and 1, whose masks and scores depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Segmenter(False)

    def forward(self, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        found = []
        for maps in self.net(x):
            masks = nn.functional.interpolate(maps[None], (16, 16), mode="bilinear")[0].sigmoid()
            scores = 0.5 + 0.4 * masks.mean(dim=(1, 2))
            found.append({"labels": torch.tensor([1, 2, 1]), "scores": scores, "masks": masks[:, None]})
        return found


@pytest.mark.parametrize("method", METHODS)
def test_a_region_of_instances_is_the_sum_over_their_masks(
    method: Callable[..., Attribution], x: torch.Tensor
) -> None:
    """At each pixel the larger of the two instances' scores times masks."""
    mask = np.zeros((16, 16), bool)
    mask[4:11, 6:] = True

    def summed(output: Any) -> torch.Tensor:
        every = []
        for found in output:
            one, other = (found["scores"][i] * found["masks"][i, 0, 4:11, 6:] for i in (0, 2))
            every.append(torch.maximum(one, other).sum())
        return torch.stack(every)

    options = {"layer": "net.body.0"} if method is grad_cam else {}
    found = run(method, Instances(), x, target=Region(1, mask), **options)
    expected = run(method, Instances(), x, target=summed, **options)
    assert expected.values.any()
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_by_default_a_region_of_instances_is_inside_their_masks(x: torch.Tensor) -> None:
    with torch.no_grad():
        (found,) = Instances()(x[:1])
    inside = (found["masks"][[0, 2], 0] > 0.5).any(dim=0)
    assert 0 < inside.sum() < 256
    both = [saliency(Instances(), x[:1], target=Region(1, mask), kind="signed") for mask in (None, inside)]
    np.testing.assert_array_equal(both[0].values, both[1].values)
    with pytest.raises(TargetError, match=r"class 3, .*an image has no pixel predicted as this class"):
        saliency(Instances(), x[:1], target=Region(3))
    empty = [{"labels": torch.zeros(0), "scores": torch.zeros(0), "masks": torch.zeros(0, 1, 16, 16)}]
    target = resolve(Region(1, np.ones((16, 16))), [found], None)
    assert target.of(empty).tolist() == [[0]]


# Detection


def iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """By the definition, a side at a time."""
    width = torch.min(one[2], other[2]) - torch.max(one[0], other[0])
    height = torch.min(one[3], other[3]) - torch.max(one[1], other[1])
    inner = width.clamp_min(0) * height.clamp_min(0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return inner / (areas[0] + areas[1] - inner)


def best_of(found: dict[str, torch.Tensor], box: list[float], index: int) -> torch.Tensor:
    pairs = zip(found["boxes"], found["labels"], found["scores"], strict=True)
    return max(iou(b, b.new_tensor(box)) * s for b, label, s in pairs if label == index)


@pytest.mark.parametrize("method", METHODS)
def test_a_detection_is_the_best_overlap_times_score(method: Callable[..., Attribution], x: torch.Tensor) -> None:
    """As a callable that follows the definition a box at a time."""
    net, box = Detector(), [1.0, 0.0, 9.0, 8.0]
    found = run(method, net, x, target=Detection(box, 1))
    expected = run(method, net, x, target=lambda out: torch.stack([best_of(one, box, 1) for one in out]))
    assert expected.values.any()
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
    assert found.targets == ("class 1 at (1, 0, 9, 8)",) * 2


def detected(boxes: list[list[float]], labels: list[int], scores: list[float]) -> list[dict[str, torch.Tensor]]:
    return [
        {
            "boxes": torch.tensor(boxes).reshape(-1, 4),
            "labels": torch.tensor(labels),
            "scores": torch.tensor(scores),
        }
    ]


def test_the_score_of_a_detection_by_hand() -> None:
    target = Detection((0, 0, 2, 2), 1)
    whole = detected([[0, 0, 2, 2]], [1], [0.5])
    score_of = resolve(target, whole, None).of
    assert score_of(whole).item() == 0.5
    for boxes, labels, scores, expected in (
        ([[0, 0, 2, 1]], [1], [0.8], 0.5 * 0.8),
        ([[1, 1, 3, 3]], [1], [0.7], 0.7 / 7),
        ([[0, 0, 2, 2], [0, 0, 2, 1]], [2, 1], [0.9, 0.2], 0.1),  # boxes of other classes do not count
        ([[0, 0, 2, 1], [0, 0, 2, 2]], [1, 1], [0.9, 0.4], 0.45),  # not the one that overlaps most
        ([[2, 2, 4, 4]], [1], [0.9], 0.0),
        ([], [], [], 0.0),
    ):
        assert score_of(detected(boxes, labels, scores), 1).item() == pytest.approx(expected)


def test_a_label_names_the_class_of_a_box() -> None:
    found = detected([[0, 0, 2, 2]], [1], [0.5])
    labels = ["background", "cat"]
    assert resolve(Detection((0, 0, 2, 2), "cat"), found, labels).names == ("cat at (0, 0, 2, 2)",)
    assert resolve(Detection((0, 0, 2, 2), 1), found, labels).names == ("cat at (0, 0, 2, 2)",)


@pytest.mark.parametrize("box", [(0, 0, 2), (0, 0, 0, 2), (0, 2, 2, 0), (0, 0, float("nan"), 2), 3, "abcd", None])
def test_a_malformed_box_is_refused(box: Any) -> None:
    with pytest.raises(TargetError, match=r"expected \(left, top, right, bottom\)"):
        Detection(box, 1)


def test_a_box_is_plain_numbers_whatever_it_was() -> None:
    expected = Detection((0, 1, 2, 3), 1)
    for box in ([0, 1, 2, 3], np.arange(4), torch.arange(4.0)):
        assert Detection(box, 1) == expected
        assert hash(Detection(box, 1)) == hash(expected)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (Detection((12, 12, 16, 16), 1), r"class 1 at \(12, 12, 16, 16\): the detector finds no such box"),
        (Detection((0, 0, 8, 8), 3), "the detector finds no such box"),
        (Detection((4, 4, 12, 12), -1), "classes are 0, 1, ..."),
        (Detection((4, 4, 12, 12), "cat"), "no labels"),
        (Detection((4, 4, 12, 12), None), "expected a class index or a label"),  # type: ignore[arg-type]
    ],
)
def test_a_box_that_matches_nothing_is_refused(target: Detection, says: str, x: torch.Tensor) -> None:
    with pytest.raises(TargetError, match=says):
        saliency(Detector(), x, target=target)


def test_a_detection_needs_a_detector(tiny: Model, x: torch.Tensor) -> None:
    for net in (tiny, Segmenter(True)):
        with pytest.raises(ModelError, match="which is no known form of a detector's output"):
            saliency(net, x, target=Detection((0, 0, 8, 8), 1))


@pytest.mark.slow
def test_a_detector_of_torchvision() -> None:
    """In float64 and with every box kept, so that no rounding decides which boxes there are."""
    every = 10**4
    net = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=96,
        rpn_pre_nms_top_n_test=every, rpn_post_nms_top_n_test=every, rpn_nms_thresh=1.0,
        box_score_thresh=0.0, box_nms_thresh=1.0, box_detections_per_img=every,
    )  # fmt: skip
    lively(net.backbone.body, (3, 64, 96))
    net = net.double().eval()
    x, behind = torch.rand(2, 1, 3, 64, 96, dtype=torch.float64)

    def score(image: torch.Tensor) -> torch.Tensor:
        return best_of(net(image)[0], box, index)

    with torch.no_grad():
        first = net(x)[0]
        box, index = first["boxes"][0].tolist(), int(first["labels"][0])
        whole = float(score(x))
    target = Detection(box, index)
    (expected,) = torch.autograd.grad(score(x.requires_grad_()), x)
    x = x.detach()
    found = saliency(net, x, target=target, kind="signed")
    scale = float(expected.abs().max())
    assert scale > 0
    assert found.scores[0] == pytest.approx(whole, rel=1e-6)
    assert_close(torch.tensor(found.values), expected.sum(1).float(), rtol=0, atol=1e-6 * scale)
    hidden = occlusion(net, x, target=target, window=48, stride=48, baseline=behind)
    masks = random_masks(4, 7, 0.5, (64, 96), 0, torch.zeros(1))(0, 4).double()
    with torch.no_grad():
        variant = x.clone()
        variant[:, :, :48, :48] = behind[:, :, :48, :48]
        fall = whole - float(score(variant))
        scores = torch.stack([score(m * x + (1 - m) * behind) for m in masks])
    assert abs(fall) > 1e-3 * whole
    np.testing.assert_allclose(hidden.values[0, :48, :48], fall, rtol=0, atol=1e-6 * whole)
    by_masks = torch.einsum("m,mhw->hw", scores - scores.mean(), masks) / (4 * 0.5)
    assert by_masks.abs().max() > 1e-3 * whole
    found = rise(net, x, target=target, n_masks=4, baseline=behind)
    np.testing.assert_allclose(found.values[0], by_masks, rtol=0, atol=1e-6 * whole)
    seen: list[torch.Tensor] = []
    handle = net.get_submodule("backbone.body.16").register_forward_hook(lambda *given: seen.append(given[-1]))
    (gradient,) = torch.autograd.grad(score(x), seen)
    handle.remove()
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * seen[0]).sum(dim=1, keepdim=True).detach()
    cam = nn.functional.interpolate(cam, (64, 96), mode="bilinear")[0, 0]
    assert cam.abs().max() > 1e-6 * whole
    found = grad_cam(net, x, target=target, layer="backbone.body.16", kind="signed")
    np.testing.assert_allclose(found.values[0], cam, rtol=0, atol=1e-5 * float(cam.abs().max()))


# SimilarTo


def features(net: nn.Module, x: torch.Tensor, until: int = 7) -> torch.Tensor:
    return net[:until](x.clone()).flatten(1)


def cosines(net: nn.Module, x: torch.Tensor, other: torch.Tensor, until: int = 7) -> torch.Tensor:
    one, two = features(net, x, until), features(net, other, until)
    return (one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("layer", "until"), [(None, 7), ("4", 5), ("0", 1)])
def test_similarity_is_the_cosine_of_a_layer(
    method: Callable[..., Attribution], layer: str | None, until: int, tiny: Model, x: torch.Tensor
) -> None:
    """As the network's first layers as a network of their own, and a callable."""
    other = torch.randn(1, 3, 16, 16)
    found = run(method, tiny, x, target=SimilarTo(other, layer))
    cut = nn.Sequential(*tiny.module[:until], nn.Flatten())
    reference = features(tiny.module, other, until).detach()
    options = {"layer": {7: "4", 5: "4", 1: "0"}[until]} if method is grad_cam else {}
    expected = run(
        method,
        Model(cut, preprocessing=tiny.preprocessing),
        x,
        target=lambda out: nn.functional.cosine_similarity(out, reference),
        **options,
    )
    assert expected.values.any()
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-6)
    wanted = cosines(tiny.module, x, other, until).detach()
    assert_close(torch.tensor(found.scores), wanted, rtol=0, atol=1e-6)
    assert found.targets == ("similarity to another image",) * 2
    assert found.provenance.model["weights_sha256"] == saliency(tiny, x).provenance.model["weights_sha256"]


def test_the_gradient_of_similarity_is_that_of_the_cosine(tiny: Model, x: torch.Tensor) -> None:
    other = torch.randn(1, 3, 16, 16)
    x.requires_grad_()
    (expected,) = torch.autograd.grad(cosines(tiny.module, x, other).sum(), x)
    found = saliency(tiny, x.detach(), target=SimilarTo(other), kind="signed").values
    scale = float(expected.abs().max())
    assert scale > 1e-5  # a hundred times what rounding makes of a gradient that is 0
    assert_close(torch.tensor(found), expected.sum(1), rtol=0, atol=1e-5 * max(scale, 1e-2))


def test_similarity_to_itself_is_one_with_no_gradient(tiny: Model, x: torch.Tensor) -> None:
    found = saliency(tiny, x[:1], target=SimilarTo(x[:1]))
    assert found.scores[0] == pytest.approx(1, abs=1e-6)
    assert found.values.max() < 1e-6
    hidden = occlusion(tiny, x[:1], target=SimilarTo(x[:1]), **WINDOWS)
    assert hidden.values.min() >= 0  # there is nothing more alike
    assert hidden.values.max() > 1e-4


def test_similarity_takes_any_picture_and_says_which(tiny: Model, cat: np.ndarray, tmp_path: Any) -> None:
    from PIL import Image

    path = tmp_path / "cat.png"
    Image.fromarray(cat).save(path)
    found = [saliency(tiny, path, target=SimilarTo(image)) for image in (cat, path, str(path))]
    for one in found:
        assert one.scores[0] == pytest.approx(1, abs=1e-6)
    names = [one.targets[0] for one in found]
    assert names == ["similarity to another image", "similarity to cat.png", f"similarity to {path}"]
    assert found[1].provenance.parameters["target"] == "similarity to cat.png"


@pytest.mark.parametrize("fails", [False, True])
def test_similarity_leaves_the_network_as_it_was(x: torch.Tensor, fails: bool) -> None:
    net = tiny_network().train()
    net[3].eval()
    net[0].weight.requires_grad_(False)
    net[1].register_forward_hook(lambda *_: None)

    def state() -> Any:
        flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()]
        return flags, [p.requires_grad for p in net.parameters()], list(net.state_dict())

    before = state()

    def stop(done: int, total: int) -> None:
        raise RuntimeError("stopped")

    if fails:
        with pytest.raises(RuntimeError, match="stopped"):
            saliency(net, x, target=SimilarTo(x[:1]), progress=stop)
        with pytest.raises(LayerError):
            saliency(net, x, target=SimilarTo(x[:1], layer="nine"))
    else:
        saliency(net, x, target=SimilarTo(x[:1]))
    assert state() == before


def test_threads_may_share_a_network_in_training_mode(x: torch.Tensor) -> None:
    """The layer's hooks and the flags belong to the network, also where it is explained as it is."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3)).train()
    targets = [SimilarTo(x[:1]), 0, SimilarTo(x[1:], layer="2")] * 12
    expected = [saliency(net, x, target=target).values for target in targets[:3]] * 12
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda target: saliency(net, x, target=target).values, targets))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert all(m.training for m in net.modules())
    assert int(net[1].num_batches_tracked) == 0


def test_layers_of_a_similarity_have_their_names(tiny: Model, x: torch.Tensor) -> None:
    target = SimilarTo(x[:1])
    assert grad_cam(tiny, x, target=target).provenance.parameters["layer"] == "4"
    assert grad_cam(tiny, x, target=target, layer="1").provenance.parameters["layer"] == "1"
    early = SimilarTo(x[:1], layer="2")
    assert grad_cam(tiny, x, target=early).provenance.parameters["layer"] == "1"  # before the pooling
    with pytest.raises(LayerError, match="no layer '4'"):
        grad_cam(tiny, x, target=early, layer="4")


def test_a_window_changes_only_a_part_of_what_similarity_looks_at(tiny: Model, x: torch.Tensor) -> None:
    found = {
        engine: occlusion(tiny, x, target=SimilarTo(x[:1], "2"), engine=engine, **WINDOWS)
        for engine in ("incremental", "dense")
    }
    assert found["incremental"].provenance.measured["engine"] == "incremental"
    assert not found["incremental"].provenance.notes
    np.testing.assert_allclose(found["incremental"].values, found["dense"].values, rtol=0, atol=1e-6)


def test_what_is_no_other_image_is_refused(tiny: Model, x: torch.Tensor) -> None:
    with pytest.raises(ParameterError, match="give the other image"):
        SimilarTo(None)
    with pytest.raises(TargetError, match="SimilarTo: 2 images; expected one"):
        saliency(tiny, x, target=SimilarTo(x))
    with pytest.raises(LayerError, match="no layer '9'"):
        saliency(tiny, x, target=SimilarTo(x[:1], layer="9"))
    with pytest.raises(LayerError, match=r"no layer is known to hold .* because its output .*name a layer"):
        saliency(nn.Flatten(2), x, target=SimilarTo(x[:1]))
    with pytest.raises(TargetError, match="vectors of 384 and 96 numbers cannot be compared"):
        saliency(tiny, x, target=SimilarTo(torch.randn(1, 3, 8, 8), layer="3"))
    with pytest.raises(ParameterError, match="'probability' has no meaning for similarity to another image"):
        saliency(tiny, x, target=SimilarTo(x[:1]), score="probability")


# What they have in common


def test_a_network_of_one_class_has_a_predicted_class(x: torch.Tensor) -> None:
    net = tiny_network(n_classes=1)
    found = saliency(net, x)
    assert found.targets == ("class 0",) * 2
    np.testing.assert_array_equal(found.values, saliency(net, x, target=0).values)


def test_callables_show_their_name(tiny: Model, x: torch.Tensor) -> None:
    class First:
        def __call__(self, output: torch.Tensor) -> torch.Tensor:
            return output[:, 0]

    cases = {
        "of_all": of_all,
        "<lambda>": lambda out: out[:, 0],
        "First": First(),
        "partial": functools.partial(torch.sum, dim=1),
    }
    for name, target in cases.items():
        found = saliency(tiny, x, target=target)
        assert found.targets == (name,) * 2
        assert found.provenance.parameters["target"] == name


def test_every_kind_is_described_in_words() -> None:
    kinds = {
        "a rather than 2": Contrast("a", 2),
        "a; 1": Several("a", 1),
        "a, where it is seen": Region("a"),
        "3 in a region": Region(3, np.ones((2, 2))),
        "3 at (0, 1, 2, 3)": Detection((0.2, 0.9, 2, 3), 3),
        "similarity to a.png": SimilarTo("a.png"),
        "similarity to a vector": SimilarTo(np.ones(3)),
        "the class at row 4, column 2": Region.at((4, 2)),
        "a at row 4, column 2": Region.at((4, 2), "a"),
    }
    for words, target in kinds.items():
        assert describe(target) == words


def test_integrated_gradients_of_a_contrast_adds_up(tiny: Model, x: torch.Tensor) -> None:
    found = integrated_gradients(tiny, x, target=Several(Contrast(0, 1), 2), n_steps=200)
    with torch.no_grad():
        out, start = tiny.module(x.clone()), tiny.module(torch.zeros(1, 3, 16, 16))
    change = (out - start)[:, [0, 2]]
    change[:, 0] -= (out - start)[:, 1]
    sums = found.values.sum(axis=(1, 2)).reshape(2, 2)
    np.testing.assert_allclose(sums, change, rtol=0.02, atol=1e-3)
