"""Which methods fit a network: each is tried on noise, or another one that fits the same networks in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..attribution import ATTRIBUTIONS
from ..attribution.map_notes import notes_on_maps
from ..attribution.method_run import Run
from ..errors import ConvscopeError
from ..execution.capture import main_output, tensors_of
from ..models import Model
from ..progress import Progress
from ..registry import NEED_PICTURES, TRIED_BY
from ..targets import Region, Target

SCORES = "scores"  # the trial of methods that only run the network


@dataclass(frozen=True)
class Trial:
    """What came of a trial: the ``error`` or "", ``remarks``, and the ``parameters`` that the method chose."""

    error: str = ""
    remarks: tuple[str, ...] = ()
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Trials:
    """The trial of each method by its name; ``target``: what was explained, ``why`` not the predicted class."""

    by_method: Mapping[str, Trial]
    target: Target
    why: str

    @property
    def layer(self) -> str | None:
        """The layer that a class activation map takes by default."""
        chosen = [trial.parameters.get("layer") for trial in self.by_method.values() if trial.parameters]
        return next((str(layer) for layer in chosen if layer is not None), None)


def trials_of(model: Model, x: torch.Tensor, output: Any, progress: Progress | None = None) -> Trials:
    """Try all methods on x (1, C, H, W), whose output is given.

    Cost: a few passes for each method of one pass.
    """
    target, why = _target(model, x, output)
    by_trial: dict[str, Trial] = {SCORES: _tried(lambda: _score(model, x, target))}
    common = frozenset() if by_trial[SCORES].error else _common_notes(model, x, target)
    names = {name: TRIED_BY.get(name, name) or SCORES for name in ATTRIBUTIONS}
    for done, name in enumerate(names.values(), 1):
        if name not in by_trial:
            is_hopeless = by_trial[SCORES].error
            by_trial[name] = by_trial[SCORES] if is_hopeless else _tried_method(name, model, x, target, common)
        if progress:
            progress(done, len(names))
    found = {name: by_trial[by] for name, by in names.items()}
    for name in NEED_PICTURES:
        if not found[name].error:
            found[name] = _tried(partial(model.inputs(x).need_pictures, name))
    return Trials(found, target, why)


def _target(model: Model, x: torch.Tensor, output: Any) -> tuple[Target, str]:
    """The predicted class, a value, a region or any score: the first that fits this network; and why so."""
    found = _tried(lambda: _score(model, x, None))
    if not found.error:
        return None, ""
    if model.regression and not _tried(lambda: _score(model, x, 0)).error:
        return 0, ""  # of several values
    main = main_output(output)
    if main is not None and main.ndim == 4:
        region = Region(0, torch.ones(main.shape[2:], dtype=torch.bool))
        if not _tried(lambda: _score(model, x, region)).error:
            return region, found.error
    return _any_score, found.error


def _any_score(output: Any) -> torch.Tensor:
    """Scores (N,) that depend on all of an output, for networks whose targets only their user knows."""
    if isinstance(output, list):  # an item for each image, as detectors have
        return torch.stack([torch.stack([t.float().sum() for t in tensors_of(item)]).sum() for item in output])
    tensors = [tensor for tensor in tensors_of(output) if tensor.ndim]
    return torch.stack(
        [
            tensor.float().flatten(1).sum(1) if tensor.ndim > 1 else tensor.float()
            for tensor in tensors
            if len(tensor) == len(tensors[0])
        ]
    ).sum(0)


def _score(model: Model, x: torch.Tensor, target: Target) -> Run:
    run = Run("summary", model, x, target=target, gradients="none")
    run.each(lambda _: None, fuse=False)
    return run


def _tried_method(name: str, model: Model, x: torch.Tensor, target: Target, common: frozenset[str]) -> Trial:
    """Run a method; ``common`` are the notes that say nothing about it."""

    def run() -> tuple[list[str], Mapping[str, Any]]:
        found = ATTRIBUTIONS[name](model, x, target=target)
        about_noise = notes_on_maps(found.values, found.images, positive_only=True)
        about_noise += notes_on_maps(found.values, found.images, positive_only=False)
        known = {*about_noise, *common}
        return [note for note in found.provenance.notes if note not in known], found.provenance.parameters

    return _tried(run)


def _common_notes(model: Model, x: torch.Tensor, target: Target) -> frozenset[str]:
    """The notes on the network, which stand in every result."""
    run = _score(model, x, target)
    return frozenset((*model.provenance("summary", {}, 0.0).notes, *run.notes, *run.inputs.notes))


def _tried(run: Callable[[], Any]) -> Trial:
    """A trial whose errors are kept; those of the user's own code too, by their last line."""
    try:
        found = run()
    except ConvscopeError as error:
        return Trial(str(error))
    except Exception as error:
        return Trial(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
    if isinstance(found, tuple):
        remarks, parameters = found
        return Trial(remarks=tuple(remarks), parameters=parameters)
    return Trial()
