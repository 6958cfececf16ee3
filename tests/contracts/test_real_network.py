"""Every method once on the network that is installed with convscope, and on a photograph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.contracts.test_attributions import FOR_CONVOLUTIONS, Method

from convscope.models import Model

# As few runs as still make a map; every other option is at its default.
FEW: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 4},
    "kernel_shap": {"n_samples": 40, "superpixel": 56},
    "lime": {"n_samples": 40, "superpixel": 56},
    "occlusion": {"window": 56, "stride": 56},
    "occlusion_multiscale": {"windows": [64, 96], "stride": 32},
    "rise": {"n_masks": 40},
    "score_cam": {"layer": "blocks.0"},  # 16 channels
    "smoothgrad": {"n_samples": 4},
    "vargrad": {"n_samples": 4},
}


@pytest.mark.parametrize("method", FOR_CONVOLUTIONS)
def test_a_map_of_the_cup(method: Method, lite0: Model, coffee: np.ndarray) -> None:
    found = method(lite0, coffee, **FEW.get(method.__name__, {}))
    assert found.targets == ("espresso",)
    assert found.values.shape == (1, 224, 224)
    assert np.isfinite(found.values).all()
    assert found.values.std() > 0
    assert found.scores[0] == pytest.approx(lite0.predict(coffee).scores[0].max(), rel=1e-4)
