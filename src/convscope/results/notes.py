"""A remark of a result that changes while images are still coming."""

from __future__ import annotations


class Remark:
    """One note in a list of notes, which is said anew as more is known."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._text: str | None = None

    def say(self, text: str) -> None:
        """In place of what this remark said before."""
        if self._text is None:
            self._notes.append(text)
        else:
            self._notes[self._notes.index(self._text)] = text
        self._text = text
