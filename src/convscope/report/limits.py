"""How much a report shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How many are shown: images in detail, errors, suspects, and groups of duplicates."""

    n_images: int = 12
    n_errors: int = 24
    n_suspects: int = 24
    n_duplicates: int = 12
