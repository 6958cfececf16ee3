"""What a store needs of LanceDB and of the disk: a connection, a lock, errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..errors import ConvscopeError, ParameterError, StoreError

ROWS = "images"  # the table of the rows
LOCK = ".lock"


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def connected(place: str) -> Any:
    import lancedb

    try:
        return lancedb.connect(place)
    except Exception as error:  # of the store's own library, which has none in common
        raise StoreError(f"{place}: cannot be opened ({error})") from error


def tables(database: Any) -> list[str]:
    return list(database.list_tables().tables)


def is_local(place: str) -> bool:
    return "://" not in place


def is_free(folder: Path) -> bool:
    """Whether a folder is a store, or may become one."""
    inside = {path.name for path in folder.iterdir()}
    return f"{ROWS}.lance" in inside or inside <= {LOCK}  # which another process may be making into one


def has_table(folder: Path) -> bool:
    return (folder / f"{ROWS}.lance").is_dir()


def lock(place: str) -> AbstractContextManager[Any]:
    """One writer at a time, as LanceDB would let two insert the same path; an object store has only the key."""
    if not is_local(place):
        return nullcontext()
    from filelock import FileLock

    return FileLock(Path(place) / LOCK)


@contextmanager
def explained(where: str | None) -> Iterator[None]:
    """LanceDB's remark on a condition as an error of ours."""
    try:
        yield
    except ConvscopeError:
        raise
    except Exception as error:
        if where is None:
            raise StoreError(f"the store cannot be read ({(str(error).splitlines() or [''])[0]})") from error
        raise ParameterError(f"where={where!r}: {(str(error).splitlines() or [''])[0]}") from error
