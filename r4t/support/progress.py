"""Long work, step by step → how far it is and how long it will take, on stderr.

A terminal shows a bar; elsewhere a plain line comes now and then. Work that is done within a moment
shows nothing, nor does work within work that is shown. Only the program shows: a library is silent.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
PATIENCE = 2.0  # seconds before a bar appears
EVERY = 30.0  # seconds from one plain line to the next
REDRAWN = 0.2  # seconds from one state of a bar to the next

_program = False
_active: "Progress | None" = None


def show() -> None:
    """Let long work be shown from now on: the program calls it."""
    global _program
    _program = True


def duration(seconds: float) -> str:
    """Return minutes and seconds, or hours too.

    Examples:
        >>> duration(65), duration(3725.4)
        ('1:05', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """How far one piece of work is.

    Args:
        what: Is done, such as ``encoding``.
        total: Steps in all; None where nobody knows.
        done: Steps that were done before.
        shown: Whether to show it whoever asks; by default only in the program.
        clock: Seconds that pass.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        done: int = 0,
        shown: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.done = what, total, done
        self._clock, self._began, self._base = clock, clock(), done
        self._told, self._bar, self._task = self._began, None, None
        self._shown = _program if shown is None else shown
        self._extra: Callable[[], str] = str  # nothing

    _bar: Any

    def __enter__(self) -> "Progress":
        global _active
        if _active is not None:
            self._shown = False
        if self._shown:
            _active = self
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        global _active
        if _active is self:
            _active = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._shown = False

    def advance(self, steps: int = 1, what: str | None = None) -> None:
        """Count ``steps`` more."""
        self.reach(self.done + steps, what)

    def reach(
        self, done: int, what: str | None = None, extra: Callable[[], str] | None = None
    ) -> None:
        """Say that ``done`` steps are done.

        Args:
            done: Of ``total``.
            what: Is done now; as before by default.
            extra: Returns something more to tell; called only where it is shown.
        """
        self.done = done
        self._extra = self._extra if extra is None else extra
        self.what = self.what if what is None else what
        if not self._shown:
            return
        now = self._clock()
        if sys.stderr.isatty():
            self._draw(now)
        elif now - self._told >= EVERY:
            self._told = now
            print(self.line(now), file=sys.stderr, flush=True)

    def left(self, now: float) -> float | None:
        """Return the seconds that are left, by the mean of the steps so far; None if unknown."""
        steps = self.done - self._base
        if self.total is None or steps <= 0:
            return None
        return max(0.0, (now - self._began) / steps * (self.total - self.done))

    def line(self, now: float) -> str:
        """Return what a plain line says at a time of the clock."""
        of = "" if self.total is None else f" of {self.total:,} ({self.done / self.total:.0%})"
        left = self.left(now)
        parts = [f"{self.what}: {self.done:,}{of}", f"{duration(now - self._began)} gone"]
        parts += [] if left is None else [f"{duration(left)} left"]
        return ", ".join(filter(None, [*parts, self._extra()]))

    def _draw(self, now: float) -> None:
        if self._bar is None:
            if now - self._began < PATIENCE:
                return
            self._bar, self._task = _bar(self.what, self.total)
        elif now - self._told < REDRAWN:
            return
        self._told = now
        left = self.left(now)
        told = "" if left is None else f"{duration(left)} left"
        self._bar.update(
            self._task,
            completed=self.done,
            description=self.what,
            told=f"{duration(now - self._began)} gone  {told}  {self._extra()}",
        )


def _bar(what: str, total: int | None) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    bar = Bar(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.start()
    return bar, bar.add_task(what, total=total, told="")


def track(
    items: Sequence[Item], what: str, size: Callable[[Item], int] | None = None
) -> Iterator[Item]:
    """Yield the items, and show how many are done.

    Args:
        items: To go through.
        what: Is done with them.
        size: How much an item counts; one each by default.

    Examples:
        >>> list(track(["a", "b"], "reading"))
        ['a', 'b']
    """
    sizes = [1 if size is None else size(item) for item in items]
    with Progress(what, sum(sizes)) as progress:
        for item, count in zip(items, sizes):
            yield item
            progress.advance(count)
