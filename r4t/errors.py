"""What a user or a file did wrong → one sentence that says what to do.

Example:
    >>> nearest("diversty", ["alignment", "diversity"])
    " Did you mean 'diversity'?"
    >>> nearest("zzz", ["alignment", "diversity"])
    ''
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The user's input, file or plug-in does not fit; the program prints the sentence alone."""


class PluginError(InputError):
    """A plug-in fails by itself; the program prints its traceback, the cause, below the sentence."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the option closest to ``name``, or an empty string."""
    matches = difflib.get_close_matches(name, list(options), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""
