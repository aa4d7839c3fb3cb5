"""``r4t init``: the shipped configs → editable copies in a folder."""

import shutil
from pathlib import Path

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError
from r4t.support.configs import configs_folder


def run(arguments: list[str]) -> None:
    """Copy the configs; nothing that exists is overwritten.

    Raises:
        InputError: If the folder is a file, or holds one of the configs already.
    """
    source, folder = configs_folder(), Path(parse(verb_parser("init"), arguments).folder)
    names = sorted(path.relative_to(source) for path in source.rglob("*.yaml"))
    copies = [folder / "configs" / name for name in names]
    existing = [path for path in (folder, *copies) if path.is_file()]
    if existing:
        raise InputError(
            expected="a folder without configs to copy them to",
            found=f"the file {existing[0]}",
            remedy="Choose another folder, or move that file.",
        )
    print(f"{len(copies)} configs copied to {folder / 'configs'}:")
    for name, copy in zip(names, copies):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, copy)
        print(f"  {copy}")
    print(
        "next: r4t catalog ITEMS --out RUN/catalog, r4t queries RUN/catalog --out RUN/queries,\n"
        f"      r4t fit --config {folder / 'configs'}/toy/0_warm_start.yaml --run RUN"
    )
