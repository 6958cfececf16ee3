"""Doctests of the package."""

from importlib import import_module
from pathlib import Path

_SRC = Path(__file__).parent


def pytest_collect_file(file_path: Path) -> None:
    """Import a package before its files.

    pytest would run the first file of a package a second time, and set it as an attribute of the package: the
    module `duplicates` in place of the function.
    """
    if file_path.suffix == ".py" and file_path.parent != _SRC:
        import_module(".".join(file_path.parent.relative_to(_SRC).parts))
