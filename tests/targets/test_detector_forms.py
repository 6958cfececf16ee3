"""Detectors before suppression: each form against a loop over its boxes, and against torchvision's own heads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from convscope import (
    Attribution,
    Detection,
    Model,
    ModelError,
    ParameterError,
    TargetError,
    grad_cam,
    integrated_gradients,
    occlusion,
    rise,
    saliency,
)
from convscope.targets import FORMS, detector_of
from convscope.targets.detector_outputs import overlaps

K, CELLS, SIDE = 3, 4, 16  # classes, cells along a side, pixels
SIZE = (SIDE, SIDE)


class Cells(nn.Module):
    """A box of about 6 px, an objectness and K + 1 logits in each of 4 x 4 cells, arranged by ``form``."""

    def __init__(self, form: Callable[..., Any]) -> None:
        super().__init__()
        self.form = form
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            self.head = nn.Conv2d(8, 5 + K + 1, 1)

    def forward(self, x: torch.Tensor) -> Any:
        raw = self.head(self.body(x)).flatten(2).mT  # (N, A, 5 + K + 1)
        centers = torch.cartesian_prod(*[(torch.arange(CELLS) + 0.5) * SIDE / CELLS] * 2).flip(1).to(x)
        boxes = torch.cat([centers + raw[..., :2].tanh(), 6 + raw[..., 2:4].tanh()], dim=-1)
        return self.form(boxes, raw[..., 4:5], raw[..., 5:], centers)


def by_corners(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)


def anchored(boxes: torch.Tensor, centers: torch.Tensor, weights: tuple[float, float]) -> dict[str, torch.Tensor]:
    """Boxes as changes of anchors of 5 px at the centers."""
    change = torch.cat(
        [(boxes[..., :2] - centers) / 5 * weights[0], (boxes[..., 2:] / 5).log() * weights[1]], dim=-1
    )
    return {"bbox_regression": change, "anchors": torch.cat([centers - 2.5, centers + 2.5], dim=-1)}


def to_sides(boxes: torch.Tensor, centers: torch.Tensor) -> dict[str, torch.Tensor]:
    corners = by_corners(boxes)
    distances = torch.cat([centers - corners[..., :2], corners[..., 2:] - centers], dim=-1) / 5
    return {"bbox_regression": distances, "anchors": torch.cat([centers - 2.5, centers + 2.5], dim=-1)}


# form -> (its output, the probability of class 1 that it means), from boxes, objectness, K + 1 logits and centers
MADE: dict[str, tuple[Callable[..., Any], Callable[..., torch.Tensor]]] = {
    "yolov8": (
        lambda b, o, c, m: torch.cat([b, c[..., :K].sigmoid()], dim=-1).mT,
        lambda o, c: 1 / (1 + (-c[1]).exp()),
    ),
    "yolov8_rows": (
        lambda b, o, c, m: torch.cat([b, c[..., :K].sigmoid()], dim=-1),
        lambda o, c: 1 / (1 + (-c[1]).exp()),
    ),
    "yolov5": (
        lambda b, o, c, m: (torch.cat([b, o.sigmoid(), c[..., :K].sigmoid()], dim=-1), [b]),
        lambda o, c: 1 / (1 + (-o[0]).exp()) / (1 + (-c[1]).exp()),
    ),
    "detr": (
        lambda b, o, c, m: {"logits": c, "pred_boxes": b / SIDE},
        lambda o, c: c[1].exp() / (c[0].exp() + c[1].exp() + c[2].exp() + c[3].exp()),
    ),
    "deformable_detr": (
        lambda b, o, c, m: {"pred_logits": c[..., :K], "pred_boxes": b / SIDE},
        lambda o, c: 1 / (1 + (-c[1]).exp()),
    ),
    "boxes_and_scores": (
        lambda b, o, c, m: (by_corners(b), c[..., :K].sigmoid()),
        lambda o, c: 1 / (1 + (-c[1]).exp()),
    ),
    "retinanet": (
        lambda b, o, c, m: {"cls_logits": c[..., :K], **anchored(b, m, (1, 1))},
        lambda o, c: 1 / (1 + (-c[1]).exp()),
    ),
    "ssd": (
        lambda b, o, c, m: {"cls_logits": c[..., :K], **anchored(b, m, (10, 5))},
        lambda o, c: c[1].exp() / (c[0].exp() + c[1].exp() + c[2].exp()),
    ),
    "fcos": (
        lambda b, o, c, m: {"cls_logits": c[..., :K], "bbox_ctrness": o, **to_sides(b, m)},
        lambda o, c: (1 / (1 + (-o[0]).exp()) / (1 + (-c[1]).exp())).sqrt(),
    ),
}
WINDOWS: dict[str, Any] = {"window": 8, "stride": 4}
OPTIONS: dict[Callable[..., Attribution], dict[str, Any]] = {
    saliency: {"kind": "signed"},
    integrated_gradients: {"n_steps": 4},
    grad_cam: {"kind": "signed", "layer": "body.0"},
    occlusion: WINDOWS,
    rise: {"n_masks": 12},
}
BOX = (5.0, 1.0, 11.5, 8.0)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE)


def raw(boxes: torch.Tensor, objectness: torch.Tensor, logits: torch.Tensor, centers: torch.Tensor) -> Any:
    return boxes, objectness, logits


def by_hand(probability: Callable[..., torch.Tensor]) -> Callable[[Any], torch.Tensor]:
    """S by its definition, a box at a time and a side at a time, from what the cells hold."""

    def score(output: Any) -> torch.Tensor:
        found = []
        for boxes, objectness, logits in zip(*output, strict=True):
            every = []
            for (cx, cy, w, h), o, c in zip(boxes, objectness, logits, strict=True):
                left, top, right, bottom = cx.new_tensor(BOX)
                across = torch.min(cx + w / 2, right) - torch.max(cx - w / 2, left)
                down = torch.min(cy + h / 2, bottom) - torch.max(cy - h / 2, top)
                both = across.clamp_min(0) * down.clamp_min(0)
                union = w * h + (right - left) * (bottom - top) - both
                every.append(both / union * probability(o, c))
            found.append(torch.stack(every).max())
        return torch.stack(found)

    return score


@pytest.mark.parametrize("form", MADE)
@pytest.mark.parametrize("method", OPTIONS, ids=lambda method: method.__name__)
def test_a_detection_is_what_a_loop_over_the_boxes_finds(
    method: Callable[..., Attribution], form: str, x: torch.Tensor
) -> None:
    """In float64, so that no rounding decides which box is the best."""
    make, probability = MADE[form]
    x = x.double()
    found = method(Cells(make).double(), x, target=Detection(BOX, 1, read=form), **OPTIONS[method])
    expected = method(Cells(raw).double(), x, target=by_hand(probability), **OPTIONS[method])
    assert expected.values.any()
    assert (expected.scores > 0.05).all()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
    scale = float(np.abs(expected.values).max())
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-5 * scale)
    assert found.targets == ("class 1 at (5, 1, 12, 8)",) * 2
    assert found.boxes == (BOX, BOX)


@pytest.mark.parametrize("form", [form for form in MADE if form not in ("retinanet", "ssd")])
def test_a_form_is_recognized_by_its_shape_its_keys_and_the_number_of_labels(form: str, x: torch.Tensor) -> None:
    model = Model(Cells(MADE[form][0]), labels=["a", "b", "c"])
    found = saliency(model, x, target=Detection(BOX, "b"))
    assert np.array_equal(found.values, saliency(model, x, target=Detection(BOX, 1, read=form)).values)
    assert any(f"was read as {form!r}" in note for note in found.provenance.notes)
    assert found.targets == ("b at (5, 1, 12, 8)",) * 2


@pytest.mark.parametrize(
    ("shape", "n_labels", "form"),
    [
        ((2, 84, 8400), 80, "yolov8"),
        ((2, 8400, 84), 80, "yolov8_rows"),
        ((2, 8400, 85), 80, "yolov5"),
        ((2, 85, 8400), 81, "yolov8"),
    ],
)
def test_the_number_of_labels_tells_the_axes_apart(shape: tuple[int, ...], n_labels: int, form: str) -> None:
    output = torch.rand(shape)
    found = detector_of(None, output, (640, 640), n_labels)
    assert found.n_classes == n_labels
    assert found.boxes.shape == (2, 8400, 4)
    assert found.read is FORMS[form].read


@pytest.mark.parametrize(
    ("form", "others"),
    [("yolov8", ""), ("yolov5", "'yolov8_rows'"), ("detr", "'deformable_detr'")],
)
def test_without_labels_values_and_usage_tell_forms_apart(form: str, others: str, x: torch.Tensor) -> None:
    net = Cells(MADE[form][0])
    found = saliency(net, x, target=Detection(BOX, 1))
    assert np.array_equal(found.values, saliency(net, x, target=Detection(BOX, 1, read=form)).values)
    (note,) = (note for note in found.provenance.notes if f"was read as {form!r}" in note)
    assert ("it can also be" in note) == bool(others)
    assert others in note


@pytest.mark.parametrize(
    ("output", "n_labels", "says"),
    [
        (
            torch.rand(2, 84, 8400),
            None,
            r"returns \(2, 84, 8400\), which can be 'yolov8', .*its labels.*read='yolov8'",
        ),
        (torch.rand(2, 84, 85), 80, "which can be 'yolov8', .* or 'yolov5', .*; name one: read='yolov8'"),
        (torch.rand(2, 8400, 85), 79, r"no known form .*of 79 classes.*; give read=, a function"),
        (torch.rand(2, 10), None, r"returns \(2, 10\), which is no known form"),
        (
            {"cls_logits": torch.rand(2, 5, 4), "bbox_regression": torch.rand(2, 5, 4)},
            4,
            "'retinanet', .* or 'ssd'",
        ),
        ([torch.rand(2, 5, 4), torch.rand(2, 6, 3)], None, r"a list of 0: \(2, 5, 4\), 1: \(2, 6, 3\)"),
    ],
)
def test_what_could_be_several_forms_or_none_is_refused(output: Any, n_labels: int | None, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        detector_of(None, output, SIZE, n_labels)


@pytest.mark.parametrize(
    ("read", "output", "says"),
    [
        ("yolov8", torch.randn(1, 7, 30), "scores lie between -.* expected probabilities"),
        ("yolov8", torch.full((1, 7, 30), math.nan), "scores lie between nan"),
        ("yolov8", torch.rand(1, 30), "expected one tensor of three dimensions"),
        ("yolov8", torch.rand(1, 8, 30), "3 labels for a detector with scores of 4 classes"),
        ("detr", torch.rand(1, 7, 30), "expected a tensor pred_logits or logits in it"),
        ("retinanet", {"cls_logits": torch.rand(1, 5, 3), "bbox_regression": torch.rand(1, 5, 4)}, 'as "anchors"'),
        (lambda out, size: out.boxes, torch.rand(1, 7), "read=<lambda>: .* raised AttributeError"),
        (lambda out, size: (out, out), torch.rand(1, 7), r"returned a tuple of 0: \(1, 7\), .*boxes \(N, A, 4\)"),
        (lambda out, size: (out[..., :3], out), torch.rand(1, 6, 3), "expected boxes"),
    ],
)
def test_what_cannot_be_read_is_refused(read: Any, output: Any, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        detector_of(read, output, SIZE, 3)


def test_a_class_or_a_form_that_does_not_exist_is_refused(x: torch.Tensor) -> None:
    net = Cells(MADE["yolov8"][0])
    with pytest.raises(TargetError, match="the network has classes 0 to 2"):
        saliency(net, x, target=Detection(BOX, 3, read="yolov8"))
    with pytest.raises(ParameterError, match="read='yolov9': did you mean 'yolov"):
        Detection(BOX, 3, read="yolov9")
    with pytest.raises(TargetError, match="the detector finds no such box"):
        saliency(net, x, target=Detection((100, 100, 110, 110), 1, read="yolov8"))


def test_a_box_that_overlaps_little_gets_a_note(x: torch.Tensor) -> None:
    net = Cells(MADE["yolov8"][0])
    near = saliency(net, x[:1], target=Detection((3, 3, 9, 9), 1, read="yolov8"))
    far = saliency(net, x[:1], target=Detection((0, 0, 1.5, 1.5), 1, read="yolov8"))
    says = "the box that matches best overlaps it by"
    assert not any(says in note for note in near.provenance.notes)
    assert any(says in note for note in far.provenance.notes)


class Yolo(nn.Module):
    """A YOLOv8-like head of 4 x 4 cells, in which something may be wrong."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv2d(3, 4 + K, SIDE // CELLS, stride=SIDE // CELLS), change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.conv(x).flatten(2)
        boxes = torch.cat([found[:, :2].sigmoid() * SIDE, 4 + found[:, 2:4].sigmoid()], dim=1)
        return torch.cat([self.change(boxes), found[:, 4:].sigmoid()], dim=1)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_box_that_is_no_number_matches_nothing_and_leaves_the_others(broken: float, x: torch.Tensor) -> None:
    at = torch.arange(CELLS * CELLS) == 3
    torch.manual_seed(0)
    net = Yolo(lambda boxes: boxes.masked_fill(at, broken))
    whole, image = Yolo(lambda boxes: boxes.masked_fill(at, -100.0)), x[:1].float()
    whole.load_state_dict(net.state_dict())
    target = Detection((4, 4, 12, 12), 1, read="yolov8")
    for method in (saliency, occlusion):
        found, expected = (method(one, image, target=target) for one in (net, whole))
        assert found.scores[0] > 0
        np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-5 * abs(expected.values).max())


def test_a_head_that_proposes_no_box_has_found_none(x: torch.Tensor) -> None:
    nothing = Model(Yolo(lambda boxes: boxes), output=lambda found: found[..., :0])
    with pytest.raises(TargetError, match="finds no such box"):
        saliency(nothing, x[:1].float(), target=Detection((4, 4, 12, 12), 1, read="yolov8"))
    sometimes = Model(
        Yolo(lambda boxes: boxes), output=lambda found: found if found[0, 4, 0] != 0.5 else found[..., :0]
    )
    image, target = x[:1].float(), Detection((4, 4, 12, 12), 1, read="yolov8")
    nn.init.zeros_(sometimes.network.conv.bias)
    found = occlusion(sometimes, image, target=target, window=SIDE, stride=SIDE)  # hides all: no box, S = 0
    np.testing.assert_allclose(found.values, found.scores[0], rtol=1e-6)


def test_detections_are_not_given_one_for_each_image(x: torch.Tensor) -> None:
    target = [Detection((4, 4, 12, 12), 1, read="yolov8")] * 2
    with pytest.raises(TargetError, match=r"a Detection holds for all of them: .*Several"):
        saliency(Yolo(lambda boxes: boxes), x[:1].float().repeat(2, 1, 1, 1), target=target)


def test_a_function_reads_what_no_form_fits(x: torch.Tensor) -> None:
    """Boxes as shares of the input and one logit, in a dict of its own."""
    net = Cells(lambda boxes, o, logits, m: {"where": boxes / SIDE, "what": logits[..., 1]})

    def read(output: Any, size: tuple[int, int]) -> Any:
        height, width = size
        boxes = by_corners(output["where"]) * torch.tensor([width, height, width, height])
        return boxes, output["what"].sigmoid()[..., None]

    found = occlusion(net, x, target=Detection(BOX, 0, read=read), **WINDOWS)
    same = occlusion(Cells(MADE["yolov8"][0]), x, target=Detection(BOX, 1, read="yolov8"), **WINDOWS)
    np.testing.assert_allclose(found.values, same.values, rtol=0, atol=1e-6)


def test_a_dataclass_of_outputs_is_read_as_a_dict_is() -> None:
    """As Hugging Face's outputs are."""

    @dataclass
    class Output:
        logits: torch.Tensor
        pred_boxes: torch.Tensor

    logits, boxes = torch.randn(2, 5, K + 1), torch.rand(2, 5, 4)
    found = detector_of(None, Output(logits, boxes), (20, 40), K)
    assert found.read is FORMS["detr"].read
    cx, cy, w, h = (boxes * torch.tensor([40, 20, 40, 20])).unbind(-1)
    expected = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1)
    torch.testing.assert_close(found.boxes, expected)
    torch.testing.assert_close(found.scores, logits.softmax(-1)[..., :3])


def test_overlaps_are_those_of_torchvision() -> None:
    corners = torch.rand(500, 2, 2) * 20
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=-1)
    for box in boxes[:5]:
        torch.testing.assert_close(overlaps(box, boxes), box_iou(box[None], boxes)[0])
    assert overlaps(boxes[0], boxes[:1, [2, 3, 0, 1]]).item() == 0  # inside out


# torchvision's networks, whose raw heads are read here, against what their own post-processing makes of them


class Backbone(nn.Module):
    """One map of stride 8, as torchvision's detectors want it."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 3, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"0": self.layers(x)}


class Heads(nn.Module):
    """A detector of torchvision up to its head, with the anchors."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = list(self.net.backbone(x).values())
        anchors = self.net.anchor_generator(ImageList(x, [tuple(x.shape[2:])] * len(x)), features)
        return {**self.net.head(features), "anchors": torch.stack(anchors)}


def torchvisions(form: str) -> nn.Module:
    """A network that keeps every box, with lively weights, in float64."""
    every: dict[str, Any] = {
        "score_thresh": 0.0, "nms_thresh": 1.0, "detections_per_img": 10**5, "topk_candidates": 10**5,
        "image_mean": [0.0] * 3, "image_std": [1.0] * 3,
    }  # fmt: skip
    torch.manual_seed(0)
    if form == "ssd":
        backbone = Backbone()
        backbone.out_channels = [32]  # SSD has one for each map
        net: nn.Module = SSD(backbone, DefaultBoxGenerator([[2]], scales=[0.2, 0.3]), (64, 64), 3, **every)
    else:
        anchors = AnchorGenerator(((8, 16),) if form == "retinanet" else ((8,),), ((1.0,),))
        kind = RetinaNet if form == "retinanet" else FCOS
        net = kind(Backbone(), 3, anchor_generator=anchors, min_size=64, max_size=64, **every)
    for p in net.head.parameters():
        nn.init.normal_(p, std=0.3 if form == "ssd" else 0.1)
    return net.double().eval()


@pytest.mark.parametrize("form", ["retinanet", "ssd", "fcos"])
def test_a_head_of_torchvision_means_what_its_own_list_of_boxes_says(form: str) -> None:
    net = torchvisions(form)
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        (listed,) = net(x)
        output = Heads(net)(x)
    found = detector_of(form, output, (64, 64), None)
    boxes = found.boxes[0].clamp(0, 64)  # as torchvision cuts them
    n = 0
    for index in (1, 2):
        theirs = {name: values[listed["labels"] == index] for name, values in listed.items()}
        order, own = theirs["scores"].argsort(), found.scores[0, :, index].argsort()
        n += len(order)
        torch.testing.assert_close(found.scores[0, own, index][-len(order) :], theirs["scores"][order])
        torch.testing.assert_close(boxes[own][-len(order) :], theirs["boxes"][order])
    assert n >= len(boxes)
