"""Names of methods, as people write them."""

from __future__ import annotations

import pytest

from convscope import ATTRIBUTIONS, ParameterError
from convscope.registry import method_key, method_keys


def test_names_are_taken_as_people_write_them() -> None:
    assert method_key("grad_cam") == method_key("grad-cam") == method_key("Grad-CAM") == "grad_cam"
    assert method_keys("all") == method_keys(["all"]) == list(ATTRIBUTIONS)
    assert method_keys("rise") == ["rise"]
    assert method_keys(["rise", "lime", "rise"]) == ["rise", "lime"]


@pytest.mark.parametrize("name", ["gradcam", "GradCam", "grad_cams"])
def test_a_name_that_is_none_gets_a_near_one(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"'{name}' is no method; did you mean grad_cam.*expected one of"):
        method_key(name)


@pytest.mark.parametrize("name", [None, 3, ["saliency"], "xyz"])
def test_anything_else_is_refused_with_the_list(name: object) -> None:
    with pytest.raises(ParameterError, match=r"is no method; .*expected one of .*saliency"):
        method_key(name)


def test_no_name_at_all_is_refused() -> None:
    with pytest.raises(ParameterError, match="at least one"):
        method_keys([])
