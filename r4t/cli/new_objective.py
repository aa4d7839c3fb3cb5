"""``r4t new-objective``: a name → an installable package with an objective that works, to edit."""

import keyword
import re
import shlex
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from string import Template

from jsonargparse import ArgumentParser

from r4t.cli.arguments import parse, verb_parser
from r4t.errors import InputError

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "objective"
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
# Where each template goes.
FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "module.py.txt": "$name.py",
    "test_module.py.txt": "tests/test_$name.py",
    "tune.yaml.txt": "tune.yaml",
    "synthesize.yaml.txt": "synthesize.yaml",
    "evaluate.yaml.txt": "evaluate.yaml",
}


def parser() -> ArgumentParser:
    """Return the parser of the verb."""
    verb = verb_parser(
        "new-objective",
        "Write an installable package with an objective of your own, to be edited.",
        ("r4t new-objective price-spread", "r4t new-objective brand_share --out packages"),
    )
    verb.add_argument("name", metavar="NAME", type=str, help="such as price-spread")
    verb.add_argument("--out", type=str, default=".", help="folder to put it in, made if missing")
    return verb


def run(arguments: list[str]) -> None:
    """Write the package; nothing that exists is overwritten.

    Raises:
        InputError: The name will not do, or its folder exists.
    """
    options = parse(parser(), arguments)
    name = checked_name(options.name)
    folder = Path(options.out) / options.name
    if folder.exists():
        raise InputError(
            f"A new package needs a folder of its own — found {folder} already — choose another "
            "name, or another place with --out."
        )
    path = folder.as_posix()
    words = {
        "folder": options.name,
        "name": name,
        "class_name": class_name(name),
        "path": shlex.quote(path),
        "place": shlex.quote(path if folder.is_absolute() else f"./{path}"),  # a path to pip
    }
    for file, text in package(words).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    print(f"{len(FILES)} files written into {folder}; what to replace is told in {name}.py.")
    print(
        f"next: pip install -e {words['place']}\n"
        f"      python -m pytest {words['path']}\n"
        f"      r4t objectives {name}\n"
        f"then the three uses, as reward, filter and metric: {folder / 'README.md'}"
    )


def package(words: dict[str, str]) -> dict[str, str]:
    """Return the text of each file of a package by its path, the ``words`` put in."""
    return {
        Template(path).substitute(words): Template(
            (TEMPLATES / template).read_text(encoding="utf-8")
        ).substitute(words)
        for template, path in FILES.items()
    }


def class_name(name: str) -> str:
    """Return the name of the class of an objective.

    Examples:
        >>> class_name("price_spread")
        'PriceSpread'
    """
    return "".join(word.capitalize() for word in name.split("_"))


def checked_name(name: str) -> str:
    """Return the name of the objective and of its module, with _ for -.

    Raises:
        InputError: It is no name of a package and module, or it means something already.

    Examples:
        >>> checked_name("price-spread")
        'price_spread'
    """
    module = name.replace("-", "_")
    if not NAME.fullmatch(name):
        raise InputError(
            "An objective's name has small letters, digits, and single - or _ between them, a letter "
            f"first — found '{name}' — write for instance price-spread."
        )
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        raise InputError(
            f"An objective's name is also that of its Python module — found the keyword '{name}' — "
            "choose another, such as price-spread."
        )
    taken = {point.name: point.value for point in entry_points(group="r4t.objectives")}
    if module in taken or name in taken:
        value = taken.get(module, taken.get(name))
        raise InputError(
            f"A new objective needs a name of its own — found '{module}' installed, as {value} — "
            "choose another, or uninstall that one."
        )
    if module in sys.stdlib_module_names or find_spec(module) is not None:
        raise InputError(
            f"A new objective's module must not hide another — found a module '{module}' that Python "
            "imports already — choose another name, such as price-spread."
        )
    from r4t.reward import check_names

    check_names([module])
    return module
