"""A call made ready, climbed and turned into results, for one target or several in one batch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from ..checks import Pair, PresetName, as_pair, unfit
from ..errors import Interrupted, ParameterError
from ..execution import OUTPUT, differentiable
from ..models import Model, Structure
from ..progress import Progress
from ..results import Provenance, Visualization, plain_values
from ..targets import describe, is_of_classes, note_on_scores
from .ascent import Ascent, DivergedError, climb
from .closeness import Near, kept_near
from .evidence import is_one_class, judgments, rival_of
from .film import Film, Watching
from .objective_network import Network
from .objectives import Objective, as_objective, bound
from .parameterizations import Canvas, parameterization
from .photo_statistics import PhotoStatistics, built_in, measured
from .picture_sizes import check_makes_pictures, enough_for
from .presets import Recipe, recipe_of
from .remarks import remarks

NOISE = 0.1  # standard deviation of a noise start in pixels, in normalized units
SMALL = 96  # pixels: a network with a smaller input may know things at one place and of one size only
SMALL_CROP = (0.85, 1.05)  # so that its views are of the whole picture
RETRIES = 2
N_PHOTOS = 16  # read at once


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of a call; see `visualize`."""

    preset: PresetName | Recipe
    seed: int
    layer: str | None = None
    size_px: int | Pair | None = None
    n_steps: int | None = None
    l2: float | None = None
    start: Any = None
    n_frames: int = 0
    judge: Model | None = None
    photos: Any = None
    is_whole: bool = False  # whether the picture is the network's input itself, which no preprocessing crops
    near: Near | None = None
    opens: bool = False  # whether each step opens units that are shut, not only where nothing else has a gradient


class Setting:
    """A call made ready: what is climbed, on which canvas, by which recipe."""

    def __init__(self, model: Model, targets: Sequence[Any], asked: Asked) -> None:
        self.model, self.targets, self.asked = model, targets, asked
        recipe = recipe_of(asked.preset, asked.n_steps, {} if asked.l2 is None else {"l2": asked.l2})
        given = _given(model, asked)
        known = model.preprocessing
        is_input = known is None or recipe.domain == "pixels" or asked.is_whole
        self.sizes = None if known is None or is_input else (known.resize_px, known.input_size)
        size = (given.shape[2], given.shape[3]) if given is not None else None
        if size is None and asked.size_px is not None:
            size = as_pair(asked.size_px, "size_px")
        if size is None and self.sizes is not None:
            size = self.sizes[0]
        if size is None and model.known_size is None and model.several is None:
            raise ParameterError(
                "the input size of this network is not known: give `size_px`, the side of the picture in pixels, "
                "or the network's `input_size`"
            )
        channels, height, width = model.input_shape(size) if given is None else given.shape[1:]
        self.seen: tuple[int, int, int] = (channels, *(self.sizes[1] if self.sizes else (height, width)))
        if isinstance(asked.preset, str) and recipe.domain != "pixels" and min(self.seen[1:]) < SMALL:
            recipe = replace(recipe, crop=SMALL_CROP, crop_end=None)
        self.recipe = recipe
        self.structure: Structure = model.checked(self.seen, gradients=True)
        objectives = [as_objective(target, asked.layer) for target in targets]
        is_free = self.sizes is not None and given is None and asked.size_px is None
        if is_free and (small := enough_for(model, self.structure, objectives, self.seen)):
            self.sizes, (height, width), self.seen = (small, small), small, (channels, *small)
        canvas = Canvas((channels, height, width), known, built_in(channels), model.device)
        if asked.photos is not None:
            canvas = replace(canvas, statistics=_measured(model, canvas, asked.photos, recipe))
        self.make = parameterization(recipe.domain, canvas, recipe.contrast)
        self.given, self.canvas = given, canvas
        self.network, self.names = self._bound(objectives)

    def _bound(self, objectives: Sequence[Objective]) -> tuple[Network, list[str]]:
        """The network with the objectives of all targets."""
        names = dict.fromkeys(name for o in objectives for name in o.layers)
        reads_output = names.pop(OUTPUT, 0) is None
        layers = {name: self.structure.find(name) for name in names}
        output = None
        if reads_output:
            zero = torch.zeros(1, *self.seen, device=self.model.device, dtype=self.model.dtype)
            with torch.no_grad():
                output = self.model.module(zero)
        found = [bound(o, self.model, self.seen, layers, output) for o in objectives]
        layout = self.structure.memory_format
        network = Network(self.model, layers, found, layout, reads_output=reads_output, opens=self.asked.opens)
        return network, [one.name for one in found]

    def first(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """The free variables of the first pictures, each drawn by a generator of its own."""
        n, start = len(self.targets), self.asked.start
        if self.given is not None:
            free = self.make.inverse(self.given.expand(n, -1, -1, -1))
        elif start == "zero":
            zero = torch.zeros(n, *self.canvas.shape, dtype=torch.float32, device=self.model.device)
            free = self.make.inverse(zero)
        else:
            free = torch.cat([self.make.start(1, generator) for generator in generators])
            if start == "noise" and self.recipe.domain == "pixels":
                shape = free.shape[1:]
                drawn = [torch.randn(shape, generator=g, dtype=torch.float32, device="cpu") for g in generators]
                free = NOISE * torch.stack(drawn).to(free)
        kind = torch.promote_types(self.model.dtype, torch.float32)
        return free.to(kind if self.recipe.domain == "pixels" else torch.float32).contiguous().clone()

    def keep(self, first: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What keeps the free variables near the first ones, if that was asked for."""
        return None if self.asked.near is None else kept_near(self.model, self.asked.near, self.make, first)

    def notes(self) -> list[str]:
        """What the reader of the result should know before anything has run."""
        found: list[str] = []
        if self.asked.layer is None and is_of_classes(self.targets[0]) and self.structure.ends_in:
            found.extend(note_on_scores(self.model.normalization(self.seen, 2)))
        if self.model.preprocessing is None and self.recipe.domain != "pixels":
            found.append("the network's preprocessing is not known: its input was taken to run from -2 to 2")
        if self.seen[0] not in (1, 3):
            found.append(f"the picture shows the mean of the {self.seen[0]} channels; `input` has each of them")
        return found


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


def _measured(model: Model, canvas: Canvas, photos: Any, recipe: Recipe) -> PhotoStatistics:
    """The statistics of the user's images, at the size of the canvas."""
    if recipe.domain == "pixels":
        raise ParameterError("photos: a picture of free pixels has no statistics; take another preset")
    inputs = model.inputs(photos)
    inputs.need_pictures("visualize")

    def batches() -> Iterator[torch.Tensor]:
        for batch in inputs.batches(N_PHOTOS):
            x = functional.interpolate(batch.x.float(), size=canvas.shape[1:], mode="bilinear", antialias=True)
            yield canvas.to_unit(x.to(canvas.device)).cpu()

    return measured(batches)


def _given(model: Model, asked: Asked) -> torch.Tensor | None:
    """The image (1, C, H, W) from which to start, if one is given."""
    start = asked.start
    if start is None or (isinstance(start, str) and start in ("zero", "noise")):
        return None
    if asked.size_px is not None:
        raise ParameterError("size_px: a picture that starts from an image has the size of that image")
    if isinstance(start, str) and not os.path.exists(start):
        raise unfit(start, "start", "'zero', 'noise', an image, or the path of one")
    return one_input(model, start, "start", "visualize")


def one_input(model: Model, image: Any, name: str, method: str) -> torch.Tensor:
    """One image as a network takes it, (1, C, H, W) in at least float32; named as an argument of a method."""
    inputs = model.inputs(image)
    inputs.need_pictures(method)
    if len(inputs) != 1:
        raise ParameterError(f"{name}: {len(inputs)} images; expected one")
    x: torch.Tensor = next(inputs.batches(1)).x
    return x.to(model.device, torch.promote_types(model.dtype, torch.float32))
