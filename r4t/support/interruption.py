"""Ctrl-C → a stop at the next safe point of long work."""

import signal
import sys
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """The user stopped the work; the program prints this message and exits with code 130."""


class AtOnce(KeyboardInterrupt):
    """The user pressed Ctrl-C twice: the work stops without waiting for a safe point."""


class Interruption:
    """Records the first Ctrl-C while it listens (``requested``); the second one raises ``AtOnce``.

    Examples:
        >>> interruption = Interruption()
        >>> interruption.listen()
        >>> signal.raise_signal(signal.SIGINT)
        >>> interruption.requested
        True
        >>> interruption.leave()
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def listen(self) -> None:
        """Take over Ctrl-C, except in a thread or if the process ignores it (``nohup``)."""
        self.requested = False
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        if self._previous is None and not ignored and _is_main_thread():
            self._previous = signal.signal(signal.SIGINT, self._record)

    def leave(self) -> None:
        """Give Ctrl-C back."""
        if self._previous is not None and _is_main_thread():
            signal.signal(signal.SIGINT, self._previous)
        self._previous = None

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise AtOnce
        self.requested = True
        message = "\nr4t: stopping after this step; Ctrl-C again stops at once"
        print(message, file=sys.stderr, flush=True)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
