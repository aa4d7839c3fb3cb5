"""Names of optional packages → an error that names the extra to install, if one is missing."""

from importlib.util import find_spec

from r4t.errors import InputError


def check_installed(*packages: str, extra: str) -> None:
    """Check that packages are installed, which ``extra`` brings.

    Raises:
        InputError: If one of them is not.

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
