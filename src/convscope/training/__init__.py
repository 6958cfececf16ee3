"""While a network is trained: the same looks at it again and again, and what changed."""

from .lightning_callback import lightning_callback
from .watch import Watch

__all__ = ["Watch", "lightning_callback"]
