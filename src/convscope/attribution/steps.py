"""How far a run is, for its progress."""

from __future__ import annotations

from ..progress import Progress


class Steps:
    """Counts steps of work, and reports them as (done, in all).

    Args:
        n_images: how many there are.
        each: steps an image; may be set again for each image, the others being taken to have as many.
        progress: whom to tell.
    """

    def __init__(self, n_images: int, each: int, progress: Progress | None) -> None:
        self.each = each
        self._progress, self._left = progress, n_images
        self._done = self._before = 0  # steps done, and those of the images before the current ones

    def advance(self, n_steps: int) -> None:
        """So many steps more are done."""
        self._done += n_steps
        if self._progress and n_steps:
            self._progress(self._done, self._before + self._left * self.each)

    def finish(self, n_images: int, n_left: int) -> None:
        """The current images are done, however many steps they took; so many are left."""
        self.advance(self._before + n_images * self.each - self._done)
        self._before, self._left = self._done, n_left

    def end(self) -> None:
        """All that could be done is done: the last images may have been unreadable."""
        if self._progress and self._left:
            self._progress(self._done, self._done)
