"""Entry-point group and name → what an installed package registered there."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from r4t.errors import InputError, PluginError, nearest

OBJECTIVES = "r4t.objectives"


def installed(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, sorted; nothing is imported yet.

    Raises:
        InputError: If two packages register the same name for different things.
    """
    points: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        first = points.setdefault(point.name, point)
        if first.value != point.value:
            raise InputError(
                expected=f"each {kind(group)} to have a name of its own",
                found=f"'{point.name}' registered as both {first.value} and {point.value}",
                remedy="Uninstall one of these packages.",
            )
    return points


def load(group: str, name: str) -> Any:
    """Import what is registered under a name.

    Raises:
        InputError: If the name is not installed.
        PluginError: If the import fails; what the package raised is the cause.
    """
    points = installed(group)
    if name not in points:
        options = ", ".join(points) or "none"
        raise InputError(
            expected=f"an installed {kind(group)}",
            found=f"'{name}'",
            remedy=f"Installed: {options}.{nearest(name, points)}",
        )
    expected = f"{kind(group)} '{name}' to be importable from {points[name].value}"
    remedy = "Repair or uninstall its package; if you have just installed it, restart the program."
    with plugin_errors(expected, remedy):
        return points[name].load()


@contextmanager
def plugin_errors(
    expected: str,
    remedy: str = "Remove it, or report this to its author.",
    pass_on: tuple[type[BaseException], ...] = (),
) -> Iterator[None]:
    """Raise a ``PluginError`` from any error of a plug-in but ``InputError`` and those in ``pass_on``."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (InputError, *pass_on)):
            raise
        found = f"{type(error).__name__}: {error}".rstrip(".")
        raise PluginError(expected=expected, found=found, remedy=remedy) from error


def kind(group: str) -> str:
    """Return what a group holds, for messages: ``objective`` for ``r4t.objectives``."""
    return group.rpartition(".")[2].removesuffix("s")
