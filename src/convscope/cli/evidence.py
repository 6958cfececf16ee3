"""Commands about how far maps can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import free_output, progress_bar, reporting, save, saving_partial, show, staged_progress
from .methods import number_or_text
from .options import AsJson, Images, Network, Output, chosen_images, chosen_target, with_network

commands = typer.Typer()

Target = Annotated[
    str | None,
    typer.Option(help='Class index, label or "A rather than B"; by default the predicted class.'),
]
Seed = Annotated[int, typer.Option(help="Of everything that is left to chance.")]
Image = Annotated[Path, typer.Argument(help="An image file.", show_default=False)]


@commands.command(epilog="Example: convscope evaluate photos/ --method saliency --method grad_cam")
@reporting
@with_network
def evaluate(
    model: Network,
    images: Images,
    method: Annotated[
        list[str] | None, typer.Option(help="To run and measure, with its defaults; give more than once.")
    ] = None,
    maps: Annotated[
        list[Path] | None, typer.Option(help="Folder that an attribution of these images was saved to.")
    ] = None,
    target: Target = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="What to measure; by default all that does not need regions.")
    ] = None,
    n_steps: Annotated[int, typer.Option(min=2, help="Points on each deletion and insertion curve.")] = 50,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """How good maps are: deletion, insertion, ROAD, sensitivity and more, beside maps of chance."""
    from convscope import ATTRIBUTIONS, Attribution, ParameterError
    from convscope import evaluate as measured
    from convscope.registry import method_keys

    place = free_output(output, "evaluate")
    if not method and not maps:
        raise ParameterError("nothing to evaluate: give --method or --maps")
    methods = method_keys(method) if method else []
    names = [*(path.name for path in maps or ()), *methods]
    if len(set(names)) < len(names):
        raise ParameterError(f"two maps of one name among {', '.join(names)}; rename a folder")
    looked_at, network, chosen = chosen_images(images), model(), chosen_target(target)
    given: dict[str, Any] = {path.name: Attribution.load(path) for path in maps or ()}
    for name in methods:
        with progress_bar(name, "") as step:
            given[name] = ATTRIBUTIONS[name](network, looked_at, target=chosen, progress=step)
    with saving_partial(place, as_json), progress_bar("evaluate", "scores") as step:
        found = measured(
            network,
            looked_at,
            given,
            target=chosen,
            measures=measure or None,
            n_steps=n_steps,
            seed=seed,
            progress=step,
        )
    show(found, save(found, place), as_json)


@commands.command(epilog="Example: convscope sanity-check photo.jpg --method grad_cam --output out/check")
@reporting
@with_network
def sanity_check(
    model: Network,
    image: Image,
    method: Annotated[str, typer.Option(help="Which method is checked.")] = "saliency",
    target: Target = None,
    n_stages: Annotated[int, typer.Option(min=1, help="Groups of layers, from the last one on.")] = 8,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Whether a method's map changes when weights are put at random, and with another class."""
    from convscope import sanity_check as check

    place = free_output(output, "sanity-check")
    with progress_bar("sanity check", "maps") as step:
        found = check(
            model(),
            chosen_images([image]),
            method,
            target=chosen_target(target),
            n_stages=n_stages,
            seed=seed,
            progress=step,
        )
    show(found, save(found, place), as_json)


@commands.command(epilog="Example: convscope compare photos/ --output out/compare")
@reporting
@with_network
def compare(
    model: Network,
    images: Images,
    method: Annotated[
        list[str] | None, typer.Option(help="To compare; give more than once. By default all.")
    ] = None,
    target: Target = None,
    budget_s: Annotated[
        float,
        typer.Option(
            "--budget-s", min=0.001, help="Seconds for the maps of all methods together; measuring comes on top."
        ),
    ] = 300.0,
    n_steps: Annotated[int, typer.Option(min=2, help="Points on each deletion and insertion curve.")] = 25,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Run methods under one time budget and rank them by the evidence, with what each cost.

    Measuring takes 4 * N_STEPS runs of the network for each map: on two cores about 1 second a map of 224 px.
    Ctrl-C goes on to measure the methods that have finished.
    """
    from convscope import compare as compared

    place = free_output(output, "compare")
    with saving_partial(place, as_json), staged_progress() as step:
        found = compared(
            model(),
            chosen_images(images),
            method or "all",
            target=chosen_target(target),
            budget_s=budget_s,
            n_steps=n_steps,
            seed=seed,
            progress=step,
        )
    show(found, save(found, place), as_json)


@commands.command(epilog="Example: convscope mask-study photo.jpg --output out/study")
@reporting
@with_network
def mask_study(
    model: Network,
    images: Images,
    target: Target = None,
    window: Annotated[
        list[int] | None, typer.Option(help="Side in pixels of the network's input; give more than once.")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="rectangle, ellipse, superpixel; by default all three.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="As `occlusion` takes them; give more than once. By default mean, blur and noise."),
    ] = None,
    n_steps: Annotated[int, typer.Option(min=2, help="Points on each deletion and insertion curve.")] = 12,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Occlusion by every window, shape and baseline: which to take, and how much hangs on it.

    With the defaults 45 settings, about 9,000 masks an image: a minute or two on two cores for one photo. Ctrl-C
    goes on to measure the windows that are done.
    """
    from convscope import mask_study as study

    place = free_output(output, "mask-study")
    chosen: dict[str, Any] = {
        "windows": window,
        "shapes": shape,
        "baselines": [number_or_text(b) for b in baseline or ()],
    }
    with saving_partial(place, as_json), progress_bar("mask study", "settings") as step:
        found = study(
            model(),
            chosen_images(images),
            target=chosen_target(target),
            n_steps=n_steps,
            seed=seed,
            progress=step,
            **{name: value for name, value in chosen.items() if value},
        )
    show(found, save(found, place), as_json)
