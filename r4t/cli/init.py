"""``r4t init``: the shipped configs → a folder of the user's, to edit."""

import shutil
from pathlib import Path

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError
from r4t.support.configs import configs_folder


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    made = verb_parser(
        "init", "Copy the configs into a folder, to be edited there.", ["r4t init my-project"]
    )
    made.add_argument("folder", metavar="FOLDER", type=str, help="Made if missing.")
    return made


def run(arguments: list[str]) -> None:
    """Copy the configs; nothing that exists is overwritten.

    Raises:
        InputError: A file of the same name is there already.
    """
    options = parse(parser(), arguments)
    if Path(options.folder).is_file():
        raise InputError(
            f"Configs are copied into a folder — found a file at {options.folder} — name another."
        )
    source, target = configs_folder(), Path(options.folder) / "configs"
    files = sorted(path.relative_to(source) for path in source.rglob("*.yaml"))
    taken = [str(target / path) for path in files if (target / path).exists()]
    if taken:
        raise InputError(
            f"Configs are copied where none are yet, found {taken[0]}; choose another folder, or "
            "move that file away."
        )
    for path in files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)
    print(f"{len(files)} configs copied into {target}:")
    for path in files:
        print(f"  {target / path}")
    print(
        "next: r4t catalog ITEMS --out RUN/catalog, r4t queries RUN/catalog --out RUN/queries,\n"
        f"      r4t fit --config {target}/toy/0_warm_start.yaml --run RUN"
    )
