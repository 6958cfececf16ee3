"""The picture to which a class, a layer, a channel or a unit responds most, by gradient ascent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..checks import Pair, as_pair, unfit
from ..errors import Interrupted, ParameterError, TargetError
from ..execution import OUTPUT, differentiable
from ..models import Model, Structure, as_model, load_model
from ..progress import Progress
from ..results import Array, Visualization
from ..targets import Several, Target, describe, is_of_classes, note_on_scores
from .ascent import Ascent, Diverged, Network, climb
from .evidence import agreement, is_one_class, judgments, rival_of
from .objectives import Objective, as_objective, bound
from .parameterizations import Canvas, parameterization
from .photo_statistics import built_in
from .presets import PresetName, Recipe, recipe_of
from .remarks import remarks

Start: TypeAlias = Literal["zero", "noise"] | Any
Watching: TypeAlias = Callable[[int, Array, float], None]
# A class, a callable or an objective without a layer; with one: None, a channel, or (channel, row, column).
VisualizeTarget: TypeAlias = Target | Objective | tuple[int, int, int]

NOISE = 0.1  # standard deviation of a noise start in pixels, in normalized units
SMALL = 96  # pixels: a network with a smaller input may know things at one place and of one size only
SMALL_CROP = (0.85, 1.05)  # so that its views are of the whole picture
N_SEEDS = 4
RETRIES = 2


@checks_arguments
def visualize(
    model: Model | nn.Module,
    target: VisualizeTarget = None,
    *,
    layer: str | None = None,
    preset: PresetName | Recipe = "natural",
    size_px: int | Pair | None = None,
    n_steps: int | None = None,
    l2: float | None = None,
    start: Start = None,
    n_frames: int = 0,
    judge: Any = None,
    check_seeds: bool = False,
    seed: int = 0,
    watch: Watching | None = None,
    progress: Progress | None = None,
) -> Visualization:
    """Find the input to which the network responds most.

    This is not a typical picture of the class but the one with the highest score that the ascent finds: it repeats
    the parts and textures that the network has learned to look for. Other presets and seeds give other pictures with
    similar scores.

        I* = argmax over I of S(I) - l2 * ||I||_2^2

    I is the preprocessed input, so the zero image is the mean image. S is a class score before softmax, or an
    activation. With preset="plain" only this is maximized, from the zero image (by Adam, with pixels clamped to valid
    colors); the score is high, but the picture is mostly noise. The other presets search among pictures that are like
    photos in some way, and ask for a high score in random views of them.

    Args:
        model: a `Model` or a module.
        target: a class index or label, a callable from the output (N, K) to scores (N,), or an `Objective`. With
            ``layer``, a channel, (channel, row, column) for one unit, or None for the whole layer.
        layer: name of the layer whose activation is maximized; the forward pass stops there.
        preset: "natural" has the colors, the contrast and the mixture of coarse and fine of photos; "maco" has the
            amplitude of each frequency fixed to that of photos; "crisp" has stronger contrast and finer detail;
            "plain" is the formula alone. Or a `Recipe` of one's own.
        size_px: side of the picture, or (height, width). By default the size to which the network's preprocessing
            resizes; with "plain" that of its input.
        n_steps: number of ascent steps, by default the preset's.
        l2: lambda, the weight of the penalty, by default the preset's: 1e-5 for "plain", 0 for the others.
        start: "zero", "noise", or an image; by default zero for "plain", and faint noise for the others.
        n_frames: number of intermediate pictures to keep, evenly spread over the steps and ending with the
            finished one; at most n_steps + 1.
        judge: another network, or its name, that is asked what it takes the picture for.
        check_seeds: make the picture with three more seeds as well, and report how far the four agree.
        seed: seed of all that is random.
        watch: called before each step and at the end with (steps done, picture (H, W, 3) uint8, score).
        progress: called with (steps done, steps in total).

    Returns:
        `Visualization`: the best picture, as the network sees it whole. Its ``evidence`` says what the network takes
        the picture for once it is rounded to 8 bits. ``provenance.notes`` warn if the score did not rise, or if the
        network takes the picture for another class than the target.

    Raises:
        TargetError: no such class, channel or unit.
        LayerError: no such layer.
        ParameterError: an option outside its range.
        ModelError: a score or a gradient is NaN or infinite, for example because float16 overflows in the network.
        Interrupted: on Ctrl-C, with the best picture so far.

    Cost: one forward and one backward pass per step and view, up to the layer: 96 steps of 4 views for "natural". A
    network in half precision runs in half precision; the picture, its gradient and its scores are float32.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> visualize(net, 1, size_px=8, n_steps=3).scores.shape
        (4,)

    References:
        Erhan, Bengio, Courville, Vincent: Visualizing higher-layer features of a deep network, 2009.
        Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2013, arXiv 1312.6034.
        Olah, Mordvintsev, Schubert: Feature visualization, Distill 2017.
        Fel et al.: MACO, 2023, arXiv 2306.06805.
    """
    model = as_model(model)
    judge = load_model(judge) if isinstance(judge, str) else None if judge is None else as_model(judge)
    if target is None and layer is None:
        raise TargetError("nothing to maximize: give a class (index or label), a callable, or a layer")
    if layer is None and (
        isinstance(target, Several) or (isinstance(target, Sequence) and not isinstance(target, str))
    ):
        raise TargetError(f"target={describe(target)!r}: one picture has one target; see visualize_each")
    asked = Asked(layer, preset, size_px, n_steps, l2, start, n_frames, judge, seed)
    (found,) = _made(model, [target], asked, watch, progress)
    if check_seeds:
        others = [
            _made(model, [target], replace(asked, seed=seed + i, judge=None), None, None)[0] for i in (1, 2, 3)
        ]
        inputs = [torch.from_numpy(one.input)[None] for one in (found, *others)]
        found = replace(found, agreement=agreement(model, inputs, layer))
    return found


def visualize_each(
    model: Model | nn.Module,
    targets: Sequence[VisualizeTarget],
    *,
    layer: str | None = None,
    preset: PresetName | Recipe = "natural",
    size_px: int | Pair | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Visualization]:
    """A picture for each target, all in one batch: see `visualize`.

    Cost: that of as many calls, less what each call costs before its first step. Memory grows with the number of
    targets.
    """
    return _made(
        as_model(model), targets, Asked(layer, preset, size_px, n_steps, None, None, 0, None, seed), None, progress
    )


@dataclass(frozen=True)
class Asked:
    """The options of a call; see `visualize`."""

    layer: str | None
    preset: PresetName | Recipe
    size_px: int | Pair | None
    n_steps: int | None
    l2: float | None
    start: Any
    n_frames: int
    judge: Model | None
    seed: int


class _Setting:
    """A call made ready: what is climbed, on which canvas, by which recipe."""

    def __init__(self, model: Model, targets: Sequence[Any], asked: Asked) -> None:
        self.model, self.targets, self.asked = model, targets, asked
        recipe = recipe_of(asked.preset, asked.n_steps, {} if asked.l2 is None else {"l2": asked.l2})
        given = _given(model, asked)
        known = model.preprocessing
        self.sizes = None if known is None or recipe.domain == "pixels" else (known.resize_px, known.input_size)
        size = (given.shape[2], given.shape[3]) if given is not None else None
        if size is None and asked.size_px is not None:
            size = as_pair(asked.size_px, "size_px")
        if size is None and self.sizes is not None:
            size = self.sizes[0]
        channels, height, width = model.input_shape(size)
        self.seen: tuple[int, int, int] = (channels, *(self.sizes[1] if self.sizes else (height, width)))
        if isinstance(asked.preset, str) and recipe.domain != "pixels" and min(self.seen[1:]) < SMALL:
            recipe = replace(recipe, crop=SMALL_CROP, crop_end=None)
        if asked.n_frames > recipe.n_steps + 1:
            raise ParameterError(
                f"n_frames={asked.n_frames}: {recipe.n_steps} steps give {recipe.n_steps + 1} pictures"
            )
        self.recipe = recipe
        canvas = Canvas((channels, height, width), known, built_in(channels), model.device)
        self.make = parameterization(recipe.domain, canvas, recipe.contrast)
        self.given, self.canvas = given, canvas
        self.structure: Structure = model.checked(self.seen, gradients=True)
        self.network, self.names = self._bound()

    def _bound(self) -> tuple[Network, list[str]]:
        """The network with the objectives of all targets."""
        objectives = [as_objective(target, self.asked.layer) for target in self.targets]
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
        network = Network(self.model, layers, found, layout, reads_output=reads_output)
        return network, [one.name for one in found]

    def first(self, generator: torch.Generator) -> torch.Tensor:
        """The free variables of the first pictures."""
        n, start = len(self.targets), self.asked.start
        if self.given is not None:
            free = self.make.inverse(self.given.expand(n, -1, -1, -1))
        elif start == "zero":
            zero = torch.zeros(n, *self.canvas.shape, dtype=torch.float32, device=self.model.device)
            free = self.make.inverse(zero)
        else:
            free = self.make.start(n, generator)
            if start == "noise" and self.recipe.domain == "pixels":
                drawn = torch.randn(free.shape, generator=generator, dtype=torch.float32, device="cpu")
                free = NOISE * drawn.to(free)
        kind = torch.promote_types(self.model.dtype, torch.float32)
        return free.to(kind if self.recipe.domain == "pixels" else torch.float32).contiguous().clone()

    def notes(self) -> list[str]:
        """What the reader of the result should know before anything has run."""
        found = []
        if self.asked.layer is None and is_of_classes(self.targets[0]) and self.structure.ends_in:
            found.extend(note_on_scores(self.model.normalization(self.seen, 2)))
        if self.model.preprocessing is None and self.recipe.domain != "pixels":
            found.append("the network's preprocessing is not known: its input was taken to run from -2 to 2")
        return found


class _Film:
    """Pictures on the way, evenly spread over the steps, for those who asked for frames or watch."""

    def __init__(self, setting: _Setting, watch: Watching | None, progress: Progress | None) -> None:
        n_steps, n_frames = setting.recipe.n_steps, setting.asked.n_frames
        self._model, self._watch, self._progress = setting.model, watch, progress
        self._wanted = set(np.linspace(n_steps, 0, n_frames).round().astype(int).tolist())
        self.frames: list[Array] = []

    def take(self, ascent: Ascent) -> None:
        """Before each step, and after the last."""
        done, total = len(ascent.scores), ascent.recipe.n_steps
        if self._progress and done:
            self._progress(done, total)
        if (done in self._wanted and done < total) or self._watch:
            with torch.no_grad():
                picture = self._model.to_pixels(ascent.pictures())[0]
            if done in self._wanted and done < total:
                self.frames.append(picture)
            if self._watch:
                self._watch(done, picture, float((ascent.scores[-1] if done else ascent.start)[0]))


def _made(
    model: Model, targets: Sequence[Any], asked: Asked, watch: Watching | None, progress: Progress | None
) -> list[Visualization]:
    """A picture for each target."""
    started = time.perf_counter()
    with differentiable(model.module):
        setting = _Setting(model, targets, asked)
        film = _Film(setting, watch, progress)
        ascent, stopped, notes = _climbed(setting, film)
        found = [
            _result(setting, ascent, film, i, started, [*stopped, *setting.notes(), *notes])
            for i in range(len(targets))
        ]
    judges = [model, *([asked.judge] if asked.judge else [])]
    for i, target in enumerate(targets):
        if not stopped and is_one_class(model, target, asked.layer):
            found[i] = replace(found[i], evidence=judgments(found[i].image, found[i].target, judges))
        elif not stopped and asked.judge:
            found[i] = replace(found[i], evidence=judgments(found[i].image, found[i].target, judges[1:]))
    if stopped:
        raise Interrupted(found[0] if len(found) == 1 else found)
    return found


def _climbed(setting: _Setting, film: _Film) -> tuple[Ascent, list[str], list[str]]:
    """The finished ascent, a note if it was interrupted, and notes on ascents that failed before."""
    recipe, notes = setting.recipe, []
    for n_left in range(RETRIES, -1, -1):
        generator = torch.Generator().manual_seed(setting.asked.seed)
        free = setting.first(generator)
        film.frames.clear()
        ascent = Ascent(setting.network, setting.make, free, recipe, setting.sizes, generator, setting.names)
        try:
            climb(ascent, film.take)
            why = "the score fell" if ascent.has_collapsed else ""
        except Diverged as error:
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


def _result(
    setting: _Setting, ascent: Ascent, film: _Film, i: int, started: float, notes: Sequence[str]
) -> Visualization:
    """The best picture of a target, with notes on how far to trust it."""
    model, asked, target = setting.model, setting.asked, setting.targets[i]
    with torch.no_grad():
        picture = ascent.pictures(ascent.best)[i : i + 1]
        seen = ascent.whole(picture)
        finals = ascent.whole_values(ascent.pictures(ascent.best))
        strayed = ascent.strayed(finals)
    scores = [*(float(one[i]) for one in ascent.scores), float(finals[i])]
    rival = rival_of(model, seen, target) if is_one_class(model, target, asked.layer) else None
    image = model.to_pixels(picture)[0]
    frames = [*film.frames, image] if asked.n_frames else []
    parameters = {
        "target": describe(target) if not isinstance(target, Objective) else setting.names[i],
        "layer": asked.layer,
        "preset": asked.preset if isinstance(asked.preset, str) else "of its own",
        "n_steps": ascent.recipe.n_steps,
        "start": asked.start
        if asked.start is None or (isinstance(asked.start, str) and asked.start in ("zero", "noise"))
        else "image",
        "size_px": asked.size_px,
        "n_frames": asked.n_frames or None,
        "seed": asked.seed,
    }
    own = remarks(float(ascent.start[i]), scores, rival, ascent.recipe)
    return Visualization(
        image=image,
        input=seen[0].float().cpu().contiguous().numpy(),
        scores=np.array(scores, np.float32),
        frames=np.stack(frames) if frames else np.zeros((0, *image.shape), np.uint8),
        target=setting.names[i],
        provenance=model.provenance(
            "visualize", parameters, started, measured={"recipe": asdict(ascent.recipe)},
            notes=(*notes, *strayed, *own),
        ),
    )  # fmt: skip


def _given(model: Model, asked: Asked) -> torch.Tensor | None:
    """The image (1, C, H, W) from which to start, if one is given."""
    start = asked.start
    if start is None or (isinstance(start, str) and start in ("zero", "noise")):
        return None
    if asked.size_px is not None:
        raise ParameterError("size_px: a picture that starts from an image has the size of that image")
    if isinstance(start, str) and not os.path.exists(start):
        raise unfit(start, "start", "'zero', 'noise', an image, or the path of one")
    inputs = model.inputs(start)
    if len(inputs) != 1:
        raise ParameterError(f"start: {len(inputs)} images; expected one")
    x: torch.Tensor = next(inputs.batches(1)).x
    return x.to(model.device, torch.promote_types(model.dtype, torch.float32))
