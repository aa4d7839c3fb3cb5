"""Long work, step by step → a tqdm bar on a terminal, an occasional line in a log; both on stderr.

Only the program shows progress: used as a library, r4t prints nothing.
"""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

DELAY = 2.0  # seconds before anything is shown
LINE_EVERY = 30.0  # seconds between two lines of a log

_shown = False


def show() -> None:
    """Show the progress of long work from now on; the program calls this."""
    global _shown
    _shown = True


class LogLines(tqdm):
    """A tqdm for logs: each state is a line of its own, without carriage returns."""

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Print the state, except if tqdm wants to erase a bar (``msg`` is empty)."""
        if msg is None:
            print(self, file=self.fp, flush=True)
        return False


def progress(
    what: str, items: Iterable[Any] | None = None, total: float | None = None, done: int = 0
) -> tqdm:
    """Return a tqdm to loop over, or to ``update`` by hand as a context manager.

    Args:
        what: Label, such as ``encoding``.
        items: What to loop over; each item is a step.
        total: Number of steps; that of the items by default, None if unknown.
        done: Steps done earlier; the time left is estimated without them.

    Examples:
        >>> list(progress("reading", ["a", "b"]))
        ['a', 'b']
    """
    terminal = sys.stderr.isatty()
    return (tqdm if terminal else LogLines)(
        items,
        desc=what,
        total=total,
        initial=done,
        disable=not _shown,
        delay=DELAY,
        mininterval=0.2 if terminal else LINE_EVERY,
        miniters=1,
        smoothing=0,  # the time left follows from the mean speed so far
        leave=False,
        dynamic_ncols=True,
    )
