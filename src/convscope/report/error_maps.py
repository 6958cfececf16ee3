"""What the network looked at where it is wrong: one quick map of each error in a collection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..attribution import ATTRIBUTIONS
from ..errors import ImageError, LayerError, ModelError, NotPicturesError
from ..images import load_images
from ..models import Model
from ..results import Attribution
from ..store.keys import path_of

QUICK = ("grad_cam", "saliency", "occlusion")  # the first that fits the network


def error_maps(model: Model, names: Sequence[str], progress: Any) -> Attribution | None:
    """Maps for the predicted class of those images whose files can be read; None where there are none."""
    files = readable(names)
    if not files:
        return None
    for method in QUICK:
        try:
            return ATTRIBUTIONS[method](model, load_images(files, on_error="skip"), progress=progress)  # type: ignore[no-any-return]
        except ImageError:  # none of the files can be read any more
            return None
        except (LayerError, ModelError, NotPicturesError):
            if method == QUICK[-1]:
                raise
    return None


def readable(names: Sequence[str]) -> list[Path]:
    """The files among some names of images; images that came as arrays have none."""
    files = (Path(path_of(name)) for name in names)
    return [file for file in files if file.is_absolute() and file.is_file()]
