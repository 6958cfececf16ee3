"""Commands that say how far a map can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from .. import declared
from ..checks import as_choice, choices_in_words
from ..errors import ParameterError
from ..registry import method_key, method_keys
from .chosen_network import Network, with_network
from .console import free_output, reporting, save, saving_partial, show
from .methods import number_or_text
from .options import AsJson, Images, Output, Seed, Target, checked, chosen_images, chosen_target
from .progress_bars import progress_bar, staged_progress

commands = typer.Typer()


def _measures() -> Iterator[str]:
    """The measures of `convscope.evaluation.measures` that need no regions, read without importing it."""
    room = "convscope.evaluation.measures"
    for name in declared.functions(room):
        about = declared.function(name, room).decorators.get("measure")
        if about is not None and not about.get("needs_regions"):
            yield from (f"{name}_{baseline}" for baseline in about["over"]) if "over" in about else (name,)


MEASURES = tuple(_measures())
SHAPES = get_args(declared.value("Shape", "convscope.perturbation"))
Steps = Annotated[int, typer.Option("--n-steps", min=2, help="Points on each deletion and insertion curve.")]
Image = Annotated[Path, typer.Argument(help="An image file.", show_default=False)]


@commands.command(epilog="Example: convscope evaluate photos/ --method saliency --method grad_cam")
@reporting
@with_network
def evaluate(
    model: Network,
    images: Images,
    method: Annotated[
        list[str] | None, typer.Option(help="Method to run and measure, with its defaults; give it once for each.")
    ] = None,
    maps: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with a saved attribution of these images; give it once for each."),
    ] = None,
    target: Target = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Measure to take: {', '.join(MEASURES)}; give it once for each. By default all, deletion and "
            "insertion over mean and blur only."
        ),
    ] = None,
    n_steps: Steps = 50,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """How good maps are: deletion, insertion, ROAD, sensitivity and more, beside random maps."""
    place = free_output(output, "evaluate")
    if not method and not maps:
        raise ParameterError("nothing to evaluate: give --method or --maps")
    methods = method_keys(method) if method else []
    names = [*(path.name for path in maps or ()), *methods]
    if len(set(names)) < len(names):
        raise ParameterError(f"two maps of one name among {', '.join(names)}; rename a folder")
    for one in measure or ():
        as_choice(one, "measure", MEASURES)
    options = checked("evaluate", measures=measure or None, n_steps=n_steps, seed=seed)
    looked_at = chosen_images(images)
    from convscope import ATTRIBUTIONS, Attribution
    from convscope import evaluate as measured

    network, chosen = model(), chosen_target(target)
    given: dict[str, Any] = {path.name: Attribution.load(path) for path in maps or ()}
    for name in methods:
        with progress_bar(name, "") as step:
            given[name] = ATTRIBUTIONS[name](network, looked_at, target=chosen, progress=step)
    with saving_partial(place, as_json), progress_bar("evaluate", "scores") as step:
        found = measured(network, looked_at, given, target=chosen, progress=step, **options)
    show(found, save(found, place), as_json)


@commands.command(epilog="Example: convscope sanity-check photo.jpg --method grad_cam --output out/check")
@reporting
@with_network
def sanity_check(
    model: Network,
    image: Image,
    method: Annotated[str, typer.Option(help="The attribution method to check.")] = "saliency",
    target: Target = None,
    n_stages: Annotated[
        int, typer.Option("--n-stages", min=1, help="Groups into which the layers are cut, the last layers first.")
    ] = 8,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Whether a method's map changes when weights are made random, or another class is asked for."""
    place, key = free_output(output, "sanity-check"), method_key(method)
    options = checked("sanity_check", n_stages=n_stages, seed=seed)
    looked_at = chosen_images([image])
    from convscope import sanity_check as check

    with progress_bar("sanity check", "maps") as step:
        found = check(model(), looked_at, key, target=chosen_target(target), progress=step, **options)
    show(found, save(found, place), as_json)


@commands.command(epilog="Example: convscope compare photos/ --output out/compare")
@reporting
@with_network
def compare(
    model: Network,
    images: Images,
    method: Annotated[
        list[str] | None, typer.Option(help="Method to compare; give it once for each. By default all.")
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers",
            help="Layer at which every method that looks at one runs; give it once for each. Without --method, "
            "only such methods are compared.",
        ),
    ] = None,
    target: Target = None,
    budget_s: Annotated[
        float,
        typer.Option(
            "--budget-s", min=0.001, help="Seconds for the maps of all methods together; measuring comes on top."
        ),
    ] = 300.0,
    n_steps: Steps = 25,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Run methods under one time budget and rank them by the evidence, with the cost of each.

    Measuring takes 4 * N-STEPS runs of the network for each map, about a second a map of 224 px on two cores.
    After Ctrl-C the methods that have finished are still measured.
    """
    place, methods = free_output(output, "compare"), method_keys(method) if method else "all"
    options = checked("compare", layers=layers or None, budget_s=budget_s, n_steps=n_steps, seed=seed)
    looked_at = chosen_images(images)
    from convscope import compare as compared

    with saving_partial(place, as_json), staged_progress() as step:
        found = compared(model(), looked_at, methods, target=chosen_target(target), progress=step, **options)
    show(found, save(found, place), as_json)


@commands.command(epilog="Example: convscope mask-study photo.jpg --output out/study")
@reporting
@with_network
def mask_study(
    model: Network,
    images: Images,
    target: Target = None,
    window: Annotated[
        list[int] | None, typer.Option(help="Side in pixels of the network's input; give it once for each.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help=f"{choices_in_words(SHAPES)}; give it once for each. By default all of them."),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Baseline, as for `occlusion`; give it once for each. By default mean, blur and noise."),
    ] = None,
    n_steps: Steps = 12,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Occlusion by every window, shape and baseline: which to take, and how much the choice matters.

    The defaults are 45 settings with about 9,000 masks an image: a minute or two for one photo on two cores. After
    Ctrl-C the windows that have finished are still measured.
    """
    place = free_output(output, "mask-study")
    chosen: dict[str, Any] = {
        "windows": window,
        "shapes": [as_choice(s, "shape", SHAPES) for s in shape or ()],
        "baselines": [number_or_text(b) for b in baseline or ()],
    }
    given = {name: value for name, value in chosen.items() if value}
    options = checked("mask_study", n_steps=n_steps, seed=seed, **given)
    looked_at = chosen_images(images)
    from convscope import mask_study as study

    with saving_partial(place, as_json), progress_bar("mask study", "settings") as step:
        found = study(model(), looked_at, target=chosen_target(target), progress=step, **options)
    show(found, save(found, place), as_json)
