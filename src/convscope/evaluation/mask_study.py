"""How large the mask should be, of which shape, and over what: occlusion by every setting, compared."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..attribution import occlusion
from ..errors import Interrupted, ParameterError
from ..images import load_images
from ..models import Model, as_model
from ..perturbation import SIGNS, SLIGHT, Engine, tried_windows
from ..progress import Progress
from ..results import Array, Attribution, Evaluation, MaskStudy
from ..targets import Target, describe
from .evaluate import check_call, evaluate
from .measures import CURVES

_STABLE = 0.8  # rank correlation from which two maps say the same
_NEAR = 2  # times its side: a window further off says nothing of how stable the map is


@checks_arguments
def mask_study(
    model: Model | nn.Module,
    images: Any,
    target: Target = None,
    *,
    windows: Sequence[int] | None = None,
    shapes: Sequence[str] = ("rectangle", "ellipse", "superpixel"),
    baselines: Sequence[Any] = ("mean", "blur", "noise"),
    steps: int = 12,
    engine: Engine = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> MaskStudy:
    """Occlusion by every combination of window, shape and baseline: which one to take, and how much hangs on it.

    A map of occlusion depends on what was hidden and by what. Here all choices are run on the same images, and
    each map is measured by what it says of the score: insertion (the score when only its best pixels are there,
    higher is better) minus deletion (when they are gone), the mean over the mean image and the blurred one, for
    all settings alike. The largest is recommended. Where maps of neighboring windows agree, the choice hardly
    matters.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a few, as all settings are run on each.
        target: class index, label, a list of one for each image, a callable, or nothing for the predicted class.
        windows: sides in pixels of the network's input; by default 16, 24, 32, 48 and 64 of 224, and as much of
            other sizes. Strides are half of them.
        shapes: of "rectangle", "ellipse", "superpixel".
        baselines: as `convscope.occlusion` takes them.
        steps: points on the insertion and deletion curves.
        engine: of `convscope.occlusion`.
        seed: of the noise.
        progress: called with (settings done, settings in all).

    Returns:
        `MaskStudy`: of each setting the maps, insertion and deletion, agreement with the other settings (mean rank
        correlation), resolution (the side of what is hidden at once), masks and seconds; the recommended setting
        with the reason in words; and the pixels whose sign depends on the baseline.

    Raises:
        ParameterError: an empty list, a window larger than the image, an unknown shape or baseline.
        TargetError: the target is not a class of the network.
        Interrupted: on Ctrl-C, with the windows that had been run; these are measured first, and a second one
            leaves the images measured before it.

    Cost: with the defaults on 224 px about 9,000 masks an image, and 4 * steps forward passes a setting.

    References:
        Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, arXiv 1311.2901.
        Sturmfels, Lundberg, Lee: Visualizing the impact of feature attribution baselines, Distill 2020.
    """
    started = time.perf_counter()
    model = as_model(model)
    check_call(target, None, CURVES, steps)
    looked_at = images if isinstance(images, torch.Tensor) else load_images(images)
    size = model.inputs(looked_at).shape[1:]
    for name, given in (("windows", windows), ("shapes", shapes), ("baselines", baselines)):
        if given is not None and not len(given):
            raise ParameterError(f"{name}=[]: expected a list of at least one")
    sides = tried_windows(size) if windows is None else windows
    # Baselines innermost, windows outermost: a picture has a column for each window.
    settings = [Setting(*each) for each in itertools.product(sides, shapes, baselines)]
    found: list[Attribution] = []
    n_masks: list[int] = []
    is_interrupted = False
    try:
        for setting in settings:
            found.append(_occluded(model, looked_at, target, setting, engine, seed, n_masks))
            if progress:
                progress(len(found), len(settings) + 1)
    except KeyboardInterrupt:  # all settings of some windows are a study of these
        each = len(shapes) * len(baselines)
        found = found[: len(found) // each * each]
        if not found:
            raise KeyboardInterrupt from None  # and not with a method's part
        is_interrupted = True
    named = {f"{n}": attribution for n, attribution in enumerate(found)}
    try:
        measured = evaluate(model, looked_at, named, target=target, measures=CURVES, steps=steps, seed=seed)
    except Interrupted as interrupted:
        measured, is_interrupted = interrupted.result, True
    if progress:
        progress(len(settings) + 1, len(settings) + 1)
    about = {
        "target": describe(target),
        "windows": tuple(dict.fromkeys(s.window for s in settings[: len(found)])),
        "shapes": tuple(shapes),
        "baselines": tuple(dict.fromkeys(_names(baselines))),
        "steps": steps,
        "engine": engine,
        "seed": seed,
    }
    names = _names(baselines) * (len(found) // len(baselines))
    result = _studied(model, settings[: len(found)], names, found, n_masks, measured, about, started)
    if is_interrupted:
        raise Interrupted(result)
    return result


class Setting(NamedTuple):
    """One way to hide a part of an image."""

    window: int
    shape: str
    baseline: Any


def _occluded(
    model: Model, images: Any, target: Target, setting: Setting, engine: Engine, seed: int, n_masks: list[int]
) -> Attribution:
    """The maps of one setting; how many masks an image had is added to ``n_masks``."""
    n_done = 0

    def count(done: int, total: int) -> None:
        nonlocal n_done
        n_done = done

    window, shape, baseline = setting
    options: dict[str, Any] = {"window": window, "shape": shape, "baseline": baseline, "engine": engine}
    found = occlusion(model, images, target=target, **options, seed=seed, progress=count)
    n_masks.append(round(n_done / len(found.names)))
    return found


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
    """Which setting is the best, and how its maps agree with the others; ``names`` are those of the baselines."""
    deletion, insertion = (measured.areas(kind)[: len(found)] for kind in ("deletion", "insertion"))
    n_images = len(measured.names)  # fewer than there are maps of where the measuring was interrupted
    maps = np.stack([a.values[:n_images] for a in found])
    alike = agreement(maps)
    best = int(np.nan_to_num((insertion - deletion).mean(axis=1), nan=-np.inf).argmax())
    window, shape, _ = settings[best]
    rivals = [n for n, s in enumerate(settings) if (s.window, s.shape) == (window, shape)]
    same = [n for n, s in enumerate(settings) if (s.shape, names[n]) == (shape, names[best])]
    stable = stability([settings[n].window for n in same], alike[best, same], window)
    return MaskStudy(
        windows=tuple(s.window for s in settings),
        shapes=tuple(s.shape for s in settings),
        baselines=tuple(names),
        maps=maps,
        deletion=deletion,
        insertion=insertion,
        agreement=(alike.sum(axis=1) - 1) / max(len(alike) - 1, 1),
        alike=alike,
        resolution_px=np.array([s.window for s in settings], np.float64),
        n_masks=np.array(n_masks[: len(found)]),
        seconds=np.array([a.provenance.seconds for a in found]),
        recommended=best,
        reason=f"{window} px {shape} over {names[best]}: {_why(insertion, deletion)}, {stable}",
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
    """The remarks of all settings, but for those on signs: the study has its own map of these."""
    notes = [note for result in (*found, measured) for note in result.provenance.notes]
    return [note for note in notes if not note.startswith(SIGNS)]


def _names(baselines: Sequence[Any]) -> list[str]:
    """What each baseline is called, numbered where two would have the same name."""
    plain = [str(b) if isinstance(b, str | int | float) else "image" for b in baselines]
    return [f"{name} {n + 1}" if plain.count(name) > 1 else name for n, name in enumerate(plain)]


def agreement(maps: Array) -> Array:
    """Spearman's rank correlation (S, S) between S settings' maps (S, N, H, W), the mean over the images."""
    from scipy.stats import rankdata

    total = np.zeros((len(maps), len(maps)))
    for of_image in maps.transpose(1, 0, 2, 3):
        places = rankdata(of_image.reshape(len(maps), -1), axis=1)
        places -= places.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(places, axis=1, keepdims=True)
        places /= np.where(lengths > 0, lengths, 1.0)  # a flat map agrees with nothing
        total += places @ places.T
    alike = total / maps.shape[1]
    np.fill_diagonal(alike, 1.0)
    return np.asarray(alike)


def sign_varies(maps: Array) -> Array:
    """Where the maps (B, N, H, W) of several baselines have values of both signs, none of them slight."""
    slight = SLIGHT * np.abs(maps).max(axis=(0, 2, 3), keepdims=True)
    return np.asarray((maps > slight).any(axis=0) & (maps < -slight).any(axis=0))


def stability(windows: Sequence[int], alike: Array, window: int) -> str:
    """From which to which window the map stays much the same, in words.

    Args:
        windows: sides of windows of one shape and baseline.
        alike: of each the rank correlation of its map with that of ``window``.
        window: one of them.
    """
    order = np.argsort(windows)
    sides, correlations = [windows[i] for i in order], [alike[i] for i in order]
    at = sides.index(window)
    near = [side for side in sides if side != window and max(side, window) <= _NEAR * min(side, window)]
    if not near:
        return f"stability not known: no other window within {_NEAR} times its side"
    low = high = at
    while low > 0 and correlations[low - 1] >= _STABLE:
        low -= 1
    while high < len(sides) - 1 and correlations[high + 1] >= _STABLE:
        high += 1
    if low == high:
        return f"not stable: windows of {' and '.join(map(str, near))} px give other maps"
    return f"stable from {sides[low]} to {sides[high]} px (rank correlation at least {_STABLE})"


def _why(insertion: Array, deletion: Array) -> str:
    """The measures that the best setting is the best by, each with its own value; the first one decided."""
    above, below = insertion.mean(axis=1), deletion.mean(axis=1)
    best = int(np.nan_to_num(above - below, nan=-np.inf).argmax())
    is_best = {
        "insertion": np.nan_to_num(above, nan=-np.inf).argmax() == best,
        "deletion": np.nan_to_num(below, nan=np.inf).argmin() == best,
    }
    values = {"insertion": above[best], "deletion": below[best]}
    more = [f"best {name} ({values[name]:.3f})" for name in values if is_best[name]]
    return ", ".join([f"best insertion minus deletion ({above[best] - below[best]:.3f})", *more])
