"""Which images of two sources are the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..results import Array
from ..store.keys import key_of
from ..texts import counted
from .source import Source


@dataclass(frozen=True)
class Matches:
    """The places (n,) of the same images in two sources, in the order of the first; and what is to be said."""

    in_a: Array
    in_b: Array
    notes: tuple[str, ...]


def matches_of(a: Source, b: Source) -> Matches:
    """Images with the same content, by their ids; by name, where no id is in both.

    Of several files with one content, those of the same name belong together, and then the first ones. An image
    whose content is another in each source is no match.
    """
    names, ids = [_keys(source.names) for source in (a, b)], [list(source.ids) for source in (a, b)]
    pairs: dict[int, int] = {}
    by_content = {one for one in ids[0] if one is not None} & {one for one in ids[1] if one is not None}
    if by_content:
        _pair(pairs, list(zip(ids[0], names[0], strict=True)), list(zip(ids[1], names[1], strict=True)))
        _pair(pairs, ids[0], ids[1])
        unknown = [
            [name if one is None else None for name, one in zip(names[i], ids[i], strict=True)] for i in (0, 1)
        ]
        _pair(pairs, unknown[0], names[1])
        _pair(pairs, names[0], unknown[1])
    else:
        _pair(pairs, names[0], names[1])
    in_a = np.array(sorted(pairs), np.int64)
    in_b = np.array([pairs[i] for i in sorted(pairs)], np.int64)
    return Matches(in_a, in_b, _notes(pairs, names, bool(by_content)))


def _keys(names: Sequence[str]) -> list[str]:
    """Names as a store has them: the absolute paths of files."""
    return [key_of(name) for name in names]


def _pair(pairs: dict[int, int], of_a: Sequence[object], of_b: Sequence[object]) -> None:
    """Pair places that are not paired yet and have the same key, the first with the first; None is no key."""
    taken = set(pairs.values())
    free = defaultdict[object, list[int]](list)
    for j, key in reversed(list(enumerate(of_b))):
        if j not in taken and _is_key(key):
            free[key].append(j)
    for i, key in enumerate(of_a):
        if i not in pairs and _is_key(key) and free.get(key):
            pairs[i] = free[key].pop()


def _is_key(key: object) -> bool:
    return key is not None and not (isinstance(key, tuple) and key[0] is None)


def _notes(pairs: dict[int, int], names: Sequence[Sequence[str]], by_content: bool) -> tuple[str, ...]:
    notes = []
    n_alone = [len(names[0]) - len(pairs), len(names[1]) - len(pairs)]
    if any(n_alone):
        notes.append(f"{counted(n_alone[0], 'image')} of the first, {n_alone[1]} of the second are not in both.")
    if not by_content:
        notes.append("Images were matched by name, as no content is known to be in both.")
        return tuple(notes)
    alone = {name for i, name in enumerate(names[0]) if i not in pairs}
    matched = set(pairs.values())
    n_other = sum(name in alone for j, name in enumerate(names[1]) if j not in matched)
    if n_other:
        notes.append(f"{counted(n_other, 'file')} of the same name had another content in each, and are left out.")
    return tuple(notes)
