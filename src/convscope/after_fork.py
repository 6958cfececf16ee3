"""What a forked process has to renew: its parent's threads are gone, and with them the holders of its locks."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(renew: Callable[[], None]) -> None:
    """Call ``renew`` in every forked process, where the system has those; it must be quick and run no network."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
