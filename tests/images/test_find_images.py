"""The options of `load_images`, and what a data set gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch.utils.data import Dataset

from convscope import load_images
from convscope.errors import ParameterError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(
            ("background", v)
            for v in ("x", "red", (1, 2), (0, 0, 256), (0, 0, -1), (0.5, 0, 0), None, (True, 0, 0))
        ),
        *(("on_error", v) for v in ("Skip", "ignore", True, 1)),
        *(("at_least", v) for v in (0, -1, 2.5, "8", True)),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"{option}="):
        load_images(np.zeros((2, 2, 3), np.uint8), **{option: value})


@pytest.mark.parametrize("background", [[1, 2, 3], np.array([1, 2, 3], np.uint8), (np.int64(1), 2, 3)])
def test_a_color_may_be_any_three_whole_numbers(background: Any) -> None:
    assert load_images(np.zeros((2, 2, 3), np.uint8), background=background).background == (1, 2, 3)


class Odd(Dataset[Any]):
    classes = ("cat", "dog")

    def __init__(self, targets: Any) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        return np.zeros((2, 2, 3), np.uint8), 0


@pytest.mark.parametrize("targets", [[1, -1, 7], [1, [0, 1], "x"], [1], {0: 1}])
def test_targets_of_a_data_set_that_are_no_classes(targets: Any) -> None:
    expected = ("dog", "-1", "7") if targets == [1, -1, 7] else ("dog", None, None)
    assert load_images(Odd(targets)).labels == expected
