"""Maps of many image files at once, by the first quick method that fits the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..attribution import ATTRIBUTIONS
from ..errors import ImageError, LayerError, ModelError, NotPicturesError
from ..images import load_images
from ..models import Model
from ..progress import Progress
from ..results import Attribution
from ..store.keys import path_of
from ..targets import Target

QUICK = ("grad_cam", "saliency", "occlusion")
# Occlusion has a sign anyway.
_WITH_SIGN: dict[str, dict[str, Any]] = {
    "grad_cam": {"kind": "signed"},
    "saliency": {"kind": "input_x_gradient"},
}


def maps_of_files(
    model: Model,
    files: Sequence[Path],
    *,
    target: Target = None,
    with_sign: bool = False,
    methods: Sequence[str] = QUICK,
    progress: Progress | None = None,
) -> Attribution | None:
    """Maps by the first of some methods that fits the network; None where none of the files can be read.

    Without a target they are for the predicted class. ``with_sign``: they also show what speaks against it.
    """
    if not files:
        return None
    for method in methods:
        options = _WITH_SIGN.get(method, {}) if with_sign else {}
        try:
            images = load_images(files, on_error="skip")
            return ATTRIBUTIONS[method](model, images, target=target, progress=progress, **options)  # type: ignore[no-any-return]
        except ImageError:
            return None
        except (LayerError, ModelError, NotPicturesError):
            if method == methods[-1]:
                raise
    return None


def readable(names: Sequence[str]) -> list[Path]:
    """The files among some names of images; images that came as arrays have none."""
    files = (Path(path_of(name)) for name in names)
    return [file for file in files if file.is_absolute() and file.is_file()]
