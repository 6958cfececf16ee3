"""Numbers and captions as pages show them."""

from __future__ import annotations

import math

from ..results import Result


def caption(result: Result) -> list[str]:
    """What stands under every figure: the call, the network and the time, then the notes."""
    return [result.provenance.caption, *result.provenance.notes]


def number(value: float, spec: str = ".3g") -> str:
    """A number for people; a dash where it is not finite."""
    if not math.isfinite(value):
        return "–"
    text = format(value, spec)
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")  # no "−0.00"


def share(value: float, spec: str) -> str:
    """A share, of which 1 means "always"; one that only rounds to 1 is "almost" that."""
    text = format(value, spec)
    return f"almost {text}" if text == format(1.0, spec) and value < 1 - 1e-6 else text
