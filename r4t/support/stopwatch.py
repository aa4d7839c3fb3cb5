"""Named parts of some work → the seconds that each took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up seconds by part; a part timed within another counts toward the outer one."""

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
        """Return the time in seconds, after the accelerator has finished its queued work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self._clock()

    def take(self) -> dict[str, float]:
        """Return the seconds of each part so far, and reset them."""
        seconds, self.seconds = self.seconds, {}
        return seconds
