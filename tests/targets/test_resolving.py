"""Targets: indices, labels, lists, callables, or the predicted class."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from convscope import ModelError, ParameterError, TargetError
from convscope.targets import describe, find_class, resolve
from convscope.targets.classes import class_scores

LABELS = ("tench, Tinca tinca", "tabby", "tiger cat", "tabby cat", "crane", "crane")
OUTPUT = torch.tensor([[0.0, 1, 2, 3, 4, 9], [7.0, 1, 2, 3, 4, 5]])


def indices(target: object, **options: object) -> list[int]:
    return resolve(target, OUTPUT, LABELS, **options).indices.tolist()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, [5, 0]),
        (2, [2, 2]),
        (np.int64(2), [2, 2]),
        (np.array(2), [2, 2]),
        (torch.tensor(2), [2, 2]),
        ("tabby", [1, 1]),
        (" Tabby ", [1, 1]),
        ("Tinca tinca", [0, 0]),
        ("tench", [0, 0]),
        ([1, "tiger cat"], [1, 2]),
        (np.array([1, 2]), [1, 2]),
        (torch.tensor([1, 2]), [1, 2]),
        (np.array(["tabby", "tiger cat"]), [1, 2]),
    ],
)
def test_a_target_may_be_given_in_many_ways(target: object, expected: list[int]) -> None:
    assert indices(target) == expected
    describe(target)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (6, "classes 0 to 5"),
        (-1, "classes 0 to 5"),
        (1.5, "not a target"),
        ([1.5, 2], "classes 0 to 5"),
        (True, "index or a label"),
        ("taby", "did you mean 'tabby'"),
        ("crane", r"label of classes \[4, 5\]"),
        ("zzz", "no class has the label"),
        ([1], "1 target for 2 images"),
        ([1, None], "index or a label"),
        (object(), "not a target"),
        ({1, 2}, "not a target"),
    ],
)
def test_what_names_no_class_is_an_error(target: object, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        indices(target)


def test_a_label_needs_labels() -> None:
    with pytest.raises(TargetError, match="no labels"):
        find_class("tabby", 6, None)


def test_a_list_is_for_all_images_and_a_batch_takes_its_part() -> None:
    assert indices([3, 4, 1, 2], positions=[2, 3], n_images=4) == [1, 2]
    with pytest.raises(TargetError, match="2 targets for 4 images"):
        indices([1, 2], positions=[2, 3], n_images=4)


def test_scores_are_logits_or_probabilities() -> None:
    assert_close(resolve(None, OUTPUT, LABELS).of(OUTPUT), torch.tensor([[9.0], [7.0]]))
    found = resolve(1, OUTPUT, LABELS, score="probability").of(OUTPUT)
    assert_close(found, OUTPUT.softmax(1)[:, 1:2])
    with pytest.raises(ParameterError, match="score='loss'"):
        resolve(1, OUTPUT, LABELS, score="loss")


def test_rows_can_be_variants_of_one_image() -> None:
    targets = resolve([2, 4], OUTPUT, LABELS)
    assert targets.of(OUTPUT).tolist() == [[2], [4]]
    assert resolve([4], OUTPUT[:1], LABELS).of(OUTPUT).tolist() == [[4], [4]]
    assert targets.names == ("tiger cat", "crane")


def test_a_callable_gives_one_score_a_row() -> None:
    targets = resolve(lambda out: out.sum(1), OUTPUT, None)
    assert targets.of(OUTPUT).tolist() == [[19], [22]]
    for bad in (lambda out: out, lambda out: out.sum(), lambda out: 3):
        with pytest.raises(TargetError, match="one score per row"):
            resolve(bad, OUTPUT, None).of(OUTPUT)


def test_class_scores_are_a_matrix() -> None:
    assert class_scores(OUTPUT) is OUTPUT
    assert class_scores({"out": OUTPUT}) is OUTPUT
    assert class_scores(OUTPUT[0]).tolist() == OUTPUT[0][:, None].tolist()  # one score for each image
    for bad in ((OUTPUT, OUTPUT), {"a": OUTPUT, "b": OUTPUT}, OUTPUT[None], OUTPUT.int(), [OUTPUT], None):
        with pytest.raises(ModelError, match="class scores"):
            class_scores(bad)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (
            torch.zeros(2, 3, 4, 4),
            r"give Region\(class\) or Region.at\(\(row, column\)\) as target\. For anything",
        ),
        (OrderedDict(out=torch.zeros(2, 3, 4, 4)), r"returns an OrderedDict .* give Region\(class\)"),
        (
            [dict.fromkeys(("boxes", "labels", "scores"), OUTPUT)],
            r"give a Detection as target \(`detections` lists",
        ),
    ],
)
def test_maps_and_boxes_are_told_the_targets_that_they_have(returned: object, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        class_scores(returned)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("cross at 10,10,30,30", r"here Detection\(\(10,10,30,30\), 'cross'\)"),
        ("tabby at 4, 8", r"here Region.at\(\(4, 8\), 'tabby'\)"),
        ("tabby at 4, 8, 9", "no class has the label"),
    ],
)
def test_a_place_in_a_label_names_the_target_that_has_one(target: str, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        find_class(target, 2, ["tabby", "cross"])


@pytest.mark.parametrize("name", ["logits", "cls_logits", "out"])
@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3, 4, 4), (2,)])
def test_scores_of_boxes_or_pixels_leave_no_other_matrix_to_be_class_scores(
    name: str, shape: tuple[int, ...]
) -> None:
    """Of a detector's head, the anchors (A, 4) would be taken for the scores of A images."""
    with pytest.raises(ModelError, match=f"nothing shows where the class scores .*{name}: float32"):
        class_scores({name: torch.zeros(shape), "anchors": OUTPUT})
    assert class_scores({"logits": OUTPUT, "out": torch.zeros(shape)}) is OUTPUT  # the surer name
