"""Which method to trust on these images: run them under one time budget, and rank them by the evidence."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..attribution import ATTRIBUTIONS
from ..errors import Interrupted, LayerError, ModelError, NotPicturesError, ParameterError
from ..images import load_images
from ..models import Model, as_model
from ..progress import StageProgress
from ..registry import method_key
from ..results import Attribution, Comparison, Evaluation
from ..targets import Target
from .entries import Entry, entries_of
from .evaluate import check_call, evaluate
from .intervals import mean_and_margin
from .measures import CURVES
from .standings import standings_of, verdict_of

_MEASURES = (*CURVES, "completeness_error", "sparseness")
_SHOWN = 4  # images in the picture


@checks_arguments
def compare(
    model: Model | nn.Module,
    images: Any,
    methods: str | Sequence[str] = "all",
    *,
    layers: str | Sequence[str] | None = None,
    target: Target = None,
    budget_s: float = 300.0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    measures: Sequence[str] = _MEASURES,
    regions: Any = None,
    n_steps: int = 25,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> Comparison:
    """Run methods on the same images, measure their maps, and rank them; say what each cost.

    With ``layers``, which layer to take is part of the question: every method that looks at a layer, as the class
    activation maps do, runs once at each of them, under a name such as "grad_cam @ layer3".

    Methods are ranked by insertion minus deletion, the mean over the mean image and the blurred one: by how much
    higher the score is with the best pixels than without them. A difference counts if it is larger than the noise:
    the 95 % interval of the difference on the same images, widened for the number of methods (Bonferroni). With
    few images hardly any difference is that large, and the verdict says so.

        advantage = mean over images of (insertion - deletion)

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`. Take ten or more for a verdict. Of signals and volumes, methods for
            pictures are left out.
        methods: "all", or names of `convscope.ATTRIBUTIONS`. With ``layers``, "all" are those that look at one.
        layers: names from `Model.layers`. A layer that a method cannot use is left out, with the reason.
        target: the target of the maps; see `convscope.evaluate`.
        budget_s: seconds for the maps of all methods together. Each method may take an equal share of what is
            left; one that takes longer is stopped and left out. Measuring comes on top.
        options: of single methods, by name: ``{"occlusion": {"window": 24}}``.
        measures, regions, n_steps, seed: of `convscope.evaluate`.
        progress: called with (stage, done, total); the stage is the name of a method, then "evaluate".

    Returns:
        `Comparison`: an `Evaluation` with ``ranking``, ``tied`` with the best, ``verdict`` in words, ``left_out``.

    Raises:
        ParameterError: an unknown method or measure, or no method finished.
        LayerError: a layer that the network does not have.
        Interrupted: on Ctrl-C, with the methods that had finished, after measuring them; on a second Ctrl-C, with
            the images measured so far.

    Cost: that of the methods, and 4 * n_steps forward passes for each map.

    References:
        Petsiuk, Das, Saenko: RISE, 2018, arXiv 1806.07421 (insertion and deletion).
    """
    started = time.perf_counter()
    model, images = as_model(model).bound(images)
    layers = None if layers is None else [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    options = {method_key(name): given for name, given in (options or {}).items()}
    entries = entries_of(methods, layers, options)
    check_call(target, regions, measures, n_steps)
    looked_at = images if isinstance(images, torch.Tensor) else load_images(images)
    if layers is not None:
        structure = model.checked(model.inputs(looked_at).shape)
        for layer in layers:
            structure.find(layer)
    found, left_out, is_interrupted = _run(model, looked_at, entries, target, budget_s, progress)
    if not found:
        raise ParameterError(f"no method finished: {'; '.join(left_out)}")
    names = list(dict.fromkeys(entry.method for entry in entries))
    about = {
        "methods": "all" if methods in ("all", ["all"]) or names == list(ATTRIBUTIONS) else tuple(names),
        **({"layers": tuple(layers)} if layers else {}),
        **({"options": {name: dict(given) for name, given in options.items()}} if options else {}),
        "budget_s": budget_s,
    }
    try:
        measured = evaluate(
            model,
            looked_at,
            found,
            target=target,
            measures=list(dict.fromkeys([*CURVES, *measures])),
            regions=regions,
            n_steps=n_steps,
            seed=seed,
            progress=_stage(progress, "evaluate"),
        )
    except Interrupted as interrupted:
        measured, is_interrupted = interrupted.result, True
    result = _ranked(model, measured, found, left_out, about, started)
    if is_interrupted:
        raise Interrupted(result)
    return result


def _ranked(
    model: Model,
    measured: Evaluation,
    found: Mapping[str, Attribution],
    left_out: Sequence[str],
    about: Mapping[str, Any],
    started: float,
) -> Comparison:
    """Rank the methods that were measured."""
    advantages = measured.areas("insertion") - measured.areas("deletion")
    means, margins = mean_and_margin(advantages)
    standings = standings_of(advantages)
    provenance = model.provenance(
        "compare",
        {
            **measured.provenance.parameters,
            "measures": None if measured.measures == _MEASURES else measured.measures,
            **about,
        },
        started,
        notes=(*measured.provenance.notes, *(f"left out: {reason}" for reason in left_out)),
        skipped=measured.provenance.skipped,
    )
    shared = {f.name: getattr(measured, f.name) for f in fields(Evaluation) if f.name != "provenance"}
    every = list(found.values())
    n_shown = min(_SHOWN, len(measured.names))
    return Comparison(
        **shared,
        provenance=provenance,
        ranking=tuple(measured.methods[m] for m in standings.order),
        advantage=means,
        advantage_margins=margins,
        tied=tuple(measured.methods[m] for m in standings.tied),
        verdict=verdict_of(measured.methods, len(measured.names), standings),
        maps=np.stack([a.values[:n_shown] for a in every]),
        images=every[0].images[:n_shown],
        signed=tuple(a.signed for a in every),
        left_out=tuple(left_out),
    )


class _OutOfTimeError(Exception):
    pass


def _run(
    model: Model,
    images: Any,
    entries: Sequence[Entry],
    target: Target,
    budget_s: float,
    progress: StageProgress | None,
) -> tuple[dict[str, Attribution], list[str], bool]:
    """The maps of the methods that finished in time, the reasons why others did not, and whether Ctrl-C came."""
    found: dict[str, Attribution] = {}
    left_out: list[str] = []
    end = time.perf_counter() + budget_s
    for n, (name, method, options) in enumerate(entries):
        now = time.perf_counter()
        share = max(0.0, end - now) / (len(entries) - n)
        tell = _stage(progress, name)

        def step(done: int, total: int, until: float = now + share, tell: Any = tell) -> None:
            if tell:
                tell(done, total)
            if time.perf_counter() > until and done < total:
                raise _OutOfTimeError

        try:
            found[name] = ATTRIBUTIONS[method](model, images, target=target, progress=step, **options)
        except KeyboardInterrupt:
            if not found:
                raise KeyboardInterrupt from None  # without the partial result of a method
            left_out += [f"{other.name}: interrupted before it had finished" for other in entries[n:]]
            return found, left_out, True
        except _OutOfTimeError:
            left_out.append(f"{name}: not finished within its share of {share:.2g} s; raise budget_s")
        except (LayerError, ModelError, NotPicturesError) as error:  # it does not suit this network
            left_out.append(f"{name}: {error}")
        except RuntimeError as error:  # the network's own, or out of memory
            left_out.append(f"{name}: {type(error).__name__}: {error}")
    return found, left_out, False


def _stage(progress: StageProgress | None, name: str) -> Any:
    return None if progress is None else lambda done, total: progress(name, done, total)
