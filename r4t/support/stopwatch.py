"""Parts of a piece of work → the seconds that each of them took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up seconds by part; a part timed inside another counts for the outer one.

    Args:
        clock: Tells the seconds.

    Attributes:
        seconds: Part → seconds so far.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._running = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block as part of ``name``."""
        if self._running:
            yield
            return
        self._running = True
        start = self.read()
        try:
            yield
        finally:
            self._running = False
            self.seconds[name] = self.seconds.get(name, 0.0) + self.read() - start

    def read(self) -> float:
        """Seconds now, after the accelerator has done what it was given."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self._clock()

    def take(self) -> dict[str, float]:
        """Return the seconds of each part, and begin anew."""
        found, self.seconds = self.seconds, {}
        return found
