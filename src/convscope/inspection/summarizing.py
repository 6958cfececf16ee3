"""`Model.summary`: a network in words and numbers."""

from __future__ import annotations

import time

import numpy as np

from ..checks import InputShape
from ..models import Model
from ..progress import Progress
from ..results import Summary
from .facts import facts_of
from .operation_counts import counted
from .trials import trials_of


def summarized(model: Model, shape: InputShape, progress: Progress | None = None) -> Summary:
    """See `Model.summary`; for inputs of this (C, H, W)."""
    started = time.perf_counter()
    structure = model.checked(shape)
    found = counted(model.module, structure.example)
    rows = [call for call in found.calls if call.computes]
    trials = trials_of(model, structure.example, found.output, progress)
    fields = {layer.name: layer.receptive_field for layer in structure.layers}
    errors = {name: trial.error.removeprefix(f"{name} ") for name, trial in trials.by_method.items()}
    return Summary(
        network=model.name,
        names=tuple(call.name or "(forward)" for call in rows),
        kinds=tuple(call.kind for call in rows),
        shapes=tuple(call.shape for call in rows),
        parameters=np.array([call.n_parameters for call in rows], np.int64),
        macs=np.array([call.n_macs for call in rows], np.int64),
        receptive_fields=tuple(fields.get(call.name) for call in rows),
        n_parameters=sum(p.numel() for p in model.module.parameters()),
        n_macs=found.n_macs,
        uncounted=tuple(sorted(found.uncounted)),
        detected=tuple(facts_of(model, shape, structure, found.output, found.calls, trials)),
        fits=tuple(
            (name, "; ".join(trials.by_method[name].remarks)) for name, error in errors.items() if not error
        ),
        does_not_fit=tuple((name, error) for name, error in errors.items() if error),
        provenance=model.provenance("summary", {"shape": shape}, started, notes=structure.notes),
    )
