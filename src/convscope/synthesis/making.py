"""A call climbed and turned into results, for one target or several in one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import Interrupted
from ..execution import differentiable
from ..models import Model
from ..progress import Progress
from ..results import Provenance, Visualization, plain_values
from ..targets import describe
from .ascent import Ascent, DivergedError, climb
from .evidence import is_one_class, judgments, rival_of
from .film import Film, Watching
from .objectives import Objective
from .picture_sizes import check_makes_pictures
from .remarks import remarks
from .setting import Asked, Setting

RETRIES = 2


def made(
    model: Model, targets: Sequence[Any], asked: Asked, watch: Watching | None, progress: Progress | None
) -> list[Visualization]:
    """A picture for each target."""
    started = time.perf_counter()
    check_makes_pictures(model)
    with differentiable(model.module):
        setting = Setting(model, targets, asked)
        film = Film(model, setting.recipe.n_steps, asked.n_frames, watch, progress)
        ascent, stopped, notes = _climbed(setting, film)
        finished = _finished(ascent)
        chosen = {} if isinstance(asked.preset, str) else {"recipe": asdict(ascent.recipe)}
        origin = model.provenance("visualize", {}, started, measured=chosen)
        found = [
            _result(setting, ascent, finished, film, i, origin, [*stopped, *setting.notes(), *notes])
            for i in range(len(targets))
        ]
    if stopped:
        raise Interrupted(found[0] if len(found) == 1 else found)
    return [_judged(one, model, target, asked) for one, target in zip(found, targets, strict=True)]


def _judged(found: Visualization, model: Model, target: Any, asked: Asked) -> Visualization:
    """A result with what the network itself, if its target is a class, and the judge take the picture for."""
    judges = [model] if is_one_class(model, target, asked.layer) else []
    judges += [asked.judge] if asked.judge else []
    return replace(found, evidence=judgments(found.image, found.target, judges))


def _drawing(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _climbed(setting: Setting, film: Film) -> tuple[Ascent, list[str], list[str]]:
    """The finished ascent, a note if it was interrupted, and notes on ascents that failed before."""
    recipe, notes = setting.recipe, list[str]()
    for n_left in range(RETRIES, -1, -1):
        generators = [_drawing(setting.asked.seed + i) for i in range(len(setting.targets))]
        free = setting.first(generators)
        film.rewind()
        keep = setting.keep(free)
        ascent = Ascent(
            setting.network, setting.make, free, recipe, setting.sizes, generators, setting.names, keep
        )
        try:
            climb(ascent, film.take)
            why = "the score fell" if ascent.has_collapsed else ""
        except DivergedError as error:
            why = str(error)
        except KeyboardInterrupt:
            ascent.look()
            return ascent, [f"interrupted after {len(ascent.scores)} of {recipe.n_steps} steps"], notes
        if not why or not n_left:
            break
        recipe = replace(recipe, step_size=recipe.step_size / 4)
        notes.append(
            f"{why} after {len(ascent.scores)} steps: started again with a step_size of {recipe.step_size:g}"
        )
    return ascent, [], notes


class _Finished(NamedTuple):
    """The best pictures (B, C, H, W), what the network sees of them, their scores (B,), and notes."""

    pictures: torch.Tensor
    seen: torch.Tensor
    scores: torch.Tensor
    notes: list[str]


def _finished(ascent: Ascent) -> _Finished:
    with torch.no_grad():
        pictures = ascent.pictures(ascent.best)
        scores = ascent.whole_values(ascent.best)
        return _Finished(pictures, ascent.whole(pictures), scores, ascent.strayed(scores))


def _result(
    setting: Setting, ascent: Ascent, finished: _Finished, film: Film, i: int, origin: Provenance,
    notes: Sequence[str],
) -> Visualization:  # fmt: skip
    """The best picture of a target, with notes on how far to trust it."""
    model, asked, target = setting.model, setting.asked, setting.targets[i]
    picture, seen = finished.pictures[i : i + 1], finished.seen[i : i + 1]
    scores = [*(float(one[i]) for one in ascent.scores), float(finished.scores[i])]
    rival = rival_of(model, seen, target) if is_one_class(model, target, asked.layer) else None
    parameters = {
        "target": describe(target) if not isinstance(target, Objective) else setting.names[i],
        "layer": asked.layer,
        "preset": asked.preset if isinstance(asked.preset, str) else "of its own",
        "n_steps": ascent.recipe.n_steps,
        "l2": ascent.recipe.l2 or None,
        "start": asked.start
        if asked.start is None or (isinstance(asked.start, str) and asked.start in ("zero", "noise"))
        else "image",
        "size_px": asked.size_px,
        "n_frames": asked.n_frames or None,
        "seed": asked.seed + i,
        **({} if asked.photos is None else {"photos": "given"}),
    }
    distance = asked.near.distance if asked.near else None
    own = remarks(float(ascent.start[i]), scores, rival, ascent.recipe, distance)
    return Visualization(
        image=model.to_pixels(picture)[0],
        input=seen[0].float().cpu().contiguous().numpy(),
        scores=np.array(scores, np.float32),
        frames=film.frames(picture),
        target=setting.names[i],
        provenance=replace(
            origin,
            parameters={name: plain_values(value) for name, value in parameters.items()},
            notes=tuple(dict.fromkeys((*origin.notes, *notes, *finished.notes, *own))),
        ),
    )
