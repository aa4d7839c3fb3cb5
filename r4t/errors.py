"""What a user, a file or a plug-in did wrong → one message: what was expected, found, and to do.

Examples:
    >>> nearest("diversty", ["alignment", "diversity"])
    " Did you mean 'diversity'?"
    >>> nearest("zzz", ["alignment", "diversity"])
    ''
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class InputError(ValueError):
    """The user's input, file or plug-in does not fit; the program prints the message alone.

    Args:
        expected: What was needed, to follow "Expected".
        found: What there was instead, with its value and origin, to follow "but found".
        remedy: What to do, as a sentence of its own.

    Examples:
        >>> print(InputError(expected="at least one query", found="none", remedy="Name a split."))
        Expected at least one query, but found none. Name a split.
    """

    def __init__(self, *, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"Expected {expected}, but found {found}. {remedy}")

    def __reduce__(self) -> Any:
        """Pickle the message: a process that fails hands it to its parent."""
        return _with_message, (type(self), str(self)), self.__dict__


def _with_message(kind: type[InputError], message: str) -> InputError:
    return kind.__new__(kind, message)


class PluginError(InputError):
    """A plug-in fails; the program prints the plug-in's own traceback below the message."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the option closest to ``name``, or an empty string."""
    matches = difflib.get_close_matches(name, list(options), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def check_least(numbers: Mapping[str, tuple[float, float]]) -> None:
    """Refuse numbers that are too small.

    Args:
        numbers: Name of a setting → the number found and the least allowed.

    Raises:
        InputError: If a number is too small; the message names the first.

    Examples:
        >>> check_least({"size": (10, 1), "runs": (0, 0)})
    """
    for name, (found, least) in numbers.items():
        if found < least:
            raise InputError(
                expected=f"{name} to be at least {least}", found=f"{found}", remedy="Raise it."
            )
