"""Names of optional packages → an error that names the extra to install, if one is missing."""

from importlib.util import find_spec

from r4t.errors import InputError


def check_installed(*packages: str, extra: str) -> None:
    """Refuse to go on without some packages, which ``extra`` installs.

    Raises:
        InputError: One of them is not installed.

    Examples:
        >>> check_installed("json", extra="eval")
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(
            expected=f"{', '.join(packages)} to be installed",
            found=f"no {' and no '.join(missing)}",
            remedy=f"Run pip install 'r4t[{extra}]'.",
        )
