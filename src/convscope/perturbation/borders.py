"""Notes on images whose background differs from the baseline.

A gray window on a black background looks like a gray object. If an image's border has one color and the baseline
another, a note says so and suggests a nearer baseline.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..models import Model, Preprocessing
from ..results import Remark
from .baselines import PIXEL_VALUES, Baseline, baseline_of, describe_baseline, packed_baseline

_BAND = 0.03  # the width of the border, as a share of the shorter side
_NEAR = 0.05  # of the pixel range: colors this near count as equal
_MOST = 0.9  # the share of the border's pixels that must have the same color
_FAR = 2 * _NEAR
_CALLED = {2: ("signal", "value"), 3: ("image", "color"), 4: ("volume", "color")}  # by the number of dimensions


def hiding(
    model: Model, baseline: Baseline, *, preprocessed: bool, seed: int, notes: list[str]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """As `baseline_of`, and report in ``notes`` in how many images the border differs from the baseline.

    Call the returned function once per image.
    """
    if model.packing is not None:
        return packed_baseline(model, model.packing, baseline, preprocessed=preprocessed, seed=seed)
    hide = baseline_of(model, baseline, preprocessed=preprocessed, seed=seed)
    remark, name = Remark(notes), describe_baseline(baseline)
    n_images, nearer = 0, list[str]()

    def hide_and_look(image: torch.Tensor) -> torch.Tensor:
        nonlocal n_images
        behind = hide(image)
        n_images += 1
        color = background(image, behind, model.preprocessing)
        if color is not None:
            nearer.append(_named(color, image, model.preprocessing))
        if nearer:
            what, shade = _CALLED[image.ndim]
            where = f"the {what}" if n_images == 1 else f"{len(nearer)} of {n_images} {what}s"
            better = nearer[0] if len(set(nearer)) == 1 else "'blur'"
            remark.say(
                f"the border of {where} has a single {shade}, unlike the baseline {name!r}, which looks like an "
                f"object there; baseline={better} is nearer"
            )
        return behind

    return hide_and_look


def background(
    image: torch.Tensor, behind: torch.Tensor, preprocessing: Preprocessing | None
) -> torch.Tensor | None:
    """The color (C,) of an image's border if it has only one and the baseline differs from it there, else None.

    Args:
        image: (C, H, W), preprocessed; or a signal (C, L), a volume (C, D, H, W).
        behind: of the same shape, the baseline.
        preprocessing: that of the network, to convert colors to [0, 1]; if None, the image's own range is used.
    """
    shown, hidden = (_border(_unit(x, image, preprocessing)) for x in (image, behind))
    color = shown.median(dim=1).values
    is_near = (shown - color[:, None]).abs().amax(dim=0) <= _NEAR
    distance = (hidden - color[:, None]).abs().amax(dim=0).mean()
    return color if bool(is_near.float().mean() >= _MOST) and bool(distance > _FAR) else None


def _unit(x: torch.Tensor, image: torch.Tensor, preprocessing: Preprocessing | None) -> torch.Tensor:
    if preprocessing is not None:
        return preprocessing.to_unit(x.float())
    low, high = image.min().float(), image.max().float()
    return (x.float() - low) / (high - low)  # NaN for an image of a single color, which has no border


def _border(x: torch.Tensor) -> torch.Tensor:
    """The P pixels along all sides, (C, P)."""
    sides = x.shape[1:]
    band = max(1, round(_BAND * min(sides)))
    inside = torch.zeros(sides, dtype=torch.bool, device=x.device)
    inside[tuple(slice(band, side - band) for side in sides)] = True
    return x[:, ~inside]


def _named(color: torch.Tensor, image: torch.Tensor, preprocessing: Preprocessing | None) -> str:
    """A baseline near a color, as Python code."""
    if preprocessing is not None:
        near = (name for name, value in PIXEL_VALUES.items() if bool((color - value).abs().max() <= _FAR))
        return repr(next(near, "blur"))
    if bool(color.max() - color.min() > _NEAR):
        return repr("blur")
    low, high = float(image.min()), float(image.max())
    return f"{low + float(color.mean()) * (high - low):.3g}"
