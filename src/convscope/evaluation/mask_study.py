"""How large the mask should be, in which shape and over which baseline: occlusion with all settings, compared."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..attribution import occlusion
from ..checks import Sides, as_sides
from ..errors import Interrupted, ParameterError
from ..images import load_images
from ..models import Model, as_model
from ..perturbation import SIGNS, Engine, tried_windows
from ..progress import Progress
from ..results import Attribution, Evaluation, MaskStudy, in_units
from ..targets import Target, describe
from .evaluate import check_call, evaluate
from .mask_agreement import agreement, reason_for, side_of, sign_varies, stability
from .measures import CURVES

# By the number of sides. An ellipse along one side is a rectangle, and superpixels are of pictures.
_SHAPES = {1: ("rectangle",), 2: ("rectangle", "ellipse", "superpixel"), 3: ("rectangle", "ellipse")}


@checks_arguments
def mask_study(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    windows: Sequence[int | Sides] | None = None,
    shapes: Sequence[str] | None = None,
    baselines: Sequence[Any] = ("mean", "blur", "noise"),
    n_steps: int = 12,
    engine: Engine = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> MaskStudy:
    """Run occlusion with every combination of window, shape and baseline, and recommend one.

    An occlusion map depends on what was hidden and by what. All combinations run on the same images, and each map
    is measured by insertion (the score with its best pixels alone, higher is better) minus deletion (the score
    without them), the mean over the mean image and the blurred one, the same for all. The setting with the largest
    difference is recommended. Where the maps of neighboring windows agree, the choice hardly matters.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a few, as every setting runs on each.
        target: class index, label, a list of one for each image, a callable, or nothing for the predicted class.
        windows: sides in pixels of the network's input, each one number or (height, width); by default 16, 24, 32,
            48 and 64 for 224, in proportion for other sizes. Of signals (length,), of volumes (depth, height,
            width), by default a 6th, a quarter and a third of each. Strides are half of them.
        shapes: of "rectangle", "ellipse", "superpixel"; by default all that fit: of signals the first, of volumes
            the first two.
        baselines: as `convscope.occlusion` takes them.
        n_steps: steps of the insertion and deletion curves.
        engine: of `convscope.occlusion`.
        seed: of the noise.
        progress: called with (settings done, settings in all).

    Returns:
        `MaskStudy`: for each setting the maps, insertion and deletion, agreement with the other settings (mean
        rank correlation), resolution (the side of what is hidden at once), masks and seconds; the recommended
        setting with the reason in words; and the pixels whose sign depends on the baseline.

    Raises:
        ParameterError: an empty list, a window larger than the image, an unknown shape or baseline.
        TargetError: the target is not a class of the network.
        Interrupted: on Ctrl-C, with the windows that had been run, after measuring them; on a second Ctrl-C, with
            the images measured so far.

    Cost: with the defaults on 224 px about 9,000 masks an image, and 4 * n_steps forward passes a setting.

    References:
        Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, arXiv 1311.2901.
        Sturmfels, Lundberg, Lee: Visualizing the impact of feature attribution baselines, Distill 2020.
    """
    started = time.perf_counter()
    model, images = as_model(model).bound(images)
    check_call(target, None, CURVES, n_steps)
    looked_at = images if isinstance(images, torch.Tensor) else load_images(images)
    size = model.inputs(looked_at).shape[1:]
    shapes = _SHAPES[len(size)] if shapes is None else shapes
    for name, given in (("windows", windows), ("shapes", shapes), ("baselines", baselines)):
        if given is not None and not len(given):
            raise ParameterError(f"{name}=[]: expected a list of at least one")
    sides = tried_windows(size) if windows is None else _alike(windows, len(size))
    # Baselines innermost, windows outermost: a picture has a column for each window.
    settings = [Setting(*each) for each in itertools.product(sides, shapes, baselines)]

    def occluded(setting: Setting, count: Progress) -> Attribution:
        options = setting._asdict() | {"engine": engine, "seed": seed}
        return occlusion(model, looked_at, target=target, **options, progress=count)

    found, n_masks, is_interrupted = _run(occluded, settings, len(shapes) * len(baselines), progress)
    named = {f"{n}": attribution for n, attribution in enumerate(found)}
    try:
        measured = evaluate(model, looked_at, named, target=target, measures=CURVES, n_steps=n_steps, seed=seed)
    except Interrupted as interrupted:
        measured, is_interrupted = interrupted.result, True
    if progress:
        progress(len(settings) + 1, len(settings) + 1)
    names = _names(baselines)
    about = {
        "target": describe(target),
        "windows": tuple(dict.fromkeys(s.window for s in settings[: len(found)])),
        "shapes": tuple(shapes),
        "baselines": tuple(dict.fromkeys(names)),
        "n_steps": n_steps,
        "engine": engine,
        "seed": seed,
    }
    names *= len(found) // len(baselines)
    result = _studied(model, settings[: len(found)], names, found, n_masks, measured, about, started)
    if is_interrupted:
        raise Interrupted(result)
    return result


class Setting(NamedTuple):
    """One way to hide parts of an image."""

    window: int | Sides
    shape: str
    baseline: Any


def _alike(windows: Sequence[int | Sides], n_sides: int) -> list[int | Sides]:
    """Windows that fit, each once; those with equal sides as one number."""
    every = dict.fromkeys(as_sides(window, "windows", n_sides) for window in windows)
    return [window[0] if len(set(window)) == 1 else window for window in every]


def _run(
    occluded: Callable[[Setting, Progress], Attribution],
    settings: Sequence[Setting],
    n_each: int,
    progress: Progress | None,
) -> tuple[list[Attribution], list[int], bool]:
    """The maps of the settings, the masks that an image had in each, and whether Ctrl-C came.

    After Ctrl-C, those of the windows whose ``n_each`` settings have all run.
    """
    found: list[Attribution] = []
    n_masks: list[int] = []
    n_done = 0

    def count(done: int, total: int) -> None:
        nonlocal n_done
        n_done = done

    try:
        for setting in settings:
            n_done = 0
            maps = occluded(setting, count)
            n_masks.append(round(n_done / len(maps.names)))
            found.append(maps)
            if progress:
                progress(len(found), len(settings) + 1)
    except KeyboardInterrupt:
        found = found[: len(found) // n_each * n_each]
        if not found:
            raise KeyboardInterrupt from None  # without the partial result of a method
        return found, n_masks, True
    return found, n_masks, False


def _studied(
    model: Model,
    settings: Sequence[Setting],
    names: Sequence[str],
    found: Sequence[Attribution],
    n_masks: Sequence[int],
    measured: Evaluation,
    about: Mapping[str, Any],
    started: float,
) -> MaskStudy:
    """Find the best setting, and how its maps agree with the others; ``names`` are those of the baselines."""
    deletion, insertion = (measured.areas(kind)[: len(found)] for kind in ("deletion", "insertion"))
    n_images = len(measured.names)  # fewer than there are maps, if measuring was interrupted
    maps = np.stack([a.values[:n_images] for a in found])
    alike = agreement(maps)
    best = int(np.nan_to_num((insertion - deletion).mean(axis=1), nan=-np.inf).argmax())
    window, shape, _ = settings[best]
    rivals = [n for n, s in enumerate(settings) if (s.window, s.shape) == (window, shape)]
    same = [n for n, s in enumerate(settings) if (s.shape, names[n]) == (shape, names[best])]
    n_sides = maps.ndim - 2
    stable = stability([settings[n].window for n in same], alike[best, same], window, n_sides)
    chosen = f"{in_units(window, n_sides)} {shape} over {names[best]}"
    return MaskStudy(
        windows=tuple(s.window for s in settings),
        shapes=tuple(s.shape for s in settings),
        baselines=tuple(names),
        maps=maps,
        deletion=deletion,
        insertion=insertion,
        agreement=(alike.sum(axis=1) - 1) / max(len(alike) - 1, 1),
        alike=alike,
        resolution_px=np.array([side_of(s.window) for s in settings], np.float64),
        n_masks=np.array(n_masks[: len(found)]),
        seconds=np.array([a.provenance.seconds for a in found]),
        recommended=best,
        reason=f"{chosen}: {reason_for(insertion, deletion)}, {stable}",
        sign_varies=sign_varies(maps[rivals]),
        images=found[0].images[:n_images],
        names=found[0].names[:n_images],
        targets=found[0].targets[:n_images],
        provenance=model.provenance(
            "mask_study",
            about,
            started,
            measured={"engine": found[best].provenance.measured.get("engine")},
            notes=list(dict.fromkeys(_notes(found, measured))),
            skipped=found[0].provenance.skipped,
        ),
    )


def _notes(found: Sequence[Attribution], measured: Evaluation) -> list[str]:
    """The notes of all settings, but for those on signs, of which the study has its own map."""
    notes = [note for result in (*found, measured) for note in result.provenance.notes]
    return [note for note in notes if not note.startswith(SIGNS)]


def _names(baselines: Sequence[Any]) -> list[str]:
    """The names of the baselines, numbered if two would have the same."""
    plain = [str(b) if isinstance(b, str | int | float) else "image" for b in baselines]
    return [f"{name} {n + 1}" if plain.count(name) > 1 else name for n, name in enumerate(plain)]
