"""A long look: ``pytest tests/incremental -k random --hypothesis-profile=thorough``."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("thorough", max_examples=5000, print_blob=True)
