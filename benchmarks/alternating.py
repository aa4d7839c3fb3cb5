"""Training loops → the seconds of their steps, alternating within one process."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Record:
    """Statistics of a side's steps: sampled tokens, and seconds of each part."""

    tokens: list[int] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Side:
    """A training loop in its own thread, which runs only during its turn.

    Args:
        loop: Trains, and calls ``rest`` after each rollout's last optimizer step.
        record: Filled by the loop.
    """

    def __init__(self, loop: Callable[[], Any], record: Record) -> None:
        self.record = record
        self._loop = loop
        self._turn, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def step(self) -> tuple[float, float]:
        """Let the loop make one step; return its wall-clock seconds and its CPU seconds."""
        if self._ended:
            raise RuntimeError("the loop ended before its last step")
        begin = time.perf_counter(), time.process_time()
        if self._thread.ident is None:
            self._thread.start()
        self._turn.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return time.perf_counter() - begin[0], time.process_time() - begin[1]

    def rest(self) -> None:
        """Called by the loop: end the turn and wait for the next one."""
        self._done.release()
        self._turn.acquire()

    def finish(self) -> None:
        """Let the loop end after its last step."""
        self.step()
        self._thread.join()

    def _run(self) -> None:
        self._turn.acquire()
        try:
            self._loop()
        except BaseException as error:  # ``step`` raises it in the waiting thread
            self._error = error
        self._ended = True
        self._done.release()


def alternate(sides: dict[str, Side], rollouts: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each step of each side; the order changes from pair to pair."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for pair in range(rollouts):
        for name in list(sides)[:: 1 if pair % 2 == 0 else -1]:
            seconds[name].append(sides[name].step())
    for side in sides.values():
        side.finish()
    return seconds
