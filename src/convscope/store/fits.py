"""What was fitted to the vectors of a store: maps, clusters, an index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .conditions import quoted
from .keys import as_key
from .lance import FITS, KEPT_FOR, check_not_forked, explained, lock, tables


class Fits:
    """A table of names, each with a JSON object and bytes."""

    def __init__(self, database: Any, place: str) -> None:
        self._database, self._place = database, place
        self._what = f"{place}/{FITS}.lance (maps, clusters and the index; removed, they can be made again)"
        self._table: Any = None  # once there is one
        self._recalled: dict[str, tuple[int, tuple[dict[str, Any], bytes] | None]] = {}  # of one version of it

    def remember(self, name: str, about: Mapping[str, Any] | None, data: bytes = b"") -> None:
        """Keep something under a name, in place of what is there; None forgets it."""
        import pyarrow as pa

        row = pa.table(
            {"name": [as_key(name)], "about": [json.dumps(about)], "data": pa.array([data], pa.binary())}
        )
        with lock(self._place), explained(self._what):
            if FITS not in tables(self._database, self._place):
                self._database.create_table(FITS, schema=row.schema)
            table = self._database.open_table(FITS)
            table.merge_insert("name").when_matched_update_all().when_not_matched_insert_all().execute(row)
            table.optimize(cleanup_older_than=KEPT_FOR)

    def recall(self, name: str) -> tuple[dict[str, Any], bytes] | None:
        """What `remember` kept under a name, or None."""
        check_not_forked(self._place)
        with explained(self._what):
            if self._table is None:
                if FITS not in tables(self._database, self._place):
                    return None
                self._table = self._database.open_table(FITS)
            self._table.checkout_latest()
            version = self._table.version
            if self._recalled.get(name, (None, None))[0] != version:
                found = self._table.search().where(f"name = {quoted(as_key(name))}").to_arrow().to_pylist()
                about = json.loads(found[0]["about"]) if found else None
                self._recalled[name] = (version, None if about is None else (about, found[0]["data"]))
            return self._recalled[name][1]
