"""What a user or a file did wrong → one sentence that says what to do.

Examples:
    >>> nearest("diversty", ["alignment", "diversity"])
    " Did you mean 'diversity'?"
    >>> nearest("zzz", ["alignment", "diversity"])
    ''
"""

import difflib
from collections.abc import Iterable, Mapping


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

    def __init__(
        self, message: str = "", *, expected: str = "", found: str = "", remedy: str = ""
    ) -> None:
        if not message:
            message = f"Expected {expected}, but found {found}. {remedy}"
        super().__init__(message)


class PluginError(InputError):
    """A plug-in fails by itself; the program prints its traceback, the cause, below the sentence."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the option closest to ``name``, or an empty string."""
    matches = difflib.get_close_matches(name, list(options), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def check_least(numbers: Mapping[str, tuple[int, int]]) -> None:
    """Refuse numbers that are too small.

    Args:
        numbers: Name of the setting → the number found and the least that it may be.

    Raises:
        InputError: Names the first.

    Examples:
        >>> check_least({"size": (10, 1), "runs": (0, 0)})
    """
    for name, (found, least) in numbers.items():
        if found < least:
            raise InputError(f"{name} must be at least {least}, found {found}; raise it.")
