"""What `convscope inspect` does beside calling `Model.summary`: the settings and their origin, and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .console import escape, out
from .phrasing import for_terminal
from .setting_values import KEYS
from .settings import Settings

_LONGEST = 50  # characters of a value


def print_summary(found: Any, *, every: bool) -> None:
    """Print a summary as text."""
    flags = {key: about.flag for key, about in KEYS.items()}
    for line in for_terminal(found.text(every=every), flags).split("\n"):
        out.print(escape(line), highlight=False, soft_wrap=True)


def print_origins(settings: Settings) -> None:
    """Print each value that describes the network, and where it is from."""
    rows = [(key, _brief(value), origin) for key, (value, origin) in _ordered(settings)]
    widths = [max(len(row[at]) for row in rows) for at in (0, 1)]
    for key, value, origin in rows:
        line = f"{key.ljust(widths[0])}  {value.ljust(widths[1])}  ({origin})"
        out.print(escape(line), highlight=False, soft_wrap=True)
    out.print()


def as_data(found: Any, settings: Settings) -> dict[str, Any]:
    """A summary as JSON holds it, layer by layer and method by method."""
    return {
        "network": found.network,
        "settings": {key: {"value": value, "from": origin} for key, (value, origin) in _ordered(settings)},
        "parameters": found.n_parameters,
        "macs": found.n_macs,
        "uncounted": found.uncounted,
        "layers": [row._asdict() for row in found.rows],
        "detected": dict(found.detected),
        "fits": dict(found.fits),
        "does_not_fit": dict(found.does_not_fit),
        "provenance": asdict(found.provenance),
    }


def _ordered(settings: Settings) -> list[tuple[str, Any]]:
    return [(key, settings.by_key[key]) for key in KEYS if key in settings.by_key]


def _brief(value: Any) -> str:
    """A value on one short line."""
    if isinstance(value, tuple):
        value = (" x " if all(isinstance(item, int) for item in value) else ", ").join(map(str, value))
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
