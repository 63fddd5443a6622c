"""A run in pieces: it stops by itself at a saved point, before its time is over."""

import time


class Paused(Exception):
    """The time of this piece is used up; what is finished is saved."""


class Piece:
    """The time that one process has.

    **Arguments:**

    - `minutes`: from `began` on; None is for ever.
    - `began`: when the process did, by `time.monotonic`; now by default.

    **Raises:** `ValueError` for no time at all.
    """

    def __init__(self, minutes: float | None = None, began: float | None = None):
        if minutes is not None and not 0 < minutes < float("inf"):
            raise ValueError(f"a piece takes a positive number of minutes, got {minutes}.")
        self._last, self._longest = time.monotonic(), 0.0
        self._began = self._last if began is None else began
        self._seconds = None if minutes is None else 60 * minutes

    def mark(self) -> None:
        """A part of the work begins."""
        self._last = time.monotonic()

    def saved(self) -> None:
        """A part of the work is done and saved.

        **Raises:** [`Paused`][] where another part as long as the longest so far would not fit.
        """
        now = time.monotonic()
        self._longest, self._last = max(self._longest, now - self._last), now
        self._leave(now + self._longest)

    def before(self) -> None:
        """Something begins whose length nobody knows.

        **Raises:** [`Paused`][] in the second half of the time.
        """
        now = time.monotonic()
        self._leave(2 * now - self._began)

    def _leave(self, end: float) -> None:
        if self._seconds is not None and end > self._began + self._seconds:
            raise Paused(
                "paused before the time was over; the same command goes on from here, with the same bits."
            )
