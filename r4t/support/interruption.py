"""Ctrl-C → a stop at the next safe point of long work, and what the user is told then."""

import signal
import sys
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """Work stopped because the user wished so; the program prints the sentence alone, code 130."""


class AtOnce(KeyboardInterrupt):
    """The user wished a second time: there was no wait for a safe point."""


class Interruption:
    """Takes down the first Ctrl-C of work that listens; the second one raises ``AtOnce``.

    Attributes:
        asked: Whether there was one since the work began to listen.

    Examples:
        >>> interruption = Interruption()
        >>> interruption.listen()
        >>> signal.raise_signal(signal.SIGINT)
        >>> interruption.asked
        True
        >>> interruption.leave()
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def listen(self) -> None:
        """Begin; nothing where signals are another's matter (a thread, a process of ``nohup``)."""
        self.asked = False
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        if self._before is None and not ignored and _is_main_thread():
            self._before = signal.signal(signal.SIGINT, self._take)

    def leave(self) -> None:
        """Stop to listen."""
        if self._before is not None and _is_main_thread():
            signal.signal(signal.SIGINT, self._before)
        self._before = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise AtOnce
        self.asked = True
        print(
            "\nr4t: stopping after this step; Ctrl-C again stops at once",
            file=sys.stderr,
            flush=True,
        )


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
