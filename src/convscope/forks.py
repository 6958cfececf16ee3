"""What a forked process lacks of the one that it comes from: its threads, and so whoever holds its locks."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(renew: Callable[[], None]) -> None:
    """Have this called in every forked process, where that exists; it must be quick, and run no network."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
