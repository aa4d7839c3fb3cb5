"""Name of an objective → its class, through the entry-point group ``r4t.objectives``."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from r4t.errors import InputError, PluginError, nearest
from r4t.objective import Objective

GROUP = "r4t.objectives"


def installed(group: str = GROUP) -> dict[str, EntryPoint]:
    """Return every registered objective by name, sorted; nothing is imported yet.

    Raises:
        InputError: Two distributions register the same name for different classes.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise InputError(
                f"Each objective name must belong to one package — '{point.name}' is registered as "
                f"{other.value} and {point.value}; uninstall one of them."
            )
        found[point.name] = point
    return found


def objective_class(name: str) -> type[Objective]:
    """Return the class registered under ``name``.

    Raises:
        InputError: No such objective is installed, or it is none.
        PluginError: It cannot be imported; what its package raised is the cause.
    """
    points = installed()
    if name not in points:
        raise InputError(
            f"Objective '{name}' is not installed. Installed: {', '.join(points) or 'none'}."
            f"{nearest(name, points)}"
        )
    point = points[name]
    try:
        found = point.load()
    except Exception as error:
        raise PluginError(
            f"Objective '{name}' could not be imported from {point.value} "
            f"({type(error).__name__}: {error}); repair or uninstall that package, or start again if "
            "it was installed just now."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise InputError(
            f"Objective '{name}' must be a subclass of r4t.objective.Objective, found {point.value}; "
            "correct the entry point of that package."
        )
    return found


def load_objective(name: str, **arguments: Any) -> Objective:
    """Build the objective registered under ``name`` with its constructor ``arguments``.

    Raises:
        InputError: No such objective is installed, or it refuses the arguments.
        PluginError: Its constructor raised something else, which is the cause.
    """
    found = objective_class(name)
    try:
        return found(**arguments)
    except InputError:
        raise
    except Exception as error:
        raise PluginError(
            f"Objective '{name}' of {found.__module__} could not be built "
            f"({type(error).__name__}: {error}); give its arguments, or tell those who wrote it."
        ) from error


def load(group: str, name: str) -> Any:
    """Import what is registered under a name."""
    return installed(group)[name].load()
