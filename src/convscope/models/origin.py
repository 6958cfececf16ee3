"""Where a result comes from: what `Model.provenance` does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..execution.digest import weights_digest
from ..execution.running import network_of
from ..results import Provenance, plain_values, versions


def provenance_of(
    model: Any,
    method: str,
    parameters: Mapping[str, Any],
    started: float,
    *,
    measured: Mapping[str, Any],
    notes: Sequence[str],
    skipped: Sequence[str],
) -> Provenance:
    """The provenance of a result of a `Model`, which is not imported here, as it imports this file."""
    return Provenance(
        method=method,
        parameters={name: plain_values(value) for name, value in parameters.items()},
        model={
            "name": model.name,
            "weights_sha256": weights_digest(network_of(model.module), since=started),
            "preprocessing": asdict(model.preprocessing) if model.preprocessing else None,
        },
        device=str(model.device),
        versions=dict(versions()),
        seconds=time.perf_counter() - started,
        measured=dict(measured),
        notes=tuple(dict.fromkeys((*model._notes(), *notes))),
        skipped=tuple(skipped),
    )
