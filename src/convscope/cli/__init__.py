"""The command line: thin. Every command calls one function of the library and shows its result."""

import sys

__all__ = ["main"]


def main() -> None:
    """The command line as a process; Ctrl-C also ends it without a traceback while it is still being imported."""
    try:
        from .app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
