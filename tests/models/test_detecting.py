"""The detections of an image and their maps: what they are, that they lie on the object, and MTCNN's face."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tests.oracles.drawn_shapes import LABELS, TinyYolo, drawn, trained
from torch import nn
from torchvision.ops import box_iou

from convscope import (
    Attribution,
    Detection,
    Model,
    ModelError,
    Result,
    Several,
    TargetError,
    detections,
    integrated_gradients,
    occlusion,
    rise,
    saliency,
)
from convscope.render import figure


class Fixed(nn.Module):
    """Finds the same boxes in every image, (N, 4 + K, A), a little less surely in a bright one."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sure = (1 - 0.1 * x.mean(dim=(1, 2, 3)).sigmoid())[:, None, None]
        return torch.cat([self.rows[None, :, :4] + 0 * sure, self.rows[None, :, 4:] * sure], dim=-1).mT


ROWS = [  # cx, cy, w, h, and two classes
    [8, 8, 8, 8, 0.9, 0.1],
    [9, 8, 8, 8, 0.8, 0.1],  # overlaps the first by 7 / 9
    [8, 8, 8, 8, 0.1, 0.7],  # of the other class
    [24, 24, 4, 8, 0.6, 0.2],
    [24, 8, 4, 4, 0.3, 0.2],
    [8, 24, 0, 4, 0.9, 0.2],  # empty
    [24, 24, 4, 4, 0.1, 0.1],
    [8, 24, 4, 4, 0.1, 0.1],
]
X = torch.full((1, 3, 32, 32), -20.0)  # dark: as sure as it can be


def test_detections_are_the_surest_boxes_of_each_class() -> None:
    found = detections(Model(Fixed(ROWS), labels=LABELS), X)
    assert [(one.box, one.target) for one in found] == [
        ((4, 4, 12, 12), "square"),
        ((4, 4, 12, 12), "disc"),
        ((22, 20, 26, 28), "square"),
    ]
    assert [one.score for one in found] == pytest.approx([0.9, 0.7, 0.6], rel=1e-4)
    assert found[0] == Detection((4, 4, 12, 12), "square")


def test_what_counts_as_a_detection_can_be_chosen() -> None:
    def classes(**options: Any) -> list[int | str]:
        return [one.target for one in detections(Fixed(ROWS), X, read="yolov8", **options)]

    assert classes() == [0, 1, 0]
    assert classes(min_score=0.65) == [0, 1]
    assert classes(min_score=0.2) == [0, 1, 0, 0]
    assert classes(max_overlap=0.9) == [0, 0, 1, 0]
    assert classes(limit=1) == [0]
    assert classes(min_score=1) == []


def test_a_label_that_two_classes_share_is_given_by_its_number() -> None:
    model = Model(Fixed(ROWS), labels=["N/A", "N/A"])
    assert [one.target for one in detections(model, X)] == [0, 1, 0]
    assert saliency(model, X, target=detections(model, X)[0]).targets == ("N/A at (4, 4, 12, 12)",)


def test_without_labels_the_values_tell_the_form() -> None:
    assert len(detections(Fixed(ROWS), X)) == 3
    with pytest.raises(ModelError, match=r"returns \(1, 3072\), which is no known form"):
        detections(nn.Flatten(), X)


def test_one_image_at_a_time() -> None:
    with pytest.raises(TargetError, match="detections: 2 images; expected one"):
        detections(Fixed(ROWS), torch.cat([X, X]), read="yolov8")


def test_each_detection_has_a_map_with_its_box(tmp_path: Path) -> None:
    model = Model(TinyYolo().eval(), labels=LABELS)
    x = drawn(1, 0)[0]
    found = detections(model, x, min_score=0.3, limit=3)
    assert len(found) == 3
    result = rise(model, x, target=Several(*found, lambda out: out[:, 4, 0]), n_masks=8)
    assert result.boxes == (*(one.box for one in found), None)
    np.testing.assert_allclose(result.scores[:3], [one.score for one in found], rtol=1e-5)
    for i, one in enumerate(found):
        alone = rise(model, x, target=one, n_masks=8)
        assert alone.boxes == (one.box,)
        np.testing.assert_allclose(result.values[i], alone.values[0], rtol=0, atol=1e-6)
    read = Result.load(result.save(tmp_path / "saved"))
    assert read.boxes == result.boxes
    assert saliency(model, x, target=lambda out: out[:, 4, 0]).boxes == ()
    two = saliency(model, torch.cat([x, x]), target=Several(found[0], found[1]))
    assert two.boxes == (found[0].box, found[1].box) * 2


def test_the_box_is_drawn_where_it_is() -> None:
    model = Model(TinyYolo().eval(), labels=LABELS)
    x = drawn(1, 0)[0]
    target = Detection((10, 12, 20, 30), "disc")
    drawing = figure(occlusion(model, x, target=target))
    patches = [patch for ax in drawing.axes for patch in ax.patches if patch.get_width() == 10]
    assert len(patches) == 4  # a dark line on a white one, on the photo and on the map
    assert {(p.get_x(), p.get_y(), p.get_height()) for p in patches} == {(9.5, 11.5, 18)}
    assert [ax.get_title(loc="left") for ax in drawing.axes][1] == "disc"


def test_occlusion_of_a_head_computes_only_what_a_window_changed() -> None:
    model = Model(TinyYolo().eval(), labels=LABELS)
    x = drawn(1, 0)[0]
    target = Several(*detections(model, x, min_score=0.3, limit=3))
    found = {
        engine: occlusion(model, x, target=target, window=8, stride=4, engine=engine)
        for engine in ("incremental", "dense")
    }
    measured = found["incremental"].provenance.measured
    assert measured["engine"] == "incremental"
    assert measured["predicted_ratio"] > 1.2
    assert found["dense"].values.any()
    scale = float(np.abs(found["dense"].values).max())
    np.testing.assert_allclose(found["incremental"].values, found["dense"].values, rtol=0, atol=1e-3 * scale)


# What the maps mean


@cache
def detector() -> Model:
    return Model(trained(), labels=LABELS)


@pytest.mark.slow
def test_a_trained_detector_finds_the_shapes() -> None:
    images, boxes, classes = drawn(40, 10**6)
    n_found = 0
    for image, corners, labels in zip(images, boxes, classes, strict=True):
        found = detections(detector(), image[None])
        for box, label in zip(corners, labels.tolist(), strict=True):
            same = [one.box for one in found if one.target == LABELS[label]]
            n_found += bool(same) and float(box_iou(torch.tensor(same), box[None]).max()) > 0.5
    assert n_found > 64  # of 80


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options", "least"),
    [
        (occlusion, {"window": 8, "stride": 4}, 0.7),
        (rise, {"n_masks": 300, "cells": 8}, 0.7),
        (saliency, {}, 0.4),  # its highest value is a single pixel, often just outside
        (integrated_gradients, {}, 0.7),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_the_map_lies_on_its_object_and_not_on_the_other(
    method: Callable[..., Attribution], options: dict[str, Any], least: float
) -> None:
    """The pointing game: the highest value lies in the box. Boxes cover 7 % of an image."""
    hits = []
    for image in drawn(20, 2 * 10**6)[0]:
        found = detections(detector(), image[None])
        result = method(detector(), image[None], target=Several(*found), **options)
        for values, one in zip(result.values, found, strict=True):
            row, column = divmod(int(values.argmax()), values.shape[1])
            left, top, right, bottom = one.box
            hits.append(left - 1 <= column <= right and top - 1 <= row <= bottom)
    assert len(hits) > 30
    assert np.mean(hits) > least


# Real weights: MTCNN's first stage, which finds faces of 12 px


class Faces(nn.Module):
    """P-net on the image reduced by ``scale``: offsets (N, 4, h, w) and probabilities (N, 2, h, w)."""

    def __init__(self, net: nn.Module, scale: float) -> None:
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x: torch.Tensor) -> Any:
        small = nn.functional.interpolate(x, scale_factor=self.scale, mode="bilinear", antialias=True)
        return self.net(small)

    def read(self, output: Any, size: tuple[int, int]) -> Any:
        """A cell of 12 px every 2 px; the offsets are shares of it."""
        offsets, faces = output
        rows, columns = (2 * torch.arange(n).to(faces) + 1 for n in faces.shape[2:])
        left, top = columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))
        cells = torch.stack([left, top, left + 11, top + 11]).flatten(1).T
        return (cells + 11 * offsets.flatten(2).mT) / self.scale, faces[:, 1:].flatten(2).mT


@pytest.fixture(scope="module")
def faces() -> Model:
    mtcnn = pytest.importorskip("facenet_pytorch", reason="pip install facenet-pytorch --no-deps").models.mtcnn
    net = Faces(mtcnn.PNet().eval(), scale=0.2)
    return Model(net, (256, 256), [0.5] * 3, [0.5] * 3, labels=["face"])


@pytest.mark.slow
def test_the_face_is_where_the_whole_of_mtcnn_finds_it(faces: Model) -> None:
    from facenet_pytorch import MTCNN

    photo = skimage.data.astronaut()  # 512 px
    (whole,), _ = MTCNN().detect(Image.fromarray(photo))
    found = detections(faces, photo, read=faces.module.read, min_score=0.99)
    assert [one.target for one in found] == ["face"]
    assert box_iou(torch.tensor([found[0].box]), torch.tensor([list(whole / 2)])).item() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [(occlusion, {"window": 16, "stride": 8}), (rise, {"n_masks": 500, "cells": 10}), (saliency, {})],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_the_map_of_a_real_face_lies_on_it(
    faces: Model, method: Callable[..., Attribution], options: dict[str, Any]
) -> None:
    """The box of the face covers 4 % of the photo; of what speaks for it, most lies inside."""
    photo = skimage.data.astronaut()
    (face,) = detections(faces, photo, read=faces.module.read, min_score=0.99)
    found = method(faces, photo, target=face, **options)
    left, top, right, bottom = (round(side) for side in face.box)
    values = found.values[0].clip(0)
    row, column = divmod(int(values.argmax()), 256)
    assert left <= column <= right
    assert top <= row <= bottom
    inside = values[top:bottom, left:right].sum() / values.sum()
    assert inside > (0.12 if method is rise else 0.4)  # RISE's noise lies everywhere


@pytest.mark.slow
def test_a_pair_of_maps_is_computed_only_where_a_window_changed_it(faces: Model) -> None:
    """P-net itself, on the reduced photo."""
    net = faces.module.net
    photo = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((51, 51), Image.Resampling.BILINEAR))
    model = Model(net, (51, 51), [0.5] * 3, [0.5] * 3, labels=["face"])
    read = Faces(net, 1.0).read
    target = detections(model, photo, read=read)[0]
    maps = {
        engine: occlusion(model, photo, target=target, window=4, stride=2, engine=engine)
        for engine in ("incremental", "dense")
    }
    measured = maps["incremental"].provenance.measured
    assert measured["engine"] == "incremental"
    assert measured["predicted_ratio"] > 3
    scale = float(np.abs(maps["dense"].values).max())
    np.testing.assert_allclose(maps["incremental"].values, maps["dense"].values, rtol=0, atol=1e-3 * scale)


# Its second and third stage, which look once more at a crop of 24 or 48 px, and say where eyes, nose and mouth are


def face_crop(size: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """A square photo with the face, so many times as high, and the pixels (size, size) of the face's box."""
    left, top, right, bottom = 181, 62, 268, 172  # by the whole of MTCNN
    (x, y), half = ((left + right) / 2, (top + bottom) / 2), (bottom - top) * margin / 2
    square = tuple(round(at) for at in (x - half, y - half, x + half, y + half))
    crop = Image.fromarray(skimage.data.astronaut()).crop(square).resize((size, size), Image.Resampling.BILINEAR)
    at = (
        square[0] + (np.arange(size) + 0.5) * 2 * half / size,
        square[1] + (np.arange(size) + 0.5) * 2 * half / size,
    )
    across, down = (at[0] > left) & (at[0] < right), (at[1] > top) & (at[1] < bottom)
    return np.asarray(crop), down[:, None] & across


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [(rise, {"n_masks": 500, "cells": 8}), (saliency, {}), (integrated_gradients, {})],
    ids=lambda given: getattr(given, "__name__", ""),
)
@pytest.mark.parametrize(("stage", "size", "output"), [("RNet", 24, 1), ("ONet", 48, 2)])
def test_the_later_stages_look_at_the_face(
    stage: str, size: int, output: int, method: Callable[..., Attribution], options: dict[str, Any]
) -> None:
    """The box covers a third of the crop."""
    mtcnn = pytest.importorskip("facenet_pytorch", reason="pip install facenet-pytorch --no-deps").models.mtcnn
    net = getattr(mtcnn, stage)().eval()
    model = Model(net, (size, size), [0.5] * 3, [0.5] * 3, output=output, labels=["other", "face"])
    crop, face = face_crop(size, 1.6)
    values = method(model, crop, target="face", **options).values[0].clip(0)
    assert face.flatten()[int(values.argmax())]
    assert values[face].sum() / values.sum() > 1.4 * face.mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [(occlusion, {"window": 8, "stride": 4, "baseline": "blur"}), (saliency, {})],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_what_places_an_eye_lies_around_that_eye(
    method: Callable[..., Attribution], options: dict[str, Any]
) -> None:
    """Ten values are regressed: the columns, then the rows, of both eyes, the nose and both ends of the mouth."""
    mtcnn = pytest.importorskip("facenet_pytorch", reason="pip install facenet-pytorch --no-deps").models.mtcnn
    model = Model(mtcnn.ONet().eval(), (48, 48), [0.5] * 3, [0.5] * 3, output=1)
    crop, _ = face_crop(48, 1.0)
    places = model.predict(crop).scores.reshape(2, 5)
    centers = np.zeros((2, 2, 5))  # of the map of each value: column and row
    for n in range(10):
        weights = np.abs(method(model, crop, target=n, **options).values[0])
        along = [weights.sum(axis=axis) @ (np.arange(48) + 0.5) / 48 / weights.sum() for axis in (0, 1)]
        centers[:, n // 5, n % 5] = along
    for found, expected in zip(centers.mean(axis=1), places, strict=True):
        assert np.corrcoef(found, expected)[0, 1] > 0.9
