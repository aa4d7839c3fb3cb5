"""Installation → the folder of the shipped configs: in the wheel, or at the top of a checkout."""

from pathlib import Path

from r4t.errors import InputError


def configs_folder() -> Path:
    """Return the folder that holds ``toy/``, ``paper/`` and ``data/``.

    Raises:
        InputError: If it is missing.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "toy").is_dir():
            return folder
    raise InputError(
        expected="the configs that ship with r4t",
        found=f"none in or beside {package}",
        remedy="Reinstall the package.",
    )
