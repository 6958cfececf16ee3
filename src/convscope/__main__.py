"""``python -m convscope``."""

from .cli import main

main()
