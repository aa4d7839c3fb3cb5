"""Where the shipped configs lie: in the wheel, or at the top of a checkout."""

from pathlib import Path

from r4t.errors import InputError


def configs_folder() -> Path:
    """Return the folder with ``toy/`` and ``data/``.

    Raises:
        InputError: The installation has lost them.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "toy").is_dir():
            return folder
    raise InputError(
        f"The configs ship with r4t, found none beside {package}; install the package again."
    )
